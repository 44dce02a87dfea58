"""What a sampler is given. Every sampler is one pure function that reads like its paper; it knows no model, no request and no progress bar.

`sample(network, x, sigmas, noise, options, step) -> x` with x (batch, channels, height, width) float32, already scaled by sigmas[0], and sigmas a
float32 CPU tensor that ends in 0 (schedules without it exist). `step` is called once a step, after the first model call of it; it may raise to end
the run. Timestep samplers (DDIM, PLMS, UniPC) get integer timesteps for `sigmas` and call `network.eps(x, t)`.
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

    def x0(self, x: Tensor, sigma: Tensor) -> Guided:
        """The picture without noise, at x = picture + sigma * noise; sigma is 0-dimensional."""
        ...

    def eps(self, x: Tensor, t: Tensor) -> Guided:
        """The noise, at x = sqrt(a) picture + sqrt(1 - a) noise; t is a 0-dimensional integer timestep."""
        ...


@dataclass(frozen=True)
class SamplerOptions:
    """Knobs of stochastic samplers, with A1111's defaults."""

    eta: float = 1.0
    """How much of each step's noise is drawn anew by ancestral samplers."""

    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = float("inf")
    s_noise: float = 1.0


Noise = Callable[[], Tensor]
"""Draws standard normal noise shaped like x, per picture and in order; how often it is called is part of a sampler's meaning."""

OnStep = Callable[[int, Tensor, Tensor, Tensor], None]
"""step number, sigma, x, x0"""

Sampler = Callable[[Network, Tensor, Tensor, Noise, SamplerOptions, OnStep], Tensor]
