"""Euler a: an Euler step to a lower sigma than asked, then fresh noise up to it (ancestral sampling, Ho et al. 2020; after k-diffusion)."""

from __future__ import annotations

from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions


def ancestral_step(sigma: Tensor, sigma_next: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """(sigma to go down to, spread of the noise to add), so that both together give sigma_next."""
    up = (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5 * eta
    up = up.minimum(sigma_next)
    return (sigma_next**2 - up**2) ** 0.5, up


def sample_euler_ancestral(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma. With eta 0 this is Euler."""
    for i in range(len(sigmas) - 1):
        x0 = network.x0(x, sigmas[i]).value
        step(i, sigmas[i], x, x0)
        down, up = ancestral_step(sigmas[i], sigmas[i + 1], options.eta)
        x = x + (x - x0) / sigmas[i] * (down - sigmas[i])
        if sigmas[i + 1] > 0:
            x = x + noise() * options.s_noise * up
    return x
