"""DDPM: Ho et al. 2020, "Denoising Diffusion Probabilistic Models", https://arxiv.org/abs/2006.11239, algorithm 2 between any two noise levels."""

from __future__ import annotations

from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions


def sample_ddpm(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma. Written for x = picture + sigma noise: a = 1 / (1 + sigma^2), the process itself runs on sqrt(a) x."""
    del options
    values = sigmas.tolist()
    for i in range(len(sigmas) - 1):
        sigma, target = values[i], values[i + 1]
        x0 = network.x0(x, sigmas[i]).value
        step(i, sigmas[i], x, x0)
        a, a_next = 1 / (1 + sigma**2), 1 / (1 + target**2)
        alpha = a / a_next
        x = x - (x - x0) * ((1 - alpha) / (sigma * (1 - a) ** 0.5 * a**0.5))
        if target > 0:
            x = x + ((1 - alpha) * (1 - a_next) / (1 - a) / a_next) ** 0.5 * noise()
    return x
