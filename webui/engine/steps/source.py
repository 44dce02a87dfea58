"""Step 2 of a pass that begins with a picture: its latents, which of them are kept, and what a model that looks at a picture is shown
(a1111-contract §4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from webui.engine.framing import Size, stretch
from webui.engine.masking import Prepared
from webui.engine.pixels import FACTOR, to_pixels
from webui.schema.img2img import MaskedContent


@dataclass(frozen=True)
class Beginning:
    """Latents (1 or batch, channels, h, w), and how much of each cell is made anew, (1, 1, h, w), 0 … 1; None = all of it."""

    latents: Tensor
    anew: Tensor | None = None


def begin(
    encode: Callable[[Image.Image], Tensor], prepared: Prepared, size: Size, *, rounded: bool = True, content: MaskedContent = "original",
    noise: Callable[[], Tensor] | None = None,
) -> Beginning:
    """Where a pass of `size` pixels begins. `encode`: RGB → (1, channels, h, w) float32. `noise` gives (batch, channels, h, w) where the masked
    content is noise."""
    latents = encode(prepared.image)
    cells = (size[1] // FACTOR, size[0] // FACTOR)
    if tuple(latents.shape[2:]) != cells:
        latents = interpolate(latents, size=cells, mode="bilinear")
    if prepared.mask is None:
        return Beginning(latents)
    anew = latent_mask(prepared.mask, cells, rounded).to(latents)
    if content == "latent noise" and noise is not None:
        latents = latents * (1 - anew) + noise().to(latents) * anew
    elif content == "latent nothing":
        latents = latents * (1 - anew)
    return Beginning(latents, anew)


def latent_mask(mask: Image.Image, cells: tuple[int, int], rounded: bool) -> Tensor:
    """(1, 1, h, w) of a mask for `cells` (h, w). Rounding takes halves to the even number, as numpy does."""
    small = np.asarray(mask.convert("RGB").resize((cells[1], cells[0])), dtype=np.float32)[..., 0] / 255
    return torch.from_numpy(np.around(small) if rounded else small)[None, None]


def shown_pixels(prepared: Prepared, size: Size) -> Tensor:
    """(1, 3, height, width) in [-1, 1]: the picture as a model that looks at one is shown it."""
    image = prepared.image
    return to_pixels(image if image.size == size else stretch(image, size))[None]


def shown_mask(prepared: Prepared, rounded: bool) -> Tensor | None:
    """(1, 1, height, width), 0 … 1, of the mask; None = everything is made anew."""
    if prepared.mask is None:
        return None
    mask = torch.from_numpy(np.asarray(prepared.mask.convert("L"), dtype=np.float32) / 255)[None, None]
    return mask.round() if rounded else mask
