"""LCM: Luo et al. 2023, "Latent Consistency Models", https://arxiv.org/abs/2310.04378, algorithm 3: jump to the picture, add noise, jump again."""

from __future__ import annotations

from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions


def sample_lcm(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma. The network's boundary scalings are in its face (`engine.faces.ConsistencyNetwork`)."""
    del options
    for i in range(len(sigmas) - 1):
        x0 = network.x0(x, sigmas[i]).value
        step(i, sigmas[i], x, x0)
        x = x0 + sigmas[i + 1] * noise() if sigmas[i + 1] > 0 else x0
    return x
