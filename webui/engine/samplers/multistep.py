"""Coefficients of linear multistep methods (Adams–Bashforth with steps of any length): the past slopes' polynomial, integrated over the next step."""

from __future__ import annotations

from collections.abc import Sequence

NODES = (-(3**-0.5), 3**-0.5)
"""Gauss–Legendre with two nodes integrates polynomials up to the third degree exactly: order 4."""


def adams_bashforth(times: Sequence[float], target: float) -> list[float]:
    """Weights of the slopes at `times` (latest first, at most four) that carry the solution from times[0] to target."""
    half = (target - times[0]) / 2
    weights = []
    for j, own in enumerate(times):
        total = 0.0
        for node in NODES:
            place = times[0] + half * (node + 1)
            basis = 1.0
            for k, other in enumerate(times):
                if k != j:
                    basis *= (place - other) / (own - other)
            total += basis
        weights.append(half * total)
    return weights
