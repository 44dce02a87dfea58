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

from tools.demo_model.palette import COLOURS, Rgb
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

VARIANTS = 6
"""Drawings of each background, with other clouds, stars and hills."""

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
    rows, columns = box = _box(mask)
    thing, colour = _find_thing(pixels[box], mask[box], background)
    centre = ((columns.start + columns.stop) / 2 / SIDE, (rows.start + rows.stop) / 2 / SIDE)
    return Verdict(background, thing, colour, min(PLACES, key=lambda place: np.hypot(PLACES[place][0] - centre[0], PLACES[place][1] - centre[1])))


def shrink(picture: Image.Image) -> Floats:
    """(SIDE, SIDE, 3), 0 to 255."""
    return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)


@functools.cache
def _backgrounds() -> tuple[list[Background], Floats]:
    """Every background, and (count, variants, SIDE, SIDE, 3) of it: clouds and hills are not always the same."""
    kinds = backgrounds()
    drawn = [[shrink(draw_background(kind, "flat", seed, 256)) for seed in range(VARIANTS)] for kind in kinds]
    return kinds, np.asarray(drawn)


def _find_background(pixels: Floats) -> tuple[Background, Floats]:
    """The best background and, per pixel, the distance from it: the least over its variants, so that small accidents do not count.

    Which is best is found on every second pixel of every second row.
    """
    kinds, drawn = _backgrounds()
    coarse = np.sqrt(((drawn[:, :, ::2, ::2] - pixels[::2, ::2]) ** 2).sum(-1)).min(1).reshape(len(kinds), -1)
    kept = int(EXPLAINED * coarse.shape[1])
    best = int(np.partition(coarse, kept, axis=1)[:, :kept].mean(1).argmin())
    return kinds[best], np.sqrt(((drawn[best] - pixels) ** 2).sum(-1)).min(0)


def _largest(mask: Floats) -> Floats | None:
    """The connected part that is largest; None when there is next to nothing."""
    joined = ndimage.binary_dilation(mask, iterations=1)
    labels, count = ndimage.label(joined)  # pyright: ignore[reportGeneralTypeIssues]
    if not count:
        return None
    sizes = ndimage.sum_labels(mask, labels, range(1, count + 1))
    if sizes.max() < 30:
        return None
    return mask & (labels == 1 + int(np.argmax(sizes)))


@functools.cache
def _drawings() -> list[tuple[str, str, Floats, Floats]]:
    """Thing, colour, look (96, 96, 3) and cover (96, 96) of every thing in every colour."""
    found = []
    for thing in THINGS:
        for colour in COLOURS:
            drawn = []
            for ground in ((255, 0, 255), (0, 255, 0)):
                canvas = Image.new("RGB", (96, 96), ground)
                draw_thing(Pen(ImageDraw.Draw(canvas), (48, 48), 44, unit=1), thing, COLOURS[colour])
                drawn.append(np.asarray(canvas, dtype=np.float32))
            found.append((thing, colour, drawn[0], np.abs(drawn[0] - drawn[1]).sum(-1) < 1))
    return found


@functools.cache
def _silhouettes(hidden: tuple[Rgb, ...]) -> tuple[list[tuple[str, str]], Floats, Floats, Floats]:
    """Names, looks (count, CUT, CUT, 3), covers (count, CUT, CUT) and proportions of all drawings, cut out as a picture's thing is.

    What has one of the `hidden` colours cannot be told from the background, so it does not count: a brown arm on brown.
    """
    names, looks, covers, proportions = [], [], [], []
    for thing, colour, look, cover in _drawings():
        distances = [np.sqrt(((look - np.asarray(other, dtype=np.float32)) ** 2).sum(-1)) for other in hidden]
        seen = cover & (np.min(distances, axis=0) > APART) if hidden else cover
        if not seen.any():
            continue
        box = _box(seen)
        names.append((thing, colour))
        looks.append(_cut(look[box]))
        covers.append(_cut(seen[box] * 255.0) / 255)
        proportions.append(seen[box].shape[1] / seen[box].shape[0])
    return names, np.asarray(looks), np.asarray(covers), np.asarray(proportions)


def _find_thing(part: Floats, mask: Floats, background: Background) -> tuple[str, str]:
    """Thing and colour whose silhouette fits: colour distance where both are, a fixed cost where only one is, a cost of other proportions."""
    names, looks, covers, proportions = _silhouettes(background.colours if background.colour else ())
    seen, seen_mask = _cut(part), _cut(mask * 255.0) / 255
    both = covers * seen_mask
    apart = np.sqrt(((looks - seen) ** 2).sum(-1)).clip(max=160)
    cost = (both * apart + np.abs(covers - seen_mask) * 110).sum((1, 2)) / np.maximum(covers, seen_mask).sum((1, 2))
    shape = np.log(part.shape[1] / part.shape[0]) - np.log(proportions)
    return names[int((cost + 40 * np.abs(shape)).argmin())]


def _box(mask: Floats) -> tuple[slice, slice]:
    """Rows and columns of the smallest box around a mask that is not empty."""
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _cut(part: Floats) -> Floats:
    """Resized to CUT × CUT, whatever its proportions."""
    return np.asarray(Image.fromarray(part.astype(np.uint8)).resize((CUT, CUT), Image.Resampling.BOX), dtype=np.float32)
