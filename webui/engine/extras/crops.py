"""Operations of Extras that make pictures ready for training: split, focal crop, auto-sized crop, flipped copies. Pictures in, pictures out.

The rules of split and auto-sized crop are A1111's; the focal point is found with the same three hints and weights, but by our own measure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw
from PIL.Image import Transpose

Size = tuple[int, int]
Point = tuple[float, float]

STEP = 64
"""Sides of an auto-sized crop are multiples of this, from its smallest on."""

LOOKED_AT = 256
"""Longest side at which edges and details are looked for."""


def split_oversized(image: Image.Image, target: Size, threshold: float, overlap: float) -> list[Image.Image]:
    """Pieces of the target's size along the long side, evenly placed; only the picture itself when it is not that much longer than the target."""
    upright = image.height > image.width
    (wide, high), (to_w, to_h) = (image.size, target) if upright else (image.size[::-1], target[::-1])
    ratio = (wide * to_h) / (high * to_w)
    if ratio >= 1 or ratio > threshold:
        return [image]
    length = high * to_w // wide
    image = image.resize((to_w, length) if upright else (length, to_w))
    count = max(math.ceil((length - to_h * overlap) / (to_h * (1 - overlap))), 2)
    starts = [int((length - to_h) / (count - 1) * number) for number in range(count)]
    return [image.crop((0, at, to_w, at + to_h) if upright else (at, 0, at + to_h, to_w)) for at in starts]


def flipped(image: Image.Image, how: Sequence[str]) -> list[tuple[str, Image.Image]]:
    """Copies mirrored in the ways asked for, each with its name."""
    ways = {"Horizontal": Transpose.FLIP_LEFT_RIGHT, "Vertical": Transpose.FLIP_TOP_BOTTOM, "Both": Transpose.ROTATE_180}
    return [(name.lower(), image.transpose(way)) for name, way in ways.items() if name in how]


@dataclass(frozen=True)
class Autosize:
    """Limits of an auto-sized crop, in pixels and in their product; `threshold` is how much of the shape may be lost."""

    sides: tuple[int, int]
    areas: tuple[int, int]
    largest: bool
    threshold: float


def autosized(image: Image.Image, limits: Autosize) -> Image.Image | None:
    """The middle of the picture in the best size within the limits, or None when there is none."""
    low, high = limits.sides
    wanted = image.width / image.height

    def lost(size: Size) -> float:
        ratio = wanted / (size[0] / size[1])
        return 1 - min(ratio, 1 / ratio)

    sides = range(low, high + 1, STEP)
    sizes = [(w, h) for w in sides for h in sides if limits.areas[0] <= w * h <= limits.areas[1] and lost((w, h)) <= limits.threshold]
    if not sizes:
        return None
    keys = (lambda size: (size[0] * size[1], -lost(size))) if limits.largest else (lambda size: (-lost(size), size[0] * size[1]))
    return fill_size(image, max(sizes, key=keys), (0.5, 0.5))


def fill_size(image: Image.Image, size: Size, around: Point) -> Image.Image:
    """The largest part of the picture that has the shape of `size`, as near to the point (shares of both sides) as the edges allow, at that size."""
    width, height = size
    scale = min(image.width / width, image.height / height)
    part = width * scale, height * scale
    left = min(max(around[0] * image.width - part[0] / 2, 0), image.width - part[0])
    top = min(max(around[1] * image.height - part[1] / 2, 0), image.height - part[1])
    return image.resize(size, Image.Resampling.LANCZOS, (left, top, left + part[0], top + part[1]))


@dataclass(frozen=True)
class Hints:
    """Where one may look, as shares of both sides, and how much each hint counts. `faces`: their middles, with the sizes as weights."""

    faces: Sequence[tuple[Point, float]]
    face_weight: float
    entropy_weight: float
    edges_weight: float


def focal_point(image: Image.Image, hints: Hints) -> Point:
    """The weighted mean of the faces, of what has most detail, and of the corners in the picture; the middle when nothing is found."""
    grey = image.convert("L")
    grey.thumbnail((LOOKED_AT, LOOKED_AT))
    pixels = np.asarray(grey)
    points: list[tuple[Point, float]] = []
    if hints.faces and hints.face_weight:
        total = sum(size for _, size in hints.faces)
        middle = tuple(sum(point[axis] * size for point, size in hints.faces) / total for axis in (0, 1))
        points.append(((middle[0], middle[1]), hints.face_weight))
    if hints.edges_weight and (corners := _corners(pixels)) is not None:
        points.append((corners, hints.edges_weight))
    if hints.entropy_weight:
        points.append((_busiest(pixels), hints.entropy_weight))
    weight = sum(share for _, share in points)
    if not weight:
        return 0.5, 0.5
    x, y = (sum(point[axis] * share for point, share in points) / weight for axis in (0, 1))
    return x, y


def show_focus(image: Image.Image, at: Point) -> Image.Image:
    """A copy with a ring around the point."""
    shown = image.convert("RGB")
    x, y, radius = at[0] * image.width, at[1] * image.height, min(image.size) * 0.05
    ImageDraw.Draw(shown).ellipse((x - radius, y - radius, x + radius, y + radius), outline="#ff3b30", width=max(int(radius / 8), 2))
    return shown


def _corners(pixels: np.ndarray) -> Point | None:
    """The middle of the strongest corners (Shi and Tomasi 1994)."""
    apart = max(min(pixels.shape) * 0.06, 1.0)
    found = cv2.goodFeaturesToTrack(pixels, maxCorners=100, qualityLevel=0.04, minDistance=apart, useHarrisDetector=False)
    if found is None:
        return None
    x, y = found.reshape(-1, 2).mean(0)
    return float((x + 0.5) / pixels.shape[1]), float((y + 0.5) / pixels.shape[0])


def _busiest(pixels: np.ndarray) -> Point:
    """The middle of the square, as large as the short side, whose grey levels have most entropy."""
    side, long = min(pixels.shape), max(pixels.shape)
    best, at = -1.0, 0
    for start in range(0, long - side + 1, 4):
        part = pixels[:, start:start + side] if pixels.shape[1] == long else pixels[start:start + side]
        counts = np.bincount(part.ravel(), minlength=256) / part.size
        entropy = float(-(counts[counts > 0] * np.log2(counts[counts > 0])).sum())
        if entropy > best:
            best, at = entropy, start
    middle = (at + side / 2) / long
    return (middle, 0.5) if pixels.shape[1] == long else (0.5, middle)
