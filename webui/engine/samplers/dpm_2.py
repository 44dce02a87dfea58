"""DPM2 and DPM2 a: Lu et al. 2022, "DPM-Solver", https://arxiv.org/abs/2206.00927, DPM-Solver-2 as a midpoint rule in sigma (after k-diffusion)."""

from __future__ import annotations

import torch
from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions
from webui.engine.samplers.euler import churn
from webui.engine.samplers.euler_ancestral import ancestral_step


def midpoint_step(network: Network, x: Tensor, x0: Tensor, sigma: float, target: float) -> Tensor:
    """From sigma to target along the slope at their geometric mean; to 0 along the slope at sigma. x0 is the network's answer at x."""
    if target == 0:
        return x0
    middle = (sigma * target) ** 0.5
    halfway = x + (x - x0) * (middle / sigma - 1)
    return x + (halfway - network.x0(halfway, torch.tensor(middle), ahead=True).value) * ((target - sigma) / middle)


def sample_dpm_2(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma."""
    steps, values = len(sigmas) - 1, sigmas.tolist()
    for i in range(steps):
        x, sigma = churn(x, sigmas[i], steps, noise, options)
        x0 = network.x0(x, sigma).value
        step(i, sigmas[i], x, x0)
        x = midpoint_step(network, x, x0, float(sigma), values[i + 1])
    return x


def sample_dpm_2_ancestral(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma: each step goes lower than asked, then fresh noise brings it up."""
    values = sigmas.tolist()
    for i in range(len(sigmas) - 1):
        x0 = network.x0(x, sigmas[i]).value
        step(i, sigmas[i], x, x0)
        down, up = ancestral_step(values[i], values[i + 1], options.eta)
        x = midpoint_step(network, x, x0, values[i], down)
        if down > 0:
            x = x + noise() * (options.s_noise * up)
    return x
