"""The twenty-four things of the world, each drawn with a `Pen` in its own box from -1 to 1 and in one main colour. Knows no place and no style."""

from __future__ import annotations

import math
from collections.abc import Callable

from tools.demo_model.palette import INK, Rgb, darker, lighter
from tools.demo_model.pen import Pen, arc, star_points

CREAM: Rgb = (255, 236, 170)
GLASS: Rgb = (205, 232, 245)
WOOD: Rgb = (120, 76, 44)
LEAF: Rgb = (72, 150, 70)


def draw_thing(pen: Pen, thing: str, colour: Rgb) -> None:
    """Draw a thing. Raises `KeyError` for one that the world does not know."""
    _DRAW[thing](pen, colour)


def _house(pen: Pen, colour: Rgb) -> None:
    pen.box(0.35, -0.9, 0.6, -0.3, darker(colour))
    pen.box(-0.75, -0.15, 0.75, 0.95, colour)
    pen.polygon([(-1, -0.12), (0, -0.95), (1, -0.12)], darker(colour, 0.38))
    pen.box(-0.18, 0.35, 0.22, 0.95, WOOD)
    pen.box(-0.6, 0.1, -0.3, 0.42, CREAM)
    pen.box(0.35, 0.1, 0.62, 0.42, CREAM)


def _tree(pen: Pen, colour: Rgb) -> None:
    pen.box(-0.16, 0.2, 0.16, 1, WOOD)
    pen.ellipse(-0.42, 0, 0.48, 0.42, colour)
    pen.ellipse(0.42, 0, 0.48, 0.42, colour)
    pen.ellipse(0, -0.45, 0.58, 0.53, colour)
    pen.ellipse(0, -0.08, 0.5, 0.4, colour)
    pen.ellipse(-0.2, -0.58, 0.2, 0.15, lighter(colour))


def _boat(pen: Pen, colour: Rgb) -> None:
    pen.box(-0.07, -0.95, 0.07, 0.4, WOOD)
    pen.polygon([(0.12, -0.92), (0.12, 0.25), (0.85, 0.25)], lighter(colour, 0.7))
    pen.polygon([(-0.12, -0.7), (-0.12, 0.25), (-0.65, 0.25)], lighter(colour, 0.5))
    pen.polygon([(-1, 0.38), (1, 0.38), (0.6, 0.92), (-0.6, 0.92)], colour)
    pen.box(-0.93, 0.38, 0.93, 0.5, darker(colour))


def _fish(pen: Pen, colour: Rgb) -> None:
    pen.polygon([(0.45, 0), (1, -0.55), (0.86, 0), (1, 0.55)], darker(colour))
    pen.polygon([(-0.3, -0.35), (0.15, -0.72), (0.35, -0.25)], darker(colour))
    pen.ellipse(-0.2, 0, 0.8, 0.5, colour)
    pen.polygon([(-0.1, 0.05), (0.3, -0.12), (0.3, 0.28)], darker(colour))
    pen.ellipse(-0.62, -0.12, 0.15, 0.15, (255, 255, 255))
    pen.ellipse(-0.64, -0.12, 0.07, 0.07, INK)


def _cat(pen: Pen, colour: Rgb) -> None:
    for side in (-1, 1):
        pen.polygon([(side * 0.85, -0.98), (side * 0.9, 0), (side * 0.15, -0.5)], colour)
        pen.polygon([(side * 0.74, -0.72), (side * 0.76, -0.3), (side * 0.42, -0.48)], (247, 170, 180))
    pen.ellipse(0, 0.15, 0.92, 0.78, colour)
    for side in (-1, 1):
        pen.ellipse(side * 0.38, 0, 0.18, 0.2, (250, 250, 235))
        pen.ellipse(side * 0.38, 0.02, 0.08, 0.15, INK)
        pen.line([(side * 0.4, 0.42), (side * 0.95, 0.34)], darker(colour, 0.5), 0.04)
        pen.line([(side * 0.4, 0.52), (side * 0.95, 0.58)], darker(colour, 0.5), 0.04)
    pen.polygon([(-0.12, 0.28), (0.12, 0.28), (0, 0.44)], (235, 110, 130))
    pen.line([(-0.2, 0.6), (0, 0.5), (0.2, 0.6)], darker(colour, 0.5), 0.05)


def _car(pen: Pen, colour: Rgb) -> None:
    pen.polygon([(-0.6, -0.05), (-0.38, -0.55), (0.35, -0.55), (0.62, -0.05)], colour)
    pen.polygon([(-0.42, -0.05), (-0.28, -0.42), (-0.04, -0.42), (-0.04, -0.05)], GLASS)
    pen.polygon([(0.06, -0.05), (0.06, -0.42), (0.27, -0.42), (0.44, -0.05)], GLASS)
    pen.polygon([(-1, 0.05), (-0.9, -0.08), (0.85, -0.08), (1, 0.1), (1, 0.4), (-1, 0.4)], colour)
    pen.ellipse(0.9, 0.1, 0.09, 0.09, CREAM)
    for x in (-0.52, 0.52):
        pen.ellipse(x, 0.42, 0.26, 0.26, INK)
        pen.ellipse(x, 0.42, 0.11, 0.11, (200, 200, 205))


def _flower(pen: Pen, colour: Rgb) -> None:
    pen.line([(0, 0), (0, 0.95)], LEAF, 0.13)
    pen.ellipse(0.28, 0.66, 0.27, 0.12, LEAF)
    pen.ellipse(-0.28, 0.78, 0.27, 0.12, LEAF)
    for number in range(6):
        angle = math.radians(60 * number - 90)
        pen.ellipse(0.4 * math.cos(angle), -0.35 + 0.4 * math.sin(angle), 0.26, 0.26, colour)
    pen.ellipse(0, -0.35, 0.24, 0.24, CREAM)


def _balloon(pen: Pen, colour: Rgb) -> None:
    pen.line([(0, 0.4), (0.1, 0.6), (-0.08, 0.8), (0.03, 0.98)], INK, 0.05)
    pen.polygon([(-0.14, 0.46), (0.14, 0.46), (0, 0.28)], darker(colour))
    pen.ellipse(0, -0.3, 0.62, 0.7, colour)
    pen.ellipse(-0.22, -0.55, 0.13, 0.2, lighter(colour, 0.55))


def _star(pen: Pen, colour: Rgb) -> None:
    pen.polygon(star_points(5, 0.42), colour)


def _moon(pen: Pen, colour: Rgb) -> None:
    inner = arc(0.61, 0, 0.62, 0.728, (-90, -270))
    pen.polygon(arc(0, 0, 0.95, 0.95, (-50, -310)) + inner[::-1], colour)


def _sun(pen: Pen, colour: Rgb) -> None:
    pen.polygon(star_points(12, 0.68), darker(colour, 0.15))
    pen.ellipse(0, 0, 0.58, 0.58, colour)
    for side in (-1, 1):
        pen.ellipse(side * 0.2, -0.1, 0.07, 0.09, INK)
    pen.line(arc(0, 0.02, 0.28, 0.24, (25, 155), 9), INK, 0.07)


def _heart(pen: Pen, colour: Rgb) -> None:
    angles = (math.radians(6 * number) for number in range(60))
    curve = [(16 * math.sin(a) ** 3, -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a))) for a in angles]
    pen.polygon([(x / 17, (y - 2.5) / 16) for x, y in curve], colour)


def _mushroom(pen: Pen, colour: Rgb) -> None:
    pen.polygon([(-0.26, 0), (0.26, 0), (0.36, 0.95), (-0.36, 0.95)], (240, 228, 205))
    pen.polygon([*arc(0, 0.12, 0.98, 1.05, (180, 360)), (0.9, 0.2), (-0.9, 0.2)], colour)
    for x, y, r in ((-0.48, -0.22, 0.17), (0.1, -0.5, 0.19), (0.52, -0.1, 0.15)):
        pen.ellipse(x, y, r, r, (250, 246, 236) if sum(colour) < 650 else (214, 64, 60))


def _robot(pen: Pen, colour: Rgb) -> None:
    pen.line([(0, -0.95), (0, -0.7)], INK, 0.07)
    pen.ellipse(0, -0.92, 0.09, 0.09, (230, 70, 70))
    pen.box(-0.5, -0.75, 0.5, -0.1, colour)
    for side in (-1, 1):
        pen.ellipse(side * 0.24, -0.46, 0.14, 0.14, CREAM)
        pen.ellipse(side * 0.24, -0.46, 0.06, 0.06, INK)
        pen.box(min(side * 0.66, side * 0.9), 0, max(side * 0.66, side * 0.9), 0.5, darker(colour))
        pen.box(min(side * 0.12, side * 0.4), 0.62, max(side * 0.12, side * 0.4), 0.98, darker(colour))
    pen.box(-0.25, -0.25, 0.25, -0.17, INK)
    pen.box(-0.62, -0.03, 0.62, 0.65, colour)
    pen.box(-0.3, 0.12, 0.3, 0.45, lighter(colour, 0.5))


def _umbrella(pen: Pen, colour: Rgb) -> None:
    pen.line([(0, -0.9), (0, 0.75), *arc(0.17, 0.75, 0.17, 0.18, (180, 0), 8)], WOOD, 0.09)
    pen.polygon([*arc(0, 0.05, 0.98, 0.88, (180, 360)), (0.5, -0.1), (0, 0.05), (-0.5, -0.1)], colour)
    pen.polygon([(0, -0.83), (0.32, -0.02), (0, 0.05), (-0.32, -0.02)], lighter(colour))


def _cup(pen: Pen, colour: Rgb) -> None:
    pen.ellipse(0.62, 0.1, 0.36, 0.36, darker(colour))
    pen.ellipse(0.62, 0.1, 0.2, 0.2, (235, 232, 225))
    pen.polygon([(-0.85, -0.45), (0.65, -0.45), (0.48, 0.85), (-0.68, 0.85)], colour)
    pen.ellipse(-0.1, -0.45, 0.75, 0.17, darker(colour, 0.45))
    for x in (-0.35, 0.1):
        pen.line([(x, -0.72), (x + 0.1, -0.8), (x, -0.88), (x + 0.1, -0.96)], (235, 235, 240), 0.07)


def _butterfly(pen: Pen, colour: Rgb) -> None:
    for side in (-1, 1):
        pen.ellipse(side * 0.52, -0.38, 0.46, 0.46, colour)
        pen.ellipse(side * 0.42, 0.42, 0.36, 0.38, darker(colour, 0.2))
        pen.ellipse(side * 0.56, -0.4, 0.2, 0.2, lighter(colour, 0.6))
        pen.line([(0, -0.5), (side * 0.22, -0.92)], INK, 0.06)
    pen.ellipse(0, 0.02, 0.12, 0.68, INK)


def _snowman(pen: Pen, colour: Rgb) -> None:
    pen.ellipse(0, 0.5, 0.56, 0.48, colour)
    pen.ellipse(0, -0.2, 0.4, 0.38, colour)
    pen.box(-0.36, -0.62, 0.36, -0.5, INK)
    pen.box(-0.24, -0.98, 0.24, -0.55, INK)
    for side in (-1, 1):
        pen.ellipse(side * 0.14, -0.28, 0.05, 0.06, INK if sum(colour) > 180 else CREAM)
        pen.line([(side * 0.45, 0.2), (side * 0.95, -0.1)], WOOD, 0.08)
    pen.polygon([(-0.02, -0.18), (0.4, -0.1), (-0.02, -0.04)], (245, 135, 40))


def _kite(pen: Pen, colour: Rgb) -> None:
    pen.line([(0, 0.45), (-0.2, 0.62), (0.12, 0.78), (-0.1, 0.96)], INK, 0.05)
    pen.polygon([(0, -0.98), (0.72, -0.25), (0, 0.5), (-0.72, -0.25)], colour)
    pen.polygon([(0, -0.98), (0.72, -0.25), (0, -0.25)], lighter(colour, 0.5))
    pen.polygon([(0, 0.5), (-0.72, -0.25), (0, -0.25)], lighter(colour, 0.5))


def _apple(pen: Pen, colour: Rgb) -> None:
    pen.line([(0, -0.4), (0.08, -0.85)], WOOD, 0.12)
    pen.polygon([(0.1, -0.6), (0.35, -0.92), (0.72, -0.85), (0.5, -0.58)], LEAF)
    pen.ellipse(-0.3, 0.2, 0.56, 0.7, colour)
    pen.ellipse(0.3, 0.2, 0.56, 0.7, colour)
    pen.ellipse(-0.48, -0.05, 0.12, 0.2, lighter(colour, 0.5))


def _crown(pen: Pen, colour: Rgb) -> None:
    pen.polygon([(-0.95, -0.6), (-0.5, -0.05), (0, -0.8), (0.5, -0.05), (0.95, -0.6), (0.8, 0.7), (-0.8, 0.7)], colour)
    pen.box(-0.8, 0.45, 0.8, 0.7, darker(colour))
    for x in (-0.45, 0, 0.45):
        pen.ellipse(x, 0.28, 0.11, 0.11, lighter(colour, 0.6))


def _rocket(pen: Pen, colour: Rgb) -> None:
    pen.polygon([(-0.25, 0.6), (0.25, 0.6), (0, 1)], (250, 160, 50))
    for side in (-1, 1):
        pen.polygon([(side * 0.3, 0.1), (side * 0.75, 0.7), (side * 0.25, 0.6)], darker(colour))
    pen.polygon([*arc(0, 0, 0.36, 1, (180, 360)), (0.36, 0.62), (-0.36, 0.62)], colour)
    pen.ellipse(0, -0.2, 0.18, 0.18, GLASS)


def _key(pen: Pen, colour: Rgb) -> None:
    pen.line([(-0.2, 0), (0.9, 0)], colour, 0.2)
    pen.box(0.45, 0, 0.6, 0.35, colour)
    pen.box(0.75, 0, 0.9, 0.42, colour)
    pen.ellipse(-0.52, 0, 0.46, 0.46, colour)
    pen.ellipse(-0.52, 0, 0.2, 0.2, darker(colour, 0.55))


def _anchor(pen: Pen, colour: Rgb) -> None:
    pen.ellipse(0, -0.75, 0.22, 0.22, colour)
    pen.box(-0.1, -0.7, 0.1, 0.8, colour)
    pen.box(-0.45, -0.4, 0.45, -0.22, colour)
    pen.line(arc(0, 0.1, 0.75, 0.75, (10, 170)), colour, 0.2)


_DRAW: dict[str, Callable[[Pen, Rgb], None]] = {
    "house": _house, "tree": _tree, "boat": _boat, "fish": _fish, "cat": _cat, "car": _car, "flower": _flower, "balloon": _balloon, "star": _star,
    "moon": _moon, "sun": _sun, "heart": _heart, "mushroom": _mushroom, "robot": _robot, "umbrella": _umbrella, "cup": _cup,
    "butterfly": _butterfly, "snowman": _snowman, "kite": _kite, "apple": _apple, "crown": _crown, "rocket": _rocket, "key": _key,
    "anchor": _anchor,
}
