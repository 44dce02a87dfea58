"""Soft inpainting: a mask with grey levels is blended step by step, and where the result differs little from the picture the picture is kept
(a1111-contract §4, §11.17; after Levin & Fried 2023, "Differential Diffusion", https://arxiv.org/abs/2306.00950)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter
from torch import Tensor

from webui.engine.framing import Place, Size, frame_image, put_back
from webui.schema.img2img import SoftInpainting

EDGE_BLUR = 4
"""Radius in pixels, against steps at the edges of latent cells."""

Array = np.ndarray


@dataclass(frozen=True)
class SoftMask:
    """Implements `faces.Keeping`. `anew`: how much of each cell is made anew, 0 … 1, broadcast over x."""

    picture: Tensor
    anew: Tensor
    soft: SoftInpainting

    def blend(self, x: Tensor, level: Tensor) -> Tensor:
        """See `Keeping.blend`."""
        return blend_latents(self.picture, x, mask_at(self.anew, float(level), self.soft), self.soft.soft_detail)

    def finish(self, x: Tensor) -> Tensor:
        """See `Keeping.finish`: what is shown of it is decided by `shown_mask`."""
        return x


def mask_at(anew: Tensor, level: float, soft: SoftInpainting) -> Tensor:
    """The mask of a step: mask ^ (sigma ^ bias × strength), so that grey parts are kept at high noise. Timestep samplers count in timesteps, as in
    A1111."""
    return anew ** (level**soft.soft_power * soft.soft_scale)


def blend_latents(picture: Tensor, x: Tensor, share: Tensor, detail: float) -> Tensor:
    """From the picture (share 0) to x (share 1). The vectors are interpolated, their lengths apart, as a power mean of `detail`: a plain mix of two
    latents is shorter than both and decodes to mush."""
    mixed = picture * (1 - share) + x * share
    first = share[..., :1, :, :]
    lengths = [latents.norm(dim=-3, keepdim=True) for latents in (picture, x, mixed)]
    wanted = ((1 - first) * lengths[0] ** detail + first * lengths[1] ** detail) ** (1 / detail)
    return mixed * (wanted / (lengths[2] + 1e-5))


def shown_mask(before: Tensor, after: Tensor, anew: Tensor, soft: SoftInpainting, size: Size) -> Image.Image:
    """Grey, of `size`: how much of the result is shown, from how far its latents (channels, h, w) went from the picture's. `anew`: (h, w)."""
    distance = (after - before).norm(dim=0).float().cpu().numpy()
    kernel = soft_kernel(1.5, 2)
    distance = percentile_filter(distance, kernel, (0.9, 1.0), 1.0)
    distance = percentile_filter(distance, kernel, (0.25, 0.75), 1.0)
    influence = soft.soft_influence
    scale = 0.5 * (1 - influence) + (1 - anew.clamp(0, 1).float().cpu().numpy() ** (soft.soft_scale / 2)) * influence
    half = soft.soft_threshold * scale / (1.00001 - scale)  # the distance of which half is shown
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = 1 / (1 + np.nan_to_num(distance / half, nan=0.0, posinf=np.inf) ** soft.soft_contrast)
    kept = kept**3 * (kept * (kept * 6 - 15) + 10)
    small = Image.fromarray((255 * (1 - kept)).astype(np.uint8))
    return frame_image(small, size, "fit").convert("L").filter(ImageFilter.GaussianBlur(EDGE_BLUR))


def placed(mask: Image.Image, place: Place | None, size: Size) -> Image.Image:
    """The mask in a picture of this size, of which only a place was worked on."""
    return mask if place is None else put_back(mask, place, size).convert("L")


def soft_kernel(radius: float, reach: int) -> Array:
    """Weights (2 reach + 1, 2 reach + 1), 1 in the middle: Gauss' bell exp(-d² / radius²), lowered so that it ends at reach + 1."""
    steps = np.arange(-reach, reach + 1, dtype=np.float64)
    squared = steps[:, None] ** 2 + steps[None] ** 2
    floor = np.exp(-((reach + 1) ** 2) / radius**2)
    return np.maximum(0.0, (np.exp(-squared / radius**2) - floor) / (1 - floor))


def percentile_filter(image: Array, kernel: Array, window: tuple[float, float], least: float) -> Array:
    """Each pixel of (h, w) becomes the mean of its neighbours between two shares (0 … 1) of their weight, in the order of their values. A window of
    less weight than `least` is widened around its middle. Neighbours outside of the picture do not count."""
    reach = len(kernel) // 2
    height, width = image.shape
    spots = [(y, x) for y in range(len(kernel)) for x in range(len(kernel)) if kernel[y, x] > 0]
    values = np.pad(image.astype(np.float64), reach)
    inside = np.pad(np.ones_like(values[reach : reach + height, reach : reach + width]), reach)
    around = np.stack([values[y : y + height, x : x + width] for y, x in spots], -1)
    weights = np.stack([inside[y : y + height, x : x + width] * kernel[y, x] for y, x in spots], -1)
    order = np.argsort(around, -1)
    around, weights = np.take_along_axis(around, order, -1), np.take_along_axis(weights, order, -1)
    ends = np.cumsum(weights, -1)
    total = ends[..., -1:]
    low, high = window[0] * total, window[1] * total
    more = np.maximum(least - (high - low), 0) / 2
    low, high = low - more, high + more
    low, high = low - np.maximum(high - total, 0), np.minimum(high, total)
    low, high = np.maximum(low, 0), np.minimum(high + np.maximum(-low, 0), total)
    shares = np.clip(np.minimum(ends, high) - np.maximum(ends - weights, low), 0, None)
    return ((around * shares).sum(-1) / shares.sum(-1)).astype(image.dtype)
