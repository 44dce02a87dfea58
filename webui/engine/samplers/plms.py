"""PLMS: Liu et al. 2022, "Pseudo Numerical Methods for Diffusion Models on Manifolds", https://arxiv.org/abs/2202.09778, section 3.3."""

from __future__ import annotations

from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions
from webui.engine.samplers.ddim import levels
from webui.engine.samplers.ipndm import FIXED_STEP


def sample_plms(network: Network, x: Tensor, timesteps: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the lowest timestep. DDIM steps along a combination of the last predictions; the first step asks twice (improved Euler)."""
    del noise  # deterministic
    here, below = levels(timesteps, options)
    past: list[Tensor] = []

    def ddim_step(eps: Tensor, i: int) -> tuple[Tensor, Tensor]:
        x0 = (x - float((1 - here[i]).sqrt()) * eps) / float(here[i].sqrt())
        return float(below[i].sqrt()) * x0 + float((1 - below[i]).sqrt()) * eps, x0

    for number, i in enumerate(range(len(timesteps) - 1, 0, -1)):
        eps = network.eps(x, timesteps[i]).value
        past = [eps, *past[:3]]
        if len(past) == 1:
            ahead, x0 = ddim_step(eps, i)
            step(number, timesteps[i], x, x0)
            x, _ = ddim_step((eps + network.eps(ahead, timesteps[i - 1], ahead=True).value) / 2, i)
            continue
        combined = past[0] * FIXED_STEP[len(past) - 1][0]
        for weight, item in zip(FIXED_STEP[len(past) - 1][1:], past[1:], strict=True):
            combined = combined + weight * item
        ahead, x0 = ddim_step(combined, i)
        step(number, timesteps[i], x, x0)
        x = ahead
    return x
