"""DPM fast and DPM adaptive: Lu et al. 2022, "DPM-Solver", https://arxiv.org/abs/2206.00927, singlestep solvers of orders 1 to 3 (algorithms 1 and
2, appendix C), with ancestral noise (after k-diffusion). Time is t = -ln sigma."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions
from webui.engine.samplers.euler_ancestral import ancestral_step

RTOL, ATOL, FIRST_STEP, ACCEPT = 0.05, 0.0078, 0.05, 0.81


def sample_dpm_fast(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the smallest sigma of the range, with as many network calls as there are steps: as many steps of order 3 as fit, then of what is left."""
    calls = len(sigmas) - 1
    end = -math.log(sigmas[-2])
    groups = calls // 3 + 1
    times = torch.linspace(-math.log(sigmas[0]), end, groups + 1).tolist()
    orders = [3] * (groups - 2) + [2, 1] if calls % 3 == 0 else [3] * (groups - 1) + [calls % 3]
    for i, order in enumerate(orders):
        down, up = _down_and_up(times[i], times[i + 1], end, options.eta)
        solver = _Singlestep(network, x, times[i], down)
        step(i, solver.sigma, x, solver.x0)
        x = _plus(solver.solve(order), up * options.s_noise, noise())
    return x


def sample_dpm_adaptive(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the smallest sigma of the range. Orders 2 and 3 are compared after every step: too far apart, and a shorter one is tried instead."""
    time, end = -math.log(sigmas[0]), -math.log(sigmas[-2])
    h, size, number = FIRST_STEP, x.abs(), 0
    exponent = 1 / (1.5 if options.eta else 3)
    while time < end - 1e-5:
        target = min(end, time + h)
        down, up = _down_and_up(time, target, end, options.eta)
        solver = _Singlestep(network, x, time, down)
        low, high = solver.solve(2, r=1 / 3), solver.solve(3)
        size_low = low.abs()
        allowed = torch.maximum(size_low, size).mul_(RTOL).clamp_min_(ATOL)
        error = float(torch.linalg.vector_norm((low - high).div_(allowed))) / x.numel() ** 0.5
        factor = 1 + math.atan((1 / (error + 1e-8)) ** exponent - 1)
        if factor >= ACCEPT:
            size = size_low
            x = _plus(high, up * options.s_noise, noise())
            time = target
        h *= factor
        step(number, solver.sigma, x, solver.x0)
        number += 1
    return x


def _down_and_up(time: float, target: float, end: float, eta: float) -> tuple[float, float]:
    """(time to go down to, spread of the noise to add then), never beyond the end."""
    if not eta:
        return target, 0.0
    sigma = math.exp(-target)
    lower = ancestral_step(math.exp(-time), sigma, eta)[0]
    down = min(end, -math.log(lower)) if lower > 0 else end
    return down, max(sigma**2 - math.exp(-down) ** 2, 0.0) ** 0.5


def _plus(x: Tensor, scale: float, other: Tensor) -> Tensor:
    """x + scale · other, rounded twice as that reads, with one new tensor: at the size of latents making one costs more than the sum."""
    return (other * scale).add_(x)


class _Singlestep:
    """One step from x at `time` to `target` in several orders, sharing network calls. `eps` is the slope, x0 the picture at x."""

    def __init__(self, network: Network, x: Tensor, time: float, target: float) -> None:
        self._network = network
        self._x, self._time, self._target = x, time, target
        self._known: dict[float, Tensor] = {}
        self.sigma = torch.tensor(math.exp(-time))
        self.x0 = network.x0(x, self.sigma).value
        self._eps = (x - self.x0).div_(math.exp(-time))
        self._first: Tensor | None = None

    def solve(self, order: int, r: float | None = None) -> Tensor:
        """x at the target. `r` is where the inner point lies (1/2 for order 2, 1/3 and 2/3 for order 3)."""
        h = self._target - self._time
        sigma = math.exp(-self._target)
        if self._first is None:
            self._first = _plus(self._x, -sigma * math.expm1(h), self._eps)
        first = self._first
        if order == 1:
            return first
        if order == 2:
            r = r or 0.5
            return _plus(first, -sigma / (2 * r) * math.expm1(h), self._bend_at(r))
        r1, r2 = 1 / 3, 2 / 3
        inner = math.expm1(r2 * h) / (r2 * h) - 1
        there = self._bend_at(r2, (r2 / r1 * inner) * self._bend_at(r1))
        return _plus(first, -sigma / r2 * (math.expm1(h) / h - 1), there)

    def _bend_at(self, r: float, correction: Tensor | None = None) -> Tensor:
        """By how much the slope at the inner point that lies r of the way is another than at x. Asked once."""
        if r not in self._known:
            h = self._target - self._time
            sigma = math.exp(-(self._time + r * h))
            x = _plus(self._x, -sigma * math.expm1(r * h), self._eps)
            if correction is not None:
                x = x.sub_(correction.mul_(sigma))
            there = x - self._network.x0(x, torch.tensor(sigma), ahead=True).value
            self._known[r] = there.div_(sigma).sub_(self._eps)
        return self._known[r]
