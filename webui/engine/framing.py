"""How a picture gets into a frame of another size (A1111's resize modes) and which part of it is worked on (a1111-contract §4). Pillow only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from PIL import Image

Fit = Literal["stretch", "cover", "fit"]
"""A1111's resize modes 0, 1 and 2: to the size whatever its proportions; until the frame is full, the rest is cut; until it is all inside, the rest
of the frame gets the colours of the nearest edge."""

Size = tuple[int, int]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""

Place = tuple[int, int, int, int]
"""Left, top, width, height."""

Grow = Callable[[Image.Image, Size], Image.Image]
"""Enlarges an RGB picture to exactly this size."""


def stretch(image: Image.Image, size: Size) -> Image.Image:
    """Lanczos' filter to exactly this size."""
    return image.resize(size, Image.Resampling.LANCZOS)


def frame_image(image: Image.Image, size: Size, fit: Fit, grow: Grow = stretch) -> Image.Image:
    """The picture in a frame of this size. Grey pictures become RGB unless they are only stretched, and are never enlarged by `grow`, as in A1111."""
    scale = stretch if image.mode == "L" else grow
    if fit == "stretch":
        return scale(image, size)
    width, height = size
    wider = width * image.height > image.width * height  # than the picture
    if wider == (fit == "cover"):
        inner = (width, max(image.height * width // image.width, 1))
    else:
        inner = (max(image.width * height // image.height, 1), height)
    if width * image.height == image.width * height:
        inner = size
    inside = scale(image, inner)
    frame = Image.new("RGB", size)
    left, top = width // 2 - inner[0] // 2, height // 2 - inner[1] // 2
    frame.paste(inside, (left, top))
    if fit == "fit":
        _paint_edges(frame, inside, left, top)
    return frame


def _paint_edges(frame: Image.Image, inside: Image.Image, left: int, top: int) -> None:
    """What is left of the frame on both sides is one line of the picture each, stretched."""
    width, height = inside.size
    if top > 0:
        for line, at in ((0, 0), (height, top + height)):
            frame.paste(inside.resize((frame.width, top), box=(0, line, width, line)), (0, at))
    elif left > 0:
        for line, at in ((0, 0), (width, left + width)):
            frame.paste(inside.resize((left, frame.height), box=(line, 0, line, height)), (at, 0))


def masked_box(mask: Image.Image, padding: int) -> Box | None:
    """What encloses all of a grey mask that is not black, and so many pixels around it. None when there is nothing."""
    box = mask.getbbox()
    if box is None:
        return None
    left, top, right, bottom = box
    return max(left - padding, 0), max(top - padding, 0), min(right + padding, mask.width), min(bottom + padding, mask.height)


def widen_box(box: Box, size: Size, within: Size) -> Box:
    """The box with the proportions of `size`, as far as a picture of the size `within` allows: its shorter side grows, to both sides if it can."""
    left, top, right, bottom = box
    share = size[0] / size[1]
    if (right - left) / (bottom - top) > share:
        top, bottom = _grow(top, bottom, (right - left) / share, within[1])
    else:
        left, right = _grow(left, right, (bottom - top) * share, within[0])
    return left, top, right, bottom


def _grow(start: int, end: int, wanted: float, limit: int) -> tuple[int, int]:
    more = int(wanted - (end - start))
    start, end = start - more // 2, end + more - more // 2
    if end >= limit:
        start, end = start - (end - limit), limit
    if start < 0:
        start, end = 0, end - start
    return start, min(end, limit)


def place_of(box: Box) -> Place:
    """The same box by its size."""
    return box[0], box[1], box[2] - box[0], box[3] - box[1]


def put_back(image: Image.Image, place: Place, size: Size, grow: Grow = stretch) -> Image.Image:
    """RGBA of this size with the picture in its place, cut to the place's proportions, and nothing around it."""
    whole = Image.new("RGBA", size)
    whole.paste(frame_image(image, place[2:], "cover", grow), place[:2])
    return whole
