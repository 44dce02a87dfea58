"""DPM++ 2M SDE and 2M SDE Heun: Lu et al. 2022, "DPM-Solver++", https://arxiv.org/abs/2211.01095, the stochastic multistep solver of second order."""

from __future__ import annotations

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
    previous, h_previous = None, None
    for i in range(len(sigmas) - 1):
        x0 = network.x0(x, sigmas[i]).value
        step(i, sigmas[i], x, x0)
        h = sigmas[i].log() - sigmas[i + 1].log()
        if sigmas[i + 1] == 0:
            x = x0
        else:
            drift = -(h + options.eta * h)
            change = -drift.expm1()
            x = sigmas[i + 1] / sigmas[i] * (-options.eta * h).exp() * x + change * x0
            if previous is not None and h_previous is not None:
                second = change / drift + 1 if heun else 0.5 * change
                x = x + second * (h / h_previous) * (x0 - previous)
            if options.eta:
                spread = (-(-2 * options.eta * h).expm1()).sqrt()
                x = x + noise(sigmas[i], sigmas[i + 1]) * sigmas[i + 1] * spread * options.s_noise
        previous, h_previous = x0, h
    return x
