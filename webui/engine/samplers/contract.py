"""What a sampler is given. Every sampler is one pure function that reads like its paper; it knows no model, no request and no progress bar.

`sample(network, x, sigmas, noise, options, step) -> x` with x (batch, channels, height, width) float32, already scaled by sigmas[0], and sigmas a
float32 CPU tensor that ends in 0 (schedules without it exist). `step` is called once a step, after the first model call of it; it may raise to end
the run. Three kinds differ, as their `SamplerSpec` says: with `face="timestep"` (DDIM, PLMS, UniPC) `sigmas` are rising integer timesteps, x is
sqrt(a) picture + sqrt(1 - a) noise, and the sampler calls `network.eps(x, t)`; with `brownian`, `noise` is a `NoiseBetween`; with `range_only`, of
`sigmas` only the first, the last but one and the length count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Guided:
    """What the guided network says about x: guided value, and the two it was made of. `uncond` is None when it was not needed."""

    value: Tensor
    uncond: Tensor | None
    cond: Tensor
    call: int
    """Number of this call within the pass, from 0."""


class Network(Protocol):
    """The guided network as samplers see it."""

    def x0(self, x: Tensor, sigma: Tensor, *, ahead: bool = False) -> Guided:
        """The picture without noise, at x = picture + sigma * noise; sigma is 0-dimensional. `ahead`: asked further on within the same step."""
        ...

    def eps(self, x: Tensor, t: Tensor, *, ahead: bool = False) -> Guided:
        """The noise, at x = sqrt(a) picture + sqrt(1 - a) noise; t is a 0-dimensional timestep, which may be fractional."""
        ...


@dataclass(frozen=True)
class SamplerOptions:
    """Knobs of samplers, with A1111's defaults."""

    eta: float = 1.0
    """How much of each step's noise is drawn anew by ancestral samplers (0 by default for DDIM)."""

    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = float("inf")
    s_noise: float = 1.0

    alphas_cumprod: Tensor | None = None
    """The model's noise table, (1000,) float32 on the CPU: for timestep samplers."""

    unipc_variant: str = "bh1"
    unipc_skip_type: str = "time_uniform"
    unipc_order: int = 3
    unipc_lower_order_final: bool = True
    start_from_picture: bool = False
    """True in img2img: UniPC then begins at the last of its timesteps, not at pure noise."""


Noise = Callable[[], Tensor]
"""Draws standard normal noise shaped like x, per picture and in order; how often it is called is part of a sampler's meaning."""

NoiseBetween = Callable[[Tensor, Tensor], Tensor]
"""(sigma, next sigma) → the increment of a Brownian path between them, standard normal: the same path whatever steps are taken along it."""

OnStep = Callable[[int, Tensor, Tensor, Tensor], None]
"""step number, sigma, x, x0"""

Sampler = Callable[[Network, Tensor, Tensor, Noise, SamplerOptions, OnStep], Tensor]
