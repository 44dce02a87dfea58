"""The built-in image upscalers: `upscale(image, scale) -> image`, RGB in and out (`UpscalerSpec.function`)."""

from __future__ import annotations

from PIL import Image


def lanczos(image: Image.Image, scale: float) -> Image.Image:
    """Lanczos' filter over three lobes (Duchon 1979), as Pillow does it."""
    return _resize(image, scale, Image.Resampling.LANCZOS)


def nearest(image: Image.Image, scale: float) -> Image.Image:
    """Every pixel becomes a block."""
    return _resize(image, scale, Image.Resampling.NEAREST)


def _resize(image: Image.Image, scale: float, filter: Image.Resampling) -> Image.Image:
    return image.resize((int(image.width * scale), int(image.height * scale)), filter)
