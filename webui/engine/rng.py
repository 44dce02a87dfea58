"""Noise of a batch, drawn per picture: each has its own generator, so its noise is the same alone or in a batch, bit for bit.

Drawn on the CPU whatever the device, so a seed means the same everywhere (A1111 with its noise source set to CPU). Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class BatchNoise:
    """Noise for pictures with these seeds; `shape` is that of one latent, (channels, height // 8, width // 8)."""

    def __init__(self, shape: tuple[int, int, int], seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.shape = shape
        self.seeds = tuple(seeds)
        self.device = torch.device(device)
        self._generators = [torch.Generator("cpu").manual_seed(seed) for seed in self.seeds]

    def draw(self) -> Tensor:
        """The next noise of every picture, (batch, *shape), float32, standard normal: the first draw is the start, later ones are the sampler's."""
        return torch.stack([torch.randn(self.shape, generator=generator) for generator in self._generators]).to(self.device)
