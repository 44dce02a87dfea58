"""DDPM: Ho et al. 2020, "Denoising Diffusion Probabilistic Models", https://arxiv.org/abs/2006.11239, algorithm 2 between any two noise levels."""

from __future__ import annotations

from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions


def sample_ddpm(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma. Written for x = picture + sigma noise: a = 1 / (1 + sigma^2), the process itself runs on sqrt(a) x."""
    del options
    for i in range(len(sigmas) - 1):
        sigma, target = sigmas[i], sigmas[i + 1]
        x0 = network.x0(x, sigma).value
        step(i, sigma, x, x0)
        a, a_next = 1 / (1 + sigma**2), 1 / (1 + target**2)
        alpha = a / a_next
        eps = (x - x0) / sigma
        y = (x * a.sqrt() - (1 - alpha) / (1 - a).sqrt() * eps) / alpha.sqrt()
        if target > 0:
            y = y + ((1 - alpha) * (1 - a_next) / (1 - a)).sqrt() * noise()
        x = y / a_next.sqrt()
    return x
