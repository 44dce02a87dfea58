"""DPM++ 2M SDE and 2M SDE Heun: Lu et al. 2022, "DPM-Solver++", https://arxiv.org/abs/2211.01095, the stochastic multistep solver of second order."""

from __future__ import annotations

import math

from torch import Tensor

from webui.engine.samplers.contract import Network, NoiseBetween, OnStep, SamplerOptions


def sample_dpmpp_2m_sde(network: Network, x: Tensor, sigmas: Tensor, noise: NoiseBetween, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma, second order by the midpoint rule."""
    return _sample(network, x, sigmas, noise, options, step, heun=False)


def sample_dpmpp_2m_sde_heun(network: Network, x: Tensor, sigmas: Tensor, noise: NoiseBetween, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma, second order by Heun's rule."""
    return _sample(network, x, sigmas, noise, options, step, heun=True)


def _sample(
    network: Network, x: Tensor, sigmas: Tensor, noise: NoiseBetween, options: SamplerOptions, step: OnStep, *, heun: bool,
) -> Tensor:
    values = sigmas.tolist()
    previous: Tensor | None = None
    h_previous = 0.0
    for i in range(len(sigmas) - 1):
        x0 = network.x0(x, sigmas[i]).value
        step(i, sigmas[i], x, x0)
        if values[i + 1] == 0:
            return x0
        h = math.log(values[i] / values[i + 1])
        drift = -(h + options.eta * h)
        change = -math.expm1(drift)
        x = math.exp(drift) * x + change * x0
        if previous is not None:
            second = change / drift + 1 if heun else 0.5 * change
            x = x + (second * h / h_previous) * (x0 - previous)
        if options.eta:
            spread = (-math.expm1(-2 * options.eta * h)) ** 0.5
            x = x + noise(sigmas[i], sigmas[i + 1]) * (values[i + 1] * spread * options.s_noise)
        previous, h_previous = x0, h
    return x
