"""Schedules found by optimisation for Stable Diffusion 1.5 and SDXL: tables of sigmas, interpolated to other step counts.

Sabour et al. 2024, "Align Your Steps", https://arxiv.org/abs/2404.14507; GITS: Chen et al. 2024, "On the Trajectory Regularity of ODE-based Diffusion
Sampling", https://arxiv.org/abs/2405.11326. "32" is Forge's finer table; its numbers follow from its schedules of other lengths.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from webui.engine.schedules import SigmaTable

SD15 = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
SDXL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.38, 0.234, 0.113, 0.029)
GITS_SD15 = (14.615, 4.617, 2.507, 1.236, 0.702, 0.402, 0.24, 0.156, 0.104, 0.094, 0.029)
GITS_SDXL = (14.615, 4.734, 2.567, 1.529, 0.987, 0.652, 0.418, 0.268, 0.179, 0.127, 0.029)
FINE_SD15 = (
    14.615, 11.23951, 8.643631, 6.647294, 5.572509, 4.716486, 3.991961, 3.519561, 3.134905, 2.792288, 2.487736,
    2.216639, 1.975083, 1.779317, 1.614753, 1.46541, 1.314849, 1.166425, 1.034755, 0.9157375, 0.8074817, 0.7120236,
    0.621739, 0.530652, 0.4529096, 0.3749146, 0.2746182, 0.2011529, 0.1410587, 0.06682881, 0.03166121, 0.015,
)
FINE_SDXL = (
    14.615, 11.14916, 8.505221, 6.488271, 5.437074, 4.603986, 3.898547, 3.274075, 2.743965, 2.299687, 1.954485,
    1.671087, 1.428782, 1.23181, 1.067896, 0.9257944, 0.8029088, 0.6966012, 0.604369, 0.5285255, 0.4677334, 0.4139338,
    0.3625819, 0.3100852, 0.2651893, 0.2232646, 0.1765388, 0.1395919, 0.1058738, 0.05519369, 0.02877334, 0.015,
)


def align_your_steps(n: int, sigma_min: float, sigma_max: float, model: SigmaTable) -> Tensor:
    """Align Your Steps with the paper's tables of 11 values. The model's own range is not looked at."""
    del sigma_min, sigma_max
    return _interpolated(SDXL if model.sdxl else SD15, n)


def align_your_steps_gits(n: int, sigma_min: float, sigma_max: float, model: SigmaTable) -> Tensor:
    """GITS: the same with tables found from the curvature of trajectories."""
    del sigma_min, sigma_max
    return _interpolated(GITS_SDXL if model.sdxl else GITS_SD15, n)


def align_your_steps_32(n: int, sigma_min: float, sigma_max: float, model: SigmaTable) -> Tensor:
    """Align Your Steps from a table of 32 values."""
    del sigma_min, sigma_max
    return _interpolated(FINE_SDXL if model.sdxl else FINE_SD15, n)


def _interpolated(table: tuple[float, ...], n: int) -> Tensor:
    """n values of the table, linear in log sigma over its index, and 0."""
    places = np.linspace(0, 1, n)[::-1]
    values = np.exp(np.interp(places, np.linspace(0, 1, len(table)), np.log(table[::-1]))) if n != len(table) else np.array(table)
    return torch.tensor([*values, 0.0], dtype=torch.float32)
