"""A network over a large picture in tiles: memory for one tile, and a result that is the same as in one piece but for what lies far away.

Neighbouring tiles share a zone of four overlaps. In its middle, one overlap wide, one fades into the other; outside of that a tile's edge is only
context, which the network may look at. Knows arrays only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Numbers = TypeVar("Numbers", Pixels, Floats)
"""What a picture is made of. In floats it may have channels that only the network knows."""

SHARED = 4
"""Overlaps that two neighbours share."""


@dataclass(frozen=True)
class Tiling:
    """Pixels of a tile's side (0: the picture in one piece), and over how many one fades into the next."""

    size: int
    overlap: int


@dataclass(frozen=True)
class _Span:
    """A tile along one axis: first and last pixel (exclusive), and its weight at each pixel of the result."""

    start: int
    end: int
    weight: Floats


def run_tiled(
    call: Callable[[Numbers], Floats], picture: Numbers, scale: int, tiling: Tiling, tick: Callable[[int, int], None],
) -> Pixels:
    """(height, width, channels) → (height × scale, width × scale, 3). `call` is the network, for a tile: (height, width, channels) → (height × scale,
    width × scale, 3) in 0 … 255. `tick` hears how many tiles of how many are done, and may raise to stop it."""
    height, width = picture.shape[:2]
    rows, columns = _spans(height, scale, tiling), _spans(width, scale, tiling)
    result = np.empty((height * scale, width * scale, 3), np.uint8)
    tail = np.zeros((0, width * scale, 3), np.float32)
    count = 0
    for number, row in enumerate(rows):
        strip = np.zeros(((row.end - row.start) * scale, width * scale, 3), np.float32)
        for column in columns:
            tick(count, len(rows) * len(columns))
            made = call(picture[row.start:row.end, column.start:column.end])
            strip[:, column.start * scale:column.end * scale] += made * column.weight[None, :, None]
            count += 1
        strip *= row.weight[:, None, None]
        strip[:len(tail)] += tail
        end = rows[number + 1].start if number + 1 < len(rows) else row.end
        done = (end - row.start) * scale
        result[row.start * scale:end * scale] = strip[:done].round().clip(0, 255)
        tail = strip[done:].copy()
    tick(count, count)
    return result


def _spans(length: int, scale: int, tiling: Tiling) -> list[_Span]:
    """Tiles along an axis, evenly placed."""
    size = tiling.size
    if not size or length <= size:
        return [_Span(0, length, np.ones(length * scale, np.float32))]
    shared = min(tiling.overlap * SHARED, size // 2)
    count = math.ceil((length - shared) / (size - shared))
    starts = [round(number * (length - size) / (count - 1)) for number in range(count)]
    fade = max(min(tiling.overlap, shared // 2) * scale, 1e-6)
    seams = [(before + size + after) / 2 * scale for before, after in itertools.pairwise(starts)]
    spans = []
    for number, start in enumerate(starts):
        place = np.arange(start * scale, (start + size) * scale, dtype=np.float64) + 0.5
        weight = np.ones_like(place)
        if number:
            weight *= ((place - seams[number - 1]) / fade + 0.5).clip(0, 1)
        if number < count - 1:
            weight *= ((seams[number] - place) / fade + 0.5).clip(0, 1)
        spans.append(_Span(start, start + size, weight.astype(np.float32)))
    return spans
