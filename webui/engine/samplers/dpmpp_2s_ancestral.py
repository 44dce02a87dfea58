"""DPM++ 2S a: Lu et al. 2022, "DPM-Solver++", https://arxiv.org/abs/2211.01095, algorithm 1 (singlestep, r = 1/2), with ancestral noise (after
k-diffusion)."""

from __future__ import annotations

from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions
from webui.engine.samplers.euler_ancestral import ancestral_step


def sample_dpmpp_2s_ancestral(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma. Time is -ln sigma; the step to 0 is Euler's."""
    for i in range(len(sigmas) - 1):
        x0 = network.x0(x, sigmas[i]).value
        step(i, sigmas[i], x, x0)
        down, up = ancestral_step(sigmas[i], sigmas[i + 1], options.eta)
        if down == 0:
            x = x + (x - x0) / sigmas[i] * (down - sigmas[i])
        else:
            t, t_next = -sigmas[i].log(), -down.log()
            h = t_next - t
            middle = (-(t + h / 2)).exp()
            halfway = middle / sigmas[i] * x - (-h / 2).expm1() * x0
            x = down / sigmas[i] * x - (-h).expm1() * network.x0(halfway, middle).value
        if sigmas[i + 1] > 0:
            x = x + noise() * options.s_noise * up
    return x
