"""DEIS: Zhang & Chen 2022, "Fast Sampling of Diffusion Models with Exponential Integrator", https://arxiv.org/abs/2204.13902, tAB-DEIS of order 3.

Past slopes are extrapolated by a polynomial in the time t of a variance-preserving process, not in sigma. The process is EDM's for sigmas from 0.002
to 80 (Karras et al. 2022, table 1), as in Forge.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions

ORDER = 3
EPSILON_S = 1e-3
LOW, HIGH = math.log(0.002**2 + 1), math.log(80.0**2 + 1)
BETA_D = 2 * (LOW / EPSILON_S - HIGH) / (EPSILON_S - 1)
BETA_MIN = HIGH - 0.5 * BETA_D


def time_of(sigma: np.ndarray | float) -> np.ndarray:
    """t at which the process has this sigma: sigma^2 + 1 = exp(beta_d t^2 / 2 + beta_min t)."""
    return (np.sqrt(BETA_MIN**2 + 2 * BETA_D * np.log(np.square(sigma) + 1)) - BETA_MIN) / BETA_D


@cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(32)


def weights(sigmas: list[float], target: float) -> list[float]:
    """Weights of the slopes at `sigmas` (latest first) for the step to target: their Lagrange polynomials in t, integrated over sigma."""
    nodes, shares = _nodes()
    half = (target - sigmas[0]) / 2
    inside = time_of(sigmas[0] + half * (nodes + 1))
    times = [float(time_of(sigma)) for sigma in sigmas]
    result = []
    for j, own in enumerate(times):
        basis = np.ones_like(inside)
        for k, other in enumerate(times):
            if k != j:
                basis = basis * (inside - other) / (own - other)
        result.append(float(half * np.sum(shares * basis)))
    return result


def sample_deis(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma. The first step and the step to 0 are of first order."""
    del noise, options  # deterministic
    values = sigmas.tolist()
    slopes: list[Tensor] = []
    for i in range(len(sigmas) - 1):
        x0 = network.x0(x, sigmas[i]).value
        step(i, sigmas[i], x, x0)
        slopes = [(x - x0) / sigmas[i], *slopes[: ORDER - 1]]
        used = slopes if values[i + 1] > 0 else slopes[:1]
        for weight, slope in zip(weights(values[i::-1][: len(used)], values[i + 1]), used, strict=True):
            x = x + weight * slope
    return x
