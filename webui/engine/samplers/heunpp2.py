"""Heun++ 2 (Forge's HeunPP2): Heun's method with the slopes weighted by their sigmas, looking up to two steps ahead (Carzit,
sd-webui-samplers-scheduler)."""

from __future__ import annotations

from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions
from webui.engine.samplers.euler import churn


def sample_heunpp2(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma. A slope further ahead weighs sigma / (slopes * sigmas[0]), the slope here the rest; three slopes where there are three."""
    steps, values = len(sigmas) - 1, sigmas.tolist()
    for i in range(steps):
        x, sigma = churn(x, sigmas[i], steps, noise, options)
        x0 = network.x0(x, sigma).value
        step(i, sigmas[i], x, x0)
        slope, dt = (x - x0) / sigma, sigmas[i + 1] - sigma
        slopes, ahead, last = [slope], x, sigma
        for target in sigmas[i + 1 : min(i + 3, steps)]:  # the last sigma, 0, has no slope
            ahead = ahead + slopes[-1] * (target - last)
            slopes.append((ahead - network.x0(ahead, target, ahead=True).value) / target)
            last = target
        weights = [values[i + k] / (len(slopes) * values[0]) for k in range(1, len(slopes))]
        weights = [1 - sum(weights), *weights]
        for weight, item in zip(weights, slopes, strict=True):
            x = x + item * (weight * dt)
    return x
