"""Step 5 of a pass: floats to an 8-bit picture."""

from __future__ import annotations

from PIL import Image
from torch import Tensor


def to_image(picture: Tensor) -> Image.Image:
    """(3, height, width) in [-1, 1] → RGB, 8 bits, by truncation as A1111 does it (255 * x rounded down)."""
    pixels = picture.add(1).div_(2).clamp_(0, 1).mul_(255)
    return Image.fromarray(pixels.permute(1, 2, 0).byte().cpu().contiguous().numpy(), "RGB")
