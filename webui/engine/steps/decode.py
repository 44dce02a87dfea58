"""Step 4 of a pass: latents to pictures, one at a time, so that a batch needs no more memory here than a single picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

from webui.backend.components import Components
from webui.engine.steps.postprocess import to_image
from webui.schema.errors import ModelError

WIDER = {torch.float16: (torch.bfloat16, torch.float32), torch.bfloat16: (torch.float32,)}
"""bfloat16 has the range of float32 in 16 bits, so it comes first."""


def finite(values: Tensor) -> bool:
    """Whether there is neither NaN nor infinity among them: either makes the sum so, in one pass and without a tensor of their size."""
    return bool(values.sum(dtype=torch.float32).isfinite())


def check_latents(latents: Tensor) -> None:
    """Raises `ModelError` when sampling ended in NaN or infinity. Called once a batch: asking a GPU at every step would stall it."""
    if not finite(latents):
        raise ModelError(
            "The model produced NaN (not a number) instead of a picture.",
            hint="Its weights may be damaged, or 16 bits are too few for it: start with --precision full (or --no-half).",
        )


def decode_picture(components: Components, latents: Tensor, tell: Callable[[str], None] | None = None) -> Tensor:
    """(channels, h, w) → (3, 8 h, 8 w), both float32, in [-1, 1] but for overshoot.

    An autoencoder that gives NaN is widened to bfloat16, then to float32, and stays so; `tell` hears of it. Without `tell`, and when that did not
    help, raises `ModelError`.
    """
    picture, vae = components.autoencoder.decode(latents[None])[0], components.modules["vae"]
    if tell is not None:
        for dtype in WIDER.get(next(vae.parameters()).dtype, ()):
            if finite(picture):
                return picture
            vae.to(dtype)
            name = str(dtype).removeprefix("torch.")
            tell(f"The VAE produced NaN (not a number); it computes in {name} from now on. With --no-half-vae it always computes in 32 bits.")
            picture = components.autoencoder.decode(latents[None])[0]
    if not finite(picture):
        raise ModelError(
            "The VAE (the part that turns the result into pixels) produced NaN (not a number).",
            hint="16 bits are too few for this VAE: start with --no-half-vae.",
        )
    return picture


@torch.inference_mode()
def develop(components: Components, latents: Tensor, tell: Callable[[str], None] | None = None) -> Image.Image:
    """Decode → postprocess, for one picture (channels, h, w). `tell`: see `decode_picture`."""
    return to_image(decode_picture(components, latents, tell))
