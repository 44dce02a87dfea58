"""Heun: Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models", algorithm 2."""

from __future__ import annotations

from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions
from webui.engine.samplers.euler import churn


def sample_heun(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma: an Euler step, then the same step again along the mean of the slopes at both ends. The step to 0 is Euler's."""
    steps = len(sigmas) - 1
    for i in range(steps):
        x, sigma = churn(x, sigmas[i], steps, noise, options)
        x0 = network.x0(x, sigma).value
        step(i, sigmas[i], x, x0)
        slope, dt = (x - x0) / sigma, sigmas[i + 1] - sigma
        if sigmas[i + 1] > 0:
            ahead = x + slope * dt
            slope = (slope + (ahead - network.x0(ahead, sigmas[i + 1], ahead=True).value) / sigmas[i + 1]) / 2
        x = x + slope * dt
    return x
