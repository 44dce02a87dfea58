"""Colour correction: a picture gets the colours of another one (of its size) and keeps what it shows. RGB in and out, 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from PIL import Image

Method = Literal["Histogram", "Wavelet", "AdaIN"]
Array = np.ndarray

LEVELS = 5
"""Octaves of detail that "Wavelet" leaves alone."""

LUMA = np.array([0.3, 0.59, 0.11])
"""Weights of the luminosity in blend modes (PDF 1.7, section 11.3.5)."""


def correct_colours(image: Image.Image, target: Image.Image, method: Method) -> Image.Image:
    """The picture with the colours of `target`."""
    if target.size != image.size:
        target = target.resize(image.size, Image.Resampling.LANCZOS)
    return Image.fromarray(METHODS[method](np.asarray(image.convert("RGB")), np.asarray(target.convert("RGB"))))


def match_histograms(image: Array, target: Array) -> Array:
    """A1111's: the histogram of each Lab channel becomes the target's, then the picture's own luminosity is put back (a1111-contract §4)."""
    lab, wanted = (cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB) for pixels in (image, target))
    matched = np.stack([_match(lab[..., channel], wanted[..., channel]) for channel in range(3)], -1)
    return with_luminosity(cv2.cvtColor(matched, cv2.COLOR_LAB2RGB), image)


def _match(channel: Array, wanted: Array) -> Array:
    """Each value becomes the one at the same share of the other's pixels."""
    _, places, counts = np.unique(channel.ravel(), return_inverse=True, return_counts=True)
    values, others = np.unique(wanted.ravel(), return_counts=True)
    found = np.interp(np.cumsum(counts) / channel.size, np.cumsum(others) / wanted.size, values)
    return found[places].reshape(channel.shape).astype(np.uint8)


def with_luminosity(image: Array, bright: Array) -> Array:
    """Hue and saturation of one, luminosity of the other: the blend mode "Luminosity" of PDF 1.7, section 11.3.5."""
    colours = image.astype(np.float64) / 255
    wanted = (bright.astype(np.float64) / 255 @ LUMA)[..., None]
    colours = colours + wanted - (colours @ LUMA)[..., None]
    low, high = colours.min(-1, keepdims=True), colours.max(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        colours = np.where(low < 0, wanted + (colours - wanted) * wanted / (wanted - low), colours)
        colours = np.where(high > 1, wanted + (colours - wanted) * (1 - wanted) / (high - wanted), colours)
    return (np.clip(np.nan_to_num(colours), 0, 1) * 255 + 0.5).astype(np.uint8)


def match_coarse(image: Array, target: Array) -> Array:
    """Fine detail of one, coarse colours of the other, parted by an à trous wavelet of five levels, as in StableSR (Wang et al. 2023,
    https://arxiv.org/abs/2305.07015)."""
    fine = image.astype(np.float32) - _coarse(image)
    return (np.clip(fine + _coarse(target), 0, 255) + 0.5).astype(np.uint8)


def _coarse(pixels: Array) -> Array:
    result = pixels.astype(np.float32)
    for level in range(LEVELS):
        spread = np.zeros(2 * 2**level + 1, np.float32)
        spread[[0, 2**level, 2 ** (level + 1)]] = 0.25, 0.5, 0.25
        result = cv2.sepFilter2D(result, -1, spread, spread, borderType=cv2.BORDER_REPLICATE)
    return result


def match_spread(image: Array, target: Array) -> Array:
    """Mean and standard deviation of each channel become the target's: Huang & Belongie 2017, https://arxiv.org/abs/1703.06868, on pixels."""
    own, wanted = image.astype(np.float64), target.astype(np.float64)
    spread = own.std((0, 1))
    scale = np.where(spread > 0, wanted.std((0, 1)) / np.where(spread > 0, spread, 1), 1.0)
    return (np.clip((own - own.mean((0, 1))) * scale + wanted.mean((0, 1)), 0, 255) + 0.5).astype(np.uint8)


METHODS: dict[Method, Callable[[Array, Array], Array]] = {"Histogram": match_histograms, "Wavelet": match_coarse, "AdaIN": match_spread}
