"""DPM++ 2M: Lu et al. 2022, "DPM-Solver++", https://arxiv.org/abs/2211.01095, algorithm 2 (multistep, second order), in terms of sigma."""

from __future__ import annotations

from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions


def sample_dpmpp_2m(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma. lambda = -ln sigma is the half log signal-to-noise ratio; the first and the last step are of first order."""
    del noise, options  # deterministic
    previous: Tensor | None = None
    for i in range(len(sigmas) - 1):
        x0 = network.x0(x, sigmas[i]).value
        step(i, sigmas[i], x, x0)
        h = sigmas[i].log() - sigmas[i + 1].log()
        target = x0
        if previous is not None and sigmas[i + 1] > 0:
            r = (sigmas[i - 1].log() - sigmas[i].log()) / h
            target = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * previous
        x = sigmas[i + 1] / sigmas[i] * x - (-h).expm1() * target
        previous = x0
    return x
