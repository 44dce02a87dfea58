"""Step 3 of a pass: the loop. Runs a sampler over the guided network, reports every step, and ends early when the person says so. Decodes nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from webui.engine.cancel import CancelToken
from webui.engine.network import GuidedNetwork
from webui.engine.plan import Pass
from webui.engine.samplers.contract import Noise, SamplerOptions
from webui.engine.schedules import SigmaTable, uniform
from webui.schema.errors import WebuiError

OnStep = Callable[[int, Tensor], None]
"""finished steps, x0 (batch, channels, height, width)"""


@dataclass(frozen=True)
class Denoised:
    """Where sampling ended. `partial`: it was stopped, and the latents are what the model last thought the picture is."""

    latents: Tensor
    partial: bool


class _Stopped(Exception):
    """Unwinds a sampler from its step callback."""


def make_sigmas(part: Pass, table: SigmaTable) -> Tensor:
    """The schedule of a pass, float32 on the CPU, `steps + 1` values. Samplers that want it ask for one more and drop the last but one."""
    steps = part.steps + part.sampler.discard_next_to_last_sigma
    schedule = load_function(part.schedule.function) if part.schedule and part.schedule.function else uniform
    sigmas = schedule(steps, table.sigma_min, table.sigma_max, table)
    return torch.cat([sigmas[:-2], sigmas[-1:]]) if part.sampler.discard_next_to_last_sigma else sigmas


def denoise(
    part: Pass, network: GuidedNetwork, latents: Tensor, sigmas: Tensor, noise: Noise, *, cancel: CancelToken, on_step: OnStep,
    options: SamplerOptions | None = None,
) -> Denoised | None:
    """Sample. None when it was stopped before the first step was finished, so that there is nothing to keep. Raises what the model raises."""
    sampler = load_function(part.sampler.function)
    last: Tensor | None = None

    def step(number: int, sigma: Tensor, x: Tensor, x0: Tensor) -> None:
        nonlocal last
        last = x0
        on_step(number + 1, x0)
        if cancel.stop:
            raise _Stopped

    if cancel.stop:
        return None
    try:
        return Denoised(sampler(network, latents, sigmas, noise, options or SamplerOptions(), step), partial=False)
    except _Stopped:
        return None if last is None else Denoised(last, partial=True)


def load_function(path: str) -> Callable[..., Tensor]:
    """The function behind `module:name` of a sampler's or schedule's spec. Raises `WebuiError` when a plugin named one that is not there."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise WebuiError(f"The function {path} of a sampler or schedule cannot be found: {error}") from error
