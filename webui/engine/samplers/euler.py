"""Euler: Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models", algorithm 2 without its second-order correction."""

from __future__ import annotations

from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions


def churn(x: Tensor, sigma: Tensor, steps: int, noise: Noise, options: SamplerOptions) -> tuple[Tensor, Tensor]:
    """Karras et al. 2022, algorithm 2, lines 4 to 6: (x with some noise added, the sigma it then has). Nothing is added when s_churn is 0."""
    if options.s_churn <= 0:
        return x, sigma  # in no step of the pass, so nobody sees that nothing was drawn
    drawn = noise()  # also outside the range: what is drawn within it must not depend on where it begins
    if not options.s_tmin <= sigma <= options.s_tmax:
        return x, sigma
    sigma_hat = sigma * (min(options.s_churn / steps, 2**0.5 - 1) + 1)
    return x + drawn * options.s_noise * (sigma_hat**2 - sigma**2) ** 0.5, sigma_hat


def sample_euler(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma. With s_churn 0 this is the plain Euler method on the probability flow ODE, dx = (x - x0) / sigma dsigma."""
    steps = len(sigmas) - 1
    for i in range(steps):
        x, sigma = churn(x, sigmas[i], steps, noise, options)
        x0 = network.x0(x, sigma).value
        step(i, sigmas[i], x, x0)
        x = x + (x - x0) / sigma * (sigmas[i + 1] - sigma)
    return x
