"""Says what a picture of one thing shows: background, thing, its colour and its place. Knows the world's looks, but no model and no prompt.

Analysis by synthesis on a 64-pixel copy: the background is the drawn one that explains most of the picture; the thing is where the picture differs
from it; thing and colour are those of the drawn silhouette, in its colours, that fits the cut-out best.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from tools.demo_model.palette import COLOURS
from tools.demo_model.pen import Pen
from tools.demo_model.scene import PLACES, THINGS, Background, backgrounds
from tools.demo_model.things import draw_thing
from tools.demo_model.world import draw_background

SIDE = 64
CUT = 40
"""Pixels of a cut-out's side, in which silhouettes are compared."""

APART = 42.0
"""RGB distance from the background that makes a pixel part of a thing."""

EXPLAINED = 0.8
"""Share of the pixels by which a background is judged: those that fit it best."""

Floats = np.ndarray


@dataclass(frozen=True)
class Verdict:
    """What a picture shows. Empty strings where nothing stands out from the background."""

    background: Background
    thing: str
    colour: str
    place: str


def judge(picture: Image.Image) -> Verdict:
    """Look at a picture of one thing in the flat style."""
    pixels = shrink(picture)
    background, difference = _find_background(pixels)
    mask = _largest(difference > APART)
    if mask is None:
        return Verdict(background, "", "", "")
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    thing, colour = _find_thing(pixels[top:bottom, left:right], mask[top:bottom, left:right])
    centre = ((left + right) / 2 / SIDE, (top + bottom) / 2 / SIDE)
    return Verdict(background, thing, colour, min(PLACES, key=lambda place: np.hypot(PLACES[place][0] - centre[0], PLACES[place][1] - centre[1])))


def shrink(picture: Image.Image) -> Floats:
    """(SIDE, SIDE, 3), 0 to 255."""
    return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)


@functools.cache
def _backgrounds() -> tuple[list[Background], Floats]:
    """Every background, and (count, variants, SIDE, SIDE, 3) of it: clouds and hills are not always the same."""
    kinds = backgrounds()
    drawn = [[shrink(draw_background(kind, "flat", seed, 256)) for seed in range(6)] for kind in kinds]
    return kinds, np.asarray(drawn)


def _find_background(pixels: Floats) -> tuple[Background, Floats]:
    """The best background and, per pixel, the distance from it: the least over its variants, that small accidents do not count."""
    kinds, drawn = _backgrounds()
    distances = np.sqrt(((drawn - pixels) ** 2).sum(-1)).min(1)
    flat = np.sort(distances.reshape(len(kinds), -1), axis=1)
    best = int(flat[:, : int(EXPLAINED * flat.shape[1])].mean(1).argmin())
    return kinds[best], distances[best]


def _largest(mask: Floats) -> Floats | None:
    """The connected part that is largest; None when there is next to nothing."""
    joined = ndimage.binary_dilation(mask, iterations=1)
    labels, count = ndimage.label(joined)
    if not count:
        return None
    sizes = ndimage.sum_labels(mask, labels, range(1, count + 1))
    if sizes.max() < 30:
        return None
    return mask & (labels == 1 + int(np.argmax(sizes)))


@functools.cache
def _silhouettes() -> tuple[list[tuple[str, str]], Floats, Floats]:
    """Names, colours (count, CUT, CUT, 3) and cover (count, CUT, CUT) of every thing in every colour, cut out like a picture's."""
    names = [(thing, colour) for thing in THINGS for colour in COLOURS]
    looks, covers = zip(*(_silhouette(*name) for name in names), strict=True)
    return names, np.asarray(looks), np.asarray(covers)


def _silhouette(thing: str, colour: str) -> tuple[Floats, Floats]:
    drawn = []
    for ground in ((255, 0, 255), (0, 255, 0)):
        canvas = Image.new("RGB", (256, 256), ground)
        draw_thing(Pen(ImageDraw.Draw(canvas), (128, 128), 110), thing, COLOURS[colour])
        drawn.append(np.asarray(canvas, dtype=np.float32))
    cover = (np.abs(drawn[0] - drawn[1]).sum(-1) < 1).astype(np.uint8)
    box = Image.fromarray(cover * 255).getbbox() or (0, 0, 256, 256)
    return _cut(drawn[0][box[1] : box[3], box[0] : box[2]]), _cut(cover[box[1] : box[3], box[0] : box[2]] * 255.0) / 255


def _cut(part: Floats) -> Floats:
    """Resized to CUT × CUT, whatever its proportions."""
    return np.asarray(Image.fromarray(part.astype(np.uint8)).resize((CUT, CUT), Image.Resampling.BOX), dtype=np.float32)


def _find_thing(part: Floats, mask: Floats) -> tuple[str, str]:
    """Thing and colour whose silhouette fits: colour distance where both are, a fixed cost where only one is, a cost of other proportions."""
    names, looks, covers = _silhouettes()
    seen, seen_mask = _cut(part), _cut(mask * 255.0) / 255
    both = covers * seen_mask
    apart = np.sqrt(((looks - seen) ** 2).sum(-1)).clip(max=160)
    cost = (both * apart + np.abs(covers - seen_mask) * 110).sum((1, 2)) / np.maximum(covers, seen_mask).sum((1, 2))
    shape = np.log(part.shape[1] / part.shape[0]) - np.log(_proportions())
    return names[int((cost + 40 * np.abs(shape)).argmin())]


@functools.cache
def _proportions() -> Floats:
    """Width by height of every silhouette, in the order of the names."""
    found = []
    for thing in THINGS:
        canvas = Image.new("RGB", (256, 256), (255, 0, 255))
        draw_thing(Pen(ImageDraw.Draw(canvas), (128, 128), 110), thing, COLOURS["blue"])
        rows, columns = np.nonzero((np.asarray(canvas) != (255, 0, 255)).any(-1))
        found += [(np.ptp(columns) + 1) / (np.ptp(rows) + 1)] * len(COLOURS)
    return np.asarray(found)
