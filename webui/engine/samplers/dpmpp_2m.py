"""DPM++ 2M: Lu et al. 2022, "DPM-Solver++", https://arxiv.org/abs/2211.01095, algorithm 2 (multistep, second order), in terms of sigma."""

from __future__ import annotations

import math

from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions


def sample_dpmpp_2m(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma. lambda = -ln sigma is the half log signal-to-noise ratio; the first and the last step are of first order."""
    del noise, options  # deterministic
    previous: Tensor | None = None
    values = sigmas.tolist()
    for i in range(len(sigmas) - 1):
        x0 = network.x0(x, sigmas[i]).value
        step(i, sigmas[i], x, x0)
        target, shrink = x0, values[i + 1] / values[i]
        if previous is not None and shrink > 0:
            r = math.log(values[i - 1] / values[i]) / -math.log(shrink)
            target = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * previous
        x = shrink * x + (1 - shrink) * target  # 1 - e^-h, and e^-h is the ratio of the sigmas
        previous = x0
    return x
