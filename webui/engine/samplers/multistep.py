"""Coefficients of linear multistep methods (Adams–Bashforth with steps of any length): the past slopes' polynomial, integrated over the next step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def adams_bashforth(times: Sequence[float], target: float) -> list[float]:
    """Weights of the slopes at `times` (latest first) that carry the solution from times[0] to target. Exact: a polynomial is integrated.

    In float64, with times measured from times[0] so that close ones do not cancel.
    """
    shifted = [time - times[0] for time in times]
    end = target - times[0]
    weights = []
    for j, own in enumerate(shifted):
        others = [time for k, time in enumerate(shifted) if k != j]
        basis = np.poly(others) if others else np.ones(1)
        scale = np.prod([own - other for other in others])
        weights.append(float(np.polyval(np.polyint(basis), end) / scale))
    return weights
