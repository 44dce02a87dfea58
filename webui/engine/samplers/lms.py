"""LMS: linear multistep (Adams–Bashforth, order 4) on dx/dsigma = (x - x0) / sigma, with sigma as time; after k-diffusion."""

from __future__ import annotations

from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions
from webui.engine.samplers.multistep import adams_bashforth

ORDER = 4


def sample_lms(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma. One network call a step; the first steps are of lower order."""
    del noise, options  # deterministic
    times = sigmas.tolist()
    slopes: list[Tensor] = []
    for i in range(len(sigmas) - 1):
        x0 = network.x0(x, sigmas[i]).value
        step(i, sigmas[i], x, x0)
        slopes = [(x - x0) / sigmas[i], *slopes[: ORDER - 1]]
        weights = adams_bashforth(times[i :: -1][: len(slopes)], times[i + 1])
        for weight, slope in zip(weights, slopes, strict=True):
            x = x + weight * slope
    return x
