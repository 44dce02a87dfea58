"""Between two passes: what the first left becomes the picture that the second begins with (a1111-contract §5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from webui.backend.components import Components
from webui.engine.course import load_function
from webui.engine.pixels import FACTOR, to_pixels
from webui.engine.plan import Enlarge
from webui.engine.steps.decode import develop
from webui.engine.steps.postprocess import to_image
from webui.schema.errors import ModelError, WebuiError
from webui.schema.sampling import UpscalerSpec

ROUNDS = 3
"""An upscaler with a fixed factor is run at most so often, as in A1111."""


def enlarge(
    models: tuple[Callable[[], Components], Callable[[], Components]], to: Enlarge, before: Tensor | Image.Image, *, show: bool,
    seed: int | None = None, tell: Callable[[str], None] | None = None,
) -> tuple[Tensor, Sequence[Image.Image]]:
    """Latents for a second pass to begin with (one, or one for each picture), and the pictures they come from.

    `before` is what the first pass left, (batch, channels, h, w), or a finished picture that stands for it. Pictures of latents are made where the
    upscaler works on pictures, and where `show` asks for them. `models`: the one at work, which decodes, and that of the second pass, which encodes.
    `seed`: see `enlarge_images`; `tell`: see `decode_picture`.
    """
    now, take = models
    latent = to.upscaler.latent_mode is not None
    if isinstance(before, Image.Image):
        if latent:
            return enlarge_latents(encode_image(take(), before), to), [before]
        return enlarge_images(take(), [to_image(to_pixels(before))], to), [before]
    images = [develop(now(), one, tell) for one in before] if show or not latent else []
    return enlarge_latents(before, to) if latent else enlarge_images(take(), images, to, seed), images


def enlarge_latents(latents: Tensor, to: Enlarge) -> Tensor:
    """(batch, channels, h, w) → the latents of the larger picture, interpolated and cut."""
    size = (to.height // FACTOR, to.width // FACTOR)
    mode = to.upscaler.latent_mode or "nearest"
    return cut(interpolate(latents, size=size, mode=mode, antialias=to.upscaler.antialias), to.cut)


def enlarge_images(components: Components, images: Sequence[Image.Image], to: Enlarge, seed: int | None = None) -> Tensor:
    """Pictures → the latents of the enlarged ones, (batch, channels, h, w), cut. Encoded one by one, so a batch needs no more memory than one.

    With a seed they are drawn from the autoencoder's distributions, one after the other, as A1111 does it; without one each is the middle of its own.
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return cut(torch.cat([encode_image(components, upscale_image(image, to), generator) for image in images]), to.cut)


def posterior_seed(seeds: Sequence[int], source: str) -> int | None:
    """What A1111's draw from the autoencoder is seeded by after a first pass: noise of torch leaves torch's global generator at the batch's last
    seed, and LDM draws from that, on the CPU. With noise of its own kind (NV) nobody seeds that generator, so there is nothing to follow."""
    return None if source == "NV" else seeds[-1]


def encode_image(components: Components, image: Image.Image, generator: torch.Generator | None = None) -> Tensor:
    """RGB → (1, channels, height // 8, width // 8) float32. Raises `ModelError` when the autoencoder gives NaN."""
    shape = (1, components.latent_channels, image.height // FACTOR, image.width // FACTOR)
    noise = None if generator is None else torch.randn(shape, generator=generator)
    latents = components.autoencoder.encode(to_pixels(image)[None].to(components.device.device), noise)
    if not bool(torch.isfinite(latents).all()):
        raise ModelError("The VAE could not read the picture: it produced NaN (not a number).", hint="Start with --no-half-vae.")
    return latents


def upscale_image(image: Image.Image, to: Enlarge) -> Image.Image:
    """The picture at exactly the size of `to`: its upscaler where it has to grow, Lanczos for the rest (A1111's `resize_image`, mode 0)."""
    scale = max(to.width / image.width, to.height / image.height)
    if to.upscaler.function and scale > 1:
        image = _run(to.upscaler, image, scale)
    return image if image.size == (to.width, to.height) else image.resize((to.width, to.height), Image.Resampling.LANCZOS)


def cut(latents: Tensor, cells: tuple[int, int]) -> Tensor:
    """Without so many cells (x, y) in all, half on each side, the odd one right and below."""
    x, y = cells
    return latents[:, :, y // 2 : latents.shape[2] - (y + 1) // 2, x // 2 : latents.shape[3] - (x + 1) // 2]


def _run(upscaler: UpscalerSpec, image: Image.Image, scale: float) -> Image.Image:
    """A1111 brings what an upscaler gives to whole multiples of 8 first. One that does not grow a picture is not asked again."""
    wanted = (int(image.width * scale // 8 * 8), int(image.height * scale // 8 * 8))
    upscale = cast(Callable[[Image.Image, float], Image.Image], load_function(upscaler.function or ""))
    for _ in range(ROUNDS):
        if image.width >= wanted[0] and image.height >= wanted[1]:
            break
        before = image.size
        image = upscale(image, scale)
        if not isinstance(image, Image.Image):
            raise WebuiError(f"The upscaler {upscaler.name} gave a {type(image).__name__} instead of a picture.", field="hr_upscaler")
        if image.size == before:
            break
    return image if image.size == wanted else image.resize(wanted, Image.Resampling.LANCZOS)
