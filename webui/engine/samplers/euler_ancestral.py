"""Euler a: an Euler step to a lower sigma than asked, then fresh noise up to it (ancestral sampling, Ho et al. 2020; after k-diffusion)."""

from __future__ import annotations

from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions


def ancestral_step(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """(sigma to go down to, spread of the noise to add), so that both together give sigma_next."""
    up = min(sigma_next, eta * sigma_next * max(1 - (sigma_next / sigma) ** 2, 0.0) ** 0.5)
    return max(sigma_next**2 - up**2, 0.0) ** 0.5, up


def sample_euler_ancestral(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma. With eta 0 this is Euler."""
    values = sigmas.tolist()
    for i in range(len(sigmas) - 1):
        x0 = network.x0(x, sigmas[i]).value
        step(i, sigmas[i], x, x0)
        down, up = ancestral_step(values[i], values[i + 1], options.eta)
        x = x + (x - x0) * (down / values[i] - 1)
        if values[i + 1] > 0:
            x = x + noise() * (options.s_noise * up)
    return x
