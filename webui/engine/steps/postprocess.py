"""Step 5 of a pass: floats to an 8-bit picture."""

from __future__ import annotations

from PIL import Image
from torch import Tensor


def to_image(picture: Tensor) -> Image.Image:
    """(3, height, width) in [-1, 1] → RGB, 8 bits, by truncation as A1111 does it (255 * x rounded down)."""
    pixels = picture.add(1).div_(2).clamp_(0, 1).mul_(255)
    return Image.merge("RGB", [Image.fromarray(channel) for channel in pixels.byte().cpu().numpy()])  # twice as fast as turning the array
