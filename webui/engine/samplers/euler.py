"""Euler: Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models", algorithm 2 without its second-order correction."""

from __future__ import annotations

from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions


def sample_euler(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma. With s_churn 0 this is the plain Euler method on the probability flow ODE, dx = (x - x0) / sigma dsigma."""
    steps = len(sigmas) - 1
    for i in range(steps):
        sigma = sigmas[i]
        gamma = min(options.s_churn / steps, 2**0.5 - 1) if options.s_tmin <= sigma <= options.s_tmax else 0.0
        eps = noise() * options.s_noise  # drawn also when gamma is 0: later draws of the same generators must not depend on it
        sigma_hat = sigma * (gamma + 1)
        if gamma > 0:
            x = x + eps * (sigma_hat**2 - sigma**2) ** 0.5
        x0 = network.x0(x, sigma_hat).value
        step(i, sigma, x, x0)
        derivative = (x - x0) / sigma_hat
        x = x + derivative * (sigmas[i + 1] - sigma_hat)
    return x
