"""Step 4 of a pass: latents to pictures, one at a time, so that a batch needs no more memory here than a single picture."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from webui.backend.components import Components
from webui.engine.steps.postprocess import to_image
from webui.schema.errors import ModelError


def check_latents(latents: Tensor) -> None:
    """Raises `ModelError` when sampling ended in NaN or infinity. Called once a batch: asking a GPU at every step would stall it."""
    if not bool(torch.isfinite(latents).all()):
        raise ModelError(
            "The model produced NaN (not a number) instead of a picture.",
            hint="Its weights may be damaged, or 16 bits are too few for it: start with --precision full (or --no-half).",
        )


def decode_picture(components: Components, latents: Tensor) -> Tensor:
    """(channels, h, w) → (3, 8 h, 8 w), both float32, in [-1, 1] but for overshoot. Raises `ModelError` when the autoencoder gives NaN."""
    picture = components.autoencoder.decode(latents[None])[0]
    if not bool(torch.isfinite(picture).all()):
        raise ModelError(
            "The VAE (the part that turns the result into pixels) produced NaN (not a number).",
            hint="16 bits are too few for this VAE: start with --no-half-vae.",
        )
    return picture


@torch.inference_mode()
def develop(components: Components, latents: Tensor) -> Image.Image:
    """Decode → postprocess, for one picture (channels, h, w)."""
    return to_image(decode_picture(components, latents))
