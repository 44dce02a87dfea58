"""UniPC: Zhao et al. 2023, "UniPC: A Unified Predictor-Corrector Framework", https://arxiv.org/abs/2302.04867, algorithms 1 to 4, predicting the
picture.

Time is continuous here, from 1 (pure noise) to 1 / 1000; lambda(t) = ln(alpha / sigma). The network is asked at timestep 1000 t - 1, which may be
fractional.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions


class Levels:
    """alpha, sigma and lambda of continuous time, from the model's table: ln alpha is linear between its entries. Float32 on the CPU."""

    def __init__(self, alphas_cumprod: Tensor) -> None:
        self.log_alphas = 0.5 * alphas_cumprod.log()
        self.times = torch.linspace(0, 1, len(alphas_cumprod) + 1)[1:]

    def log_alpha(self, t: Tensor) -> Tensor:
        """ln alpha; beyond the table its first or last line goes on."""
        return _interpolate(t, self.times, self.log_alphas)

    def sigma(self, t: Tensor) -> Tensor:
        """sqrt(1 - alpha^2)."""
        return (1 - (2 * self.log_alpha(t)).exp()).sqrt()

    def lam(self, t: Tensor) -> Tensor:
        """ln(alpha / sigma), half the log signal-to-noise ratio."""
        log_alpha = self.log_alpha(t)
        return log_alpha - 0.5 * (1 - (2 * log_alpha).exp()).log()

    def time(self, lam: Tensor) -> Tensor:
        """The inverse of `lam`."""
        log_alpha = -0.5 * torch.logaddexp(torch.zeros(()), -2 * lam)
        return _interpolate(log_alpha, self.log_alphas.flip(0), self.times.flip(0))


def _interpolate(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """Piecewise linear through (xs, ys), xs rising; the outermost pieces go on beyond the ends."""
    right = torch.searchsorted(xs, x.reshape(-1)).clamp(1, len(xs) - 1).reshape(x.shape)
    left = right - 1
    return ys[left] + (x - xs[left]) * (ys[right] - ys[left]) / (xs[right] - xs[left])


def times_between(levels: Levels, start: float, end: float, steps: int, skip_type: str) -> Tensor:
    """The steps + 1 times visited: evenly spaced in t, in sqrt t (time_quadratic) or in lambda (logSNR)."""
    if skip_type == "logSNR":
        low, high = levels.lam(torch.tensor([start, end])).tolist()
        return levels.time(torch.linspace(low, high, steps + 1))
    if skip_type == "time_quadratic":
        return torch.linspace(start**0.5, end**0.5, steps + 1) ** 2
    return torch.linspace(start, end, steps + 1)


@dataclass(frozen=True)
class _Known:
    """A time where the network was asked, by its lambda and sigma, and the picture it saw there."""

    lam: float
    sigma: float
    x0: Tensor


def sample_unipc(network: Network, x: Tensor, timesteps: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at time 1 / 1000, in as many steps as there are timesteps. The order rises 1, 2, … to the one asked for, and falls again at the end."""
    del noise  # deterministic
    if options.alphas_cumprod is None:
        raise ValueError("A timestep sampler needs the model's alphas_cumprod.")
    levels, steps = Levels(options.alphas_cumprod), len(timesteps)
    if not steps:  # a picture of which next to nothing is to be replaced
        return x
    start = int(timesteps[-1]) / 1000 + 1 / 1000 if options.start_from_picture else 1.0
    times = times_between(levels, start, 1 / len(options.alphas_cumprod), steps, options.unipc_skip_type)
    order = min(options.unipc_order, steps)

    lams, sigmas, alphas = (values.tolist() for values in (levels.lam(times), levels.sigma(times), levels.log_alpha(times).exp()))
    asked = (times - 1 / len(levels.times)) * 1000

    def picture(x: Tensor, number: int) -> Tensor:
        return (x - sigmas[number] * network.eps(x, asked[number]).value) / alphas[number]

    past = [_Known(lams[0], sigmas[0], picture(x, 0))]
    for number in range(1, steps + 1):
        step(number - 1, times[number - 1], x, past[0].x0)
        now = min(order, number)
        if number >= order and options.unipc_lower_order_final:
            now = min(order, steps + 1 - number)
        update = _Update(past[:now], lams[number], sigmas[number], alphas[number], options.unipc_variant)
        x_next = update.predict(x)
        if number == steps:
            return x_next  # the last prediction is not corrected: nobody needs the network's answer there
        x0 = picture(x_next, number)
        x = update.correct(x, x0)
        past = [_Known(lams[number], sigmas[number], x0), *past[: order - 1]]
    return x


class _Update:
    """One step to the time with this lambda, sigma and alpha. `past`: what is known, latest first, as many as the order."""

    def __init__(self, past: list[_Known], lam: float, sigma: float, alpha: float, variant: str) -> None:
        latest = past[0]
        h = lam - latest.lam
        self.order, self.variant, self.x0 = len(past), variant, latest.x0
        self.alpha, self.shrink, self.hh = alpha, sigma / latest.sigma, -h
        ratios = [(item.lam - latest.lam) / h for item in past[1:]]
        self.ratios = np.array([*ratios, 1.0])
        self.differences = [item.x0 - latest.x0 for item in past[1:]]
        self.base: Tensor | None = None

    def predict(self, x: Tensor) -> Tensor:
        """x at t from what is known (UniP)."""
        base = self._base(x)
        if not self.differences:
            return base
        if self.variant == "vary_coeff":
            matrix, phis = np.linalg.inv(self._powers()[:-1, :-1]), self._phis()
            return self._mix(base, sum((phis[k + 1] * matrix[k] for k in range(self.order - 1)), start=np.zeros(self.order - 1)))
        weights = np.array([0.5]) if self.order == 2 else np.linalg.solve(*self._system(self.order - 1))
        return self._mix(base, self._b() * weights)

    def correct(self, x: Tensor, x0: Tensor) -> Tensor:
        """The same step again, now that the network's answer at the predicted point is known (UniC)."""
        base, change = self._base(x), x0 - self.x0
        if self.variant == "vary_coeff":
            matrix, phis = np.linalg.inv(self._powers()), self._phis()
            # the reference takes the row of its loop's last turn here, not the last row
            last = phis[self.order] * matrix[max(self.order - 2, 0)][-1]
            weights = sum((phis[k + 1] * matrix[k][:-1] for k in range(self.order - 1)), start=np.zeros(self.order - 1))
        else:
            solved = np.array([0.5]) if self.order == 1 else np.linalg.solve(*self._system(self.order))
            weights, last = self._b() * solved[:-1], self._b() * solved[-1]
        return self._mix(base, weights) - (self.alpha * float(last)) * change

    def _base(self, x: Tensor) -> Tensor:
        """The step of first order."""
        if self.base is None:
            self.base = self.shrink * x - (self.alpha * math.expm1(self.hh)) * self.x0
        return self.base

    def _mix(self, x: Tensor, weights: np.ndarray) -> Tensor:
        """x less alpha times the weighted divided differences."""
        for weight, ratio, item in zip(weights.tolist(), self.ratios[:-1].tolist(), self.differences, strict=True):
            x = x - (self.alpha * weight / ratio) * item
        return x

    def _b(self) -> float:
        """B(h) of the paper: h for bh1, e^h - 1 for bh2."""
        return self.hh if self.variant == "bh1" else math.expm1(self.hh)

    def _system(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The linear system of the weights: powers of the ratios, and the phi functions over B(h)."""
        right, phi, factorial = [], math.expm1(self.hh) / self.hh - 1, 1
        for k in range(1, size + 1):
            right.append(phi * factorial / self._b())
            factorial *= k + 1
            phi = phi / self.hh - 1 / factorial
        return np.stack([self.ratios[:size] ** k for k in range(size)]), np.array(right)

    def _powers(self) -> np.ndarray:
        """C of the varying-coefficient variant: columns ratios^k / (k + 1)!."""
        columns = [np.ones_like(self.ratios)]
        for k in range(1, self.order):
            columns.append(columns[-1] * self.ratios / (k + 1))
        return np.stack(columns, axis=1)

    def _phis(self) -> list[float]:
        """phi functions 1 … order + 1."""
        phis, factorial = [math.expm1(self.hh)], 1
        for k in range(1, self.order + 1):
            phis.append(phis[-1] / self.hh - 1 / factorial)
            factorial *= k + 1
        return phis
