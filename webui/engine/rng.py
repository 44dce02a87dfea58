"""Noise of a batch, drawn per picture: each has its own generator, so its noise is the same alone or in a batch, bit for bit (a1111-contract §2).

Three sources, as in A1111: "GPU" draws on the device (on a machine without one that is the CPU), "CPU" on the CPU whatever the device, "NV" computes
on the CPU what an NVIDIA GPU would draw. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from webui.engine.brownian import BrownianPath
from webui.engine.philox import Philox
from webui.engine.samplers.contract import NoiseBetween

Shape = tuple[int, int, int]
Source = Callable[[Shape], Tensor]
"""One picture's generator: shape → its next noise."""


@dataclass(frozen=True)
class Variation:
    """What else than the seed shapes the first noise."""

    subseeds: tuple[int, ...] = ()
    strength: float = 0.0
    resize_from: tuple[int, int] = (0, 0)
    """width, height in pixels that the seed's composition was made at; not used when one is 0."""

    eta_seed_delta: int = 0
    """Added to the seeds for all noise but the first (ENSD)."""


class BatchNoise:
    """Noise for pictures with these seeds; `shape` is that of one latent, (channels, height // 8, width // 8)."""

    def __init__(
        self, shape: Shape, seeds: Sequence[int], device: torch.device | str = "cpu", *, source: str = "CPU", variation: Variation | None = None,
    ) -> None:
        self.shape = shape
        self.seeds = tuple(seeds)
        self.device = torch.device(device)
        self.source = source
        self._variation = variation or Variation()
        self._sources = [self.generator(seed) for seed in self.seeds]
        self._drawn = False

    def draw(self) -> Tensor:
        """The next noise of every picture, (batch, *shape), float32, standard normal: the first draw is the start, later ones are the sampler's."""
        if self._drawn:
            return torch.stack([source(self.shape) for source in self._sources]).to(self.device)
        self._drawn = True
        first = torch.stack([self._first(number) for number in range(len(self.seeds))]).to(self.device)
        if self._variation.eta_seed_delta:
            self._sources = [self.generator(seed + self._variation.eta_seed_delta) for seed in self.seeds]
        return first

    def generator(self, seed: int) -> Source:
        """A fresh generator of this seed."""
        if self.source == "NV":
            philox = Philox(seed)
            return lambda shape: torch.from_numpy(philox.draw(shape))
        generator = torch.Generator("cpu" if self.source == "CPU" else self.device).manual_seed(seed)
        return lambda shape: torch.randn(shape, generator=generator, device=generator.device)

    def brownian(self, sigma_min: float, sigma_max: float) -> NoiseBetween:
        """One Brownian path a picture between these sigmas, by its seed alone (no variation, no ENSD)."""
        def draw(seed: int) -> Tensor:
            return self.generator(seed)(self.shape)

        paths = [BrownianPath(sigma_min, sigma_max, seed, draw) for seed in self.seeds]

        def between(sigma: Tensor, sigma_next: Tensor) -> Tensor:
            low, high = (sigma_next, sigma) if sigma_next < sigma else (sigma, sigma_next)
            steps = torch.stack([path.between(float(low), float(high)) for path in paths]).to(self.device)
            sign = 1 if sigma <= sigma_next else -1
            return steps * sign / (sigma_next - sigma).abs().sqrt()

        return between

    def _first(self, number: int) -> Tensor:
        """The first noise of picture `number`: the seed's, bent towards the subseed's, and kept in the middle when the size differs from the
        seed's."""
        seed, own, variation = self.seeds[number], self._sources[number], self._variation
        width, height = variation.resize_from
        shape = (self.shape[0], height // 8, width // 8) if width > 0 and height > 0 else self.shape
        noise = own(self.shape) if shape == self.shape else self.generator(seed)(shape)
        if variation.strength:
            noise = slerp(variation.strength, noise, self.generator(variation.subseeds[number])(shape))
        return noise if shape == self.shape else paste_centre(own(self.shape), noise)


def slerp(share: float, low: Tensor, high: Tensor) -> Tensor:
    """Spherical interpolation of (channels, height, width) noise, column by column: A1111 takes the norms along the height, and so do we. Nearly
    parallel noise is mixed linearly, with the weights the other way round."""
    dot = (low / low.norm(dim=1, keepdim=True) * (high / high.norm(dim=1, keepdim=True))).sum(1)
    if dot.mean() > 0.9995:
        return low * share + high * (1 - share)
    omega = dot.acos()
    return (((1 - share) * omega).sin() / omega.sin()).unsqueeze(1) * low + ((share * omega).sin() / omega.sin()).unsqueeze(1) * high


def paste_centre(canvas: Tensor, noise: Tensor) -> Tensor:
    """The canvas with the noise over its centre; noise larger than the canvas is cut around its own centre. Offsets round down, as A1111's."""
    dy, dx = ((whole - part) // 2 for whole, part in zip(canvas.shape[1:], noise.shape[1:], strict=True))
    height = noise.shape[1] if dy >= 0 else noise.shape[1] + 2 * dy
    width = noise.shape[2] if dx >= 0 else noise.shape[2] + 2 * dx
    top, left = max(dy, 0), max(dx, 0)
    cut_top, cut_left = max(-dy, 0), max(-dx, 0)
    canvas = canvas.clone()
    canvas[:, top : top + height, left : left + width] = noise[:, cut_top : cut_top + height, cut_left : cut_left + width]
    return canvas
