"""Restart: Xu et al. 2023, "Restart Sampling for Improving Generative Processes", https://arxiv.org/abs/2306.14878: Heun's method that goes back
up, from sigma 0.1 to sigma 2 with fresh noise, and down again. Which steps are given to restarts is A1111's choice."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from webui.engine.samplers.contract import Network, Noise, OnStep, SamplerOptions
from webui.engine.schedules import karras

RESTART_AT, RESTART_FROM = 0.1, 2.0


def restart_path(sigmas: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(sigma, next sigma) of every step. Below 20 steps nothing is restarted; with restarts the schedule is Karras', made anew for the steps left."""
    steps = len(sigmas) - 1
    if steps < 20:
        return list(pairwise(sigmas))
    count, times = (steps // 4, 2) if steps >= 36 else (9, 1)
    sigmas = karras(steps - count * times, sigmas[-2].item(), sigmas[0].item())
    low, high = int((sigmas - RESTART_AT).abs().argmin()), int((sigmas - RESTART_FROM).abs().argmin())
    path = list(pairwise(sigmas))
    if high < low:
        again = karras(count + 1, sigmas[low].item(), sigmas[high].item())[:-1]
        path[low:low] = list(pairwise(again)) * times
    return path


def sample_restart(network: Network, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma. Where the path goes up, the missing noise is drawn."""
    del options
    last: Tensor = torch.tensor(torch.inf)
    for number, (sigma, target) in enumerate(restart_path(sigmas)):
        if last < sigma:
            x = x + noise() * (sigma**2 - last**2) ** 0.5
        x0 = network.x0(x, sigma).value
        step(number, sigma, x, x0)
        slope, dt = (x - x0) / sigma, target - sigma
        if target > 0:
            ahead = x + slope * dt
            slope = (slope + (ahead - network.x0(ahead, target, ahead=True).value) / target) / 2
        x = x + slope * dt
        last = target
    return x
