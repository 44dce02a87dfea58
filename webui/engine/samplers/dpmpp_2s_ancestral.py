"""DPM++ 2S a: Lu et al. 2022, "DPM-Solver++", https://arxiv.org/abs/2211.01095, algorithm 1 (singlestep, r = 1/2), with ancestral noise (after
k-diffusion)."""

from __future__ import annotations

import torch
from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions
from webui.engine.samplers.euler_ancestral import ancestral_step


def sample_dpmpp_2s_ancestral(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma. Time is -ln sigma; the step to 0 is Euler's."""
    values = sigmas.tolist()
    for i in range(len(sigmas) - 1):
        x0 = network.x0(x, sigmas[i]).value
        step(i, sigmas[i], x, x0)
        down, up = ancestral_step(values[i], values[i + 1], options.eta)
        if down == 0:
            x = x0
        else:
            middle = (values[i] * down) ** 0.5
            halfway = x0 + (x - x0) * (middle / values[i])
            x0 = network.x0(halfway, torch.tensor(middle), ahead=True).value
            x = x0 + (x - x0) * (down / values[i])
        if values[i + 1] > 0:
            x = x + noise() * (options.s_noise * up)
    return x
