"""Between two passes: what the first left becomes the picture that the second begins with (a1111-contract §5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from webui.backend.components import Components
from webui.engine.enlarging import Grow, grow_by_function, grow_fully
from webui.engine.pixels import FACTOR, to_pixels
from webui.engine.plan import Enlarge
from webui.engine.steps.decode import develop, finite
from webui.engine.steps.postprocess import to_image
from webui.schema.errors import ModelError


def enlarge(
    models: tuple[Callable[[], Components], Callable[[], Components]], to: Enlarge, before: Tensor | Image.Image, *, show: bool,
    seed: int | None = None, tell: Callable[[str], None] | None = None, grow: Grow = grow_by_function,
) -> tuple[Tensor, Sequence[Image.Image]]:
    """Latents for a second pass to begin with (one, or one for each picture), and the pictures they come from.

    `before` is what the first pass left, (batch, channels, h, w), or a finished picture that stands for it. Pictures of latents are made where the
    upscaler works on pictures, and where `show` asks for them. `models`: the one at work, which decodes, and that of the second pass, which encodes.
    `seed`: see `enlarge_images`; `tell`: see `decode_picture`; `grow` runs the upscaler.
    """
    now, take = models
    latent = to.upscaler.latent_mode is not None
    if isinstance(before, Image.Image):
        if latent:
            return enlarge_latents(encode_image(take(), before), to), [before]
        return enlarge_images(take(), [to_image(to_pixels(before))], to, grow=grow), [before]
    images = [develop(now(), one, tell) for one in before] if show or not latent else []
    return enlarge_latents(before, to) if latent else enlarge_images(take(), images, to, seed, grow), images


def enlarge_latents(latents: Tensor, to: Enlarge) -> Tensor:
    """(batch, channels, h, w) → the latents of the larger picture, interpolated and cut."""
    size = (to.height // FACTOR, to.width // FACTOR)
    mode = to.upscaler.latent_mode or "nearest"
    return cut(interpolate(latents, size=size, mode=mode, antialias=to.upscaler.antialias), to.cut)


def enlarge_images(
    components: Components, images: Sequence[Image.Image], to: Enlarge, seed: int | None = None, grow: Grow = grow_by_function,
) -> Tensor:
    """Pictures → the latents of the enlarged ones, (batch, channels, h, w), cut. Encoded one by one, so a batch needs no more memory than one.

    With a seed they are drawn from the autoencoder's distributions, one after the other, as A1111 does it; without one each is the middle of its own.
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return cut(torch.cat([encode_image(components, upscale_image(image, to, grow), generator) for image in images]), to.cut)


def posterior_seed(seeds: Sequence[int], source: str) -> int | None:
    """What A1111's draw from the autoencoder is seeded by after a first pass: noise of torch leaves torch's global generator at the batch's last
    seed, and LDM draws from that, on the CPU. With noise of its own kind (NV) nobody seeds that generator, so there is nothing to follow."""
    return None if source == "NV" else seeds[-1]


def encode_image(components: Components, image: Image.Image, generator: torch.Generator | None = None) -> Tensor:
    """RGB → (1, channels, height // 8, width // 8) float32. Raises `ModelError` when the autoencoder gives NaN."""
    shape = (1, components.latent_channels, image.height // FACTOR, image.width // FACTOR)
    noise = None if generator is None else torch.randn(shape, generator=generator)
    latents = components.autoencoder.encode(to_pixels(image)[None].to(components.device.device), noise)
    if not finite(latents):
        raise ModelError("The VAE could not read the picture: it produced NaN (not a number).", hint="Start with --no-half-vae.")
    return latents


def upscale_image(image: Image.Image, to: Enlarge, grow: Grow = grow_by_function) -> Image.Image:
    """The picture at exactly the size of `to`: its upscaler where it has to grow, Lanczos for the rest (A1111's `resize_image`, mode 0)."""
    scale = max(to.width / image.width, to.height / image.height)
    if to.upscaler.works_on_pictures and scale > 1:
        image = grow_fully(to.upscaler, image, scale, grow)
    return image if image.size == (to.width, to.height) else image.resize((to.width, to.height), Image.Resampling.LANCZOS)


def cut(latents: Tensor, cells: tuple[int, int]) -> Tensor:
    """Without so many cells (x, y) in all, half on each side, the odd one right and below."""
    x, y = cells
    return latents[:, :, y // 2 : latents.shape[2] - (y + 1) // 2, x // 2 : latents.shape[3] - (x + 1) // 2]

