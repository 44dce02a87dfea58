"""DPM++ 3M SDE: the stochastic multistep solver of "DPM-Solver++" (Lu et al. 2022, https://arxiv.org/abs/2211.01095) taken to third order by
k-diffusion."""

from __future__ import annotations

import math

from torch import Tensor

from webui.engine.samplers.contract import Network, NoiseBetween, OnStep, SamplerOptions


def sample_dpmpp_3m_sde(network: Network, x: Tensor, sigmas: Tensor, noise: NoiseBetween, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma. `past` holds the last two answers with the step that followed each, latest first."""
    values = sigmas.tolist()
    past: list[tuple[Tensor, float]] = []
    for i in range(len(sigmas) - 1):
        x0 = network.x0(x, sigmas[i]).value
        step(i, sigmas[i], x, x0)
        if values[i + 1] == 0:
            return x0
        h = math.log(values[i] / values[i + 1])
        h_eta = h * (options.eta + 1)
        x = math.exp(-h_eta) * x - math.expm1(-h_eta) * x0 + _higher_orders(x0, h, h_eta, past)
        if options.eta:
            spread = (-math.expm1(-2 * h * options.eta)) ** 0.5
            x = x + noise(sigmas[i], sigmas[i + 1]) * (values[i + 1] * spread * options.s_noise)
        past = [(x0, h), *past[:1]]
    return x


def _higher_orders(x0: Tensor, h: float, h_eta: float, past: list[tuple[Tensor, float]]) -> Tensor | float:
    """The second- and third-order terms, from divided differences of the answers."""
    if not past:
        return 0.0
    phi_2 = math.expm1(-h_eta) / h_eta + 1
    before, h_before = past[0]
    r0 = h_before / h
    first = (x0 - before) / r0
    if len(past) == 1:
        return phi_2 * first
    r1 = past[1][1] / h
    change = (first - (before - past[1][0]) / r1) / (r0 + r1)
    phi_3 = phi_2 / h_eta - 0.5
    return phi_2 * (first + change * r0) - phi_3 * change
