"""Says in which style a picture of this world is drawn: its features are compared with those of a few hundred drawn pictures (nearest neighbours).

Features: how well the backgrounds explain it in the colours of each style, how much of the change happens at the borders of 8-pixel blocks, how many
thin dark and bright strokes there are, how even its areas are. Knows no model and no prompt.
"""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image
from scipy import ndimage

from tools.demo_model.scene import STYLES, backgrounds, make_scene, with_style
from tools.demo_model.world import BLOCK, draw, draw_background

SIDE = 32
EXAMPLES = 40
"""Drawn pictures a style."""

FIRST_SEED = 20_000_000
NEIGHBOURS = 3
COLOUR_STYLES = ("flat", "sketch", "neon", "watercolour")
WASH = 0.16
"""How much lighter watercolour is on average."""

UNSEEN = 4.0
"""Levels of 255 that nobody sees beside each other."""

Floats = np.ndarray


def judge_style(picture: Image.Image) -> str:
    """One of `STYLES`."""
    labels, known, mean, spread = _examples()
    own = (_features(picture) - mean) / spread
    nearest = np.argsort(((known - own) ** 2).sum(1))[:NEIGHBOURS]
    votes = np.bincount(labels[nearest], minlength=len(STYLES))
    return STYLES[int(votes.argmax())] if votes.max() > 1 else STYLES[int(labels[nearest[0]])]


@functools.cache
def _examples() -> tuple[Floats, Floats, Floats, Floats]:
    """Labels, standardised features, their mean and spread."""
    numbers = range(FIRST_SEED, FIRST_SEED + EXAMPLES)
    labels = np.repeat(np.arange(len(STYLES)), EXAMPLES)
    found = np.asarray([_features(draw(with_style(make_scene(number), style))) for style in STYLES for number in numbers])
    mean, spread = found.mean(0), found.std(0) + 1e-6
    return labels, (found - mean) / spread, mean, spread


def _features(picture: Image.Image) -> Floats:
    pixels = np.asarray(picture.convert("RGB").resize((256, 256)), dtype=np.float32)
    fits = _background_fits(pixels)
    light, bright = pixels.mean(-1), pixels.max(-1)
    dark_strokes = (ndimage.grey_closing(light, size=9) - light > 60).mean()
    bright_strokes = (bright - ndimage.grey_opening(bright, size=11) > 60).mean()
    even, slopes = _evenness(light)
    return np.asarray([
        *np.log1p(fits - fits.min()), np.log1p(fits.min()), _blockiness(pixels), np.log(dark_strokes + 0.003), np.log(bright_strokes + 0.003),
        3 * even, np.log(slopes + 0.05), *(np.quantile(bright, (0.25, 0.5, 0.9)) / 80),
    ])


@functools.cache
def _drawn_backgrounds() -> Floats:
    """(styles, backgrounds, SIDE, SIDE, 3)."""
    drawn = []
    for style in COLOUR_STYLES:
        pictures = [draw_background(kind, style, 0, 256).resize((SIDE, SIDE), Image.Resampling.BOX) for kind in backgrounds()]
        values = np.asarray([np.asarray(picture, dtype=np.float32) for picture in pictures])
        drawn.append(values + (255 - values) * WASH if style == "watercolour" else values)
    return np.asarray(drawn)


def _background_fits(pixels: Floats) -> Floats:
    """RGB distance of the best background in the colours of each style, over the 70 % of the pixels that fit best."""
    small = pixels.reshape(SIDE, 256 // SIDE, SIDE, 256 // SIDE, 3).mean((1, 3))
    distances = np.sqrt(((_drawn_backgrounds() - small) ** 2).sum(-1)).reshape(len(COLOUR_STYLES), -1, SIDE * SIDE)
    kept = np.sort(distances, axis=-1)[..., : int(0.7 * SIDE * SIDE)]
    return kept.mean(-1).min(-1)


def _blockiness(pixels: Floats) -> float:
    """Logarithm of the visible deviation within 8-pixel blocks against the difference of neighbouring blocks."""
    count = 256 // BLOCK
    blocks = pixels.reshape(count, BLOCK, count, BLOCK, 3)
    means = blocks.mean((1, 3))
    within = np.maximum(np.abs(blocks - means[:, None, :, None]) - UNSEEN, 0).mean()
    between = np.abs(np.diff(means, axis=0)).mean() + np.abs(np.diff(means, axis=1)).mean()
    return float(np.log((within + 0.2) / (between + 0.8)))


def _evenness(light: Floats) -> tuple[float, float]:
    """Share of the pixels whose surroundings are of one colour, and the median slope over 16 pixels beside straight vertical gradients."""
    smooth = ndimage.uniform_filter(light, 4)
    even = float((ndimage.maximum_filter(smooth, 5) - ndimage.minimum_filter(smooth, 5) < UNSEEN / 2).mean())
    return even, float(np.median(np.abs(smooth[:, 16:] - smooth[:, :-16])))
