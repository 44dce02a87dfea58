"""IPNDM and IPNDM_V (of Forge): Zhang & Chen 2022, "Fast Sampling of Diffusion Models with Exponential Integrator",
https://arxiv.org/abs/2204.13902, the improved pseudo-numerical method of appendix B: a multistep method without the warm-up of PLMS."""

from __future__ import annotations

from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions
from webui.engine.samplers.lms import sample_lms

FIXED_STEP = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
"""Adams–Bashforth weights for equal steps, orders 1 to 4, latest slope first."""


def sample_ipndm(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma, with the weights of equal steps although the steps are not equal."""
    del noise, options  # deterministic
    slopes: list[Tensor] = []
    for i in range(len(sigmas) - 1):
        x0 = network.x0(x, sigmas[i]).value
        step(i, sigmas[i], x, x0)
        slopes = [(x - x0) / sigmas[i], *slopes[:3]]
        dt = sigmas[i + 1] - sigmas[i]
        for weight, slope in zip(FIXED_STEP[len(slopes) - 1], slopes, strict=True):
            x = x + weight * dt * slope
    return x


def sample_ipndm_v(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma, with weights for the steps as they are. That is Adams–Bashforth of order 4 in sigma: the method also known as LMS."""
    return sample_lms(network, x, sigmas, noise, options, step)
