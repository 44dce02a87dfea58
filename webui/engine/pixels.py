"""Between pictures and tensors."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

FACTOR = 8
"""Pixels per latent cell, each way, of every Stable Diffusion autoencoder."""


def to_pixels(image: Image.Image) -> Tensor:
    """RGB, 8 bits → (3, height, width) float32 in [-1, 1]."""
    return torch.from_numpy(np.asarray(image.convert("RGB")).astype(np.float32) / 255 * 2 - 1).permute(2, 0, 1)
