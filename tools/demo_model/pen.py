"""A pen for drawing a thing in its own coordinates: the box from -1 to 1, y down. Knows the style's strokes, but no thing and no background."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import ImageDraw

from tools.demo_model.palette import BLACK, INK, WHITE, Rgb, lighter, mix

Point = tuple[float, float]


class Pen:
    """Draws shapes of one thing. `centre` and `reach` (half the extent) are pixels of the canvas, `unit` the width of one thin line there.

    Every shape is filled; the sketch style lightens the fill and adds a dark outline, neon draws a dark fill with an outline in the colour.
    """

    def __init__(self, canvas: ImageDraw.ImageDraw, centre: Point, reach: float, style: str = "flat", unit: float = 2.0) -> None:
        self._canvas, self._centre, self._reach, self._style = canvas, centre, reach, style
        self._unit = max(1, round(unit * (3.0 if style == "neon" else 1.6)))

    def polygon(self, points: Sequence[Point], fill: Rgb) -> None:
        """A closed polygon."""
        spots = [self._spot(point) for point in points]
        self._canvas.polygon(spots, fill=self._fill(fill))
        if self._style in ("sketch", "neon"):
            self._canvas.line([*spots, spots[0]], fill=self._edge(fill), width=self._unit, joint="curve")

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Rgb) -> None:
        """An ellipse around (x, y)."""
        (left, top), (right, bottom) = self._spot((x - rx, y - ry)), self._spot((x + rx, y + ry))
        outlined = self._style in ("sketch", "neon") and min(right - left, bottom - top) > 3 * self._unit
        self._canvas.ellipse(
            (left, top, right, bottom), fill=self._fill(fill) if outlined or self._style != "neon" else fill,
            outline=self._edge(fill) if outlined else None, width=self._unit if outlined else 1,
        )

    def box(self, left: float, top: float, right: float, bottom: float, fill: Rgb) -> None:
        """A rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], fill)

    def sector(self, x: float, y: float, r: float, angles: tuple[float, float], fill: Rgb) -> None:
        """A chord-cut part of a disc between two angles in degrees, clockwise from the right."""
        self.polygon(arc(x, y, r, r, angles), fill)

    def line(self, points: Sequence[Point], fill: Rgb, width: float) -> None:
        """An open line of `width` (in the thing's units) with round ends."""
        spots = [self._spot(point) for point in points]
        thick = max(2, round(width * self._reach))
        self._canvas.line(spots, fill=fill, width=thick, joint="curve")
        for x, y in (spots[0], spots[-1]):
            self._canvas.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=fill)

    def _spot(self, point: Point) -> Point:
        return self._centre[0] + point[0] * self._reach, self._centre[1] + point[1] * self._reach

    def _fill(self, colour: Rgb) -> Rgb:
        if self._style == "sketch":
            return lighter(colour, 0.25)
        return mix(colour, BLACK, 0.62) if self._style == "neon" else colour

    def _edge(self, colour: Rgb) -> Rgb:
        return mix(colour, WHITE, 0.22) if self._style == "neon" else INK


def arc(x: float, y: float, rx: float, ry: float, angles: tuple[float, float], points: int = 24) -> list[Point]:
    """Points on an ellipse from one angle to another, in degrees, clockwise from the right (y points down)."""
    first, last = (math.radians(angle) for angle in angles)
    steps = (first + (last - first) * number / (points - 1) for number in range(points))
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in steps]


def star_points(tips: int, inner: float, outer: float = 1.0, turn: float = -90.0) -> list[Point]:
    """A star around the origin with `tips` points."""
    corners = ((outer if number % 2 == 0 else inner, math.radians(turn + 180 * number / tips)) for number in range(2 * tips))
    return [(r * math.cos(angle), r * math.sin(angle)) for r, angle in corners]
