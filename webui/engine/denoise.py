"""Step 3 of a pass: the loop. Runs a sampler over the guided network, reports every step, and ends early when the person says so. Decodes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from webui.engine.cancel import CancelToken
from webui.engine.course import load_function
from webui.engine.plan import Pass
from webui.engine.samplers.contract import Network, Noise, NoiseBetween, SamplerOptions
from webui.engine.step_hooks import PassHooks, StepNetwork

OnStep = Callable[[int, Tensor], None]
"""finished steps, x0 (batch, channels, height, width)"""


@dataclass(frozen=True)
class Denoised:
    """Where sampling ended. `partial`: it was stopped, and the latents are what the model last thought the picture is."""

    latents: Tensor
    partial: bool


class _Stopped(Exception):
    """Unwinds a sampler from its step callback."""


def denoise(
    part: Pass, network: Network, latents: Tensor, levels: Tensor, noise: Noise | NoiseBetween, *, cancel: CancelToken, on_step: OnStep,
    options: SamplerOptions | None = None, hooks: PassHooks | None = None,
) -> Denoised | None:
    """Sample. None when it was stopped before the first step was finished, so that there is nothing to keep. Raises what the model raises.

    A sampler's own count may differ from the steps asked for (DDIM, DPM adaptive, the end of an img2img schedule): never more are told.
    """
    sampler = load_function(part.sampler.function)
    last: Tensor | None = None

    def step(number: int, level: Tensor, x: Tensor, x0: Tensor) -> None:
        nonlocal last
        last = x0
        on_step(min(number + 1, part.done), x0)
        if cancel.stop:
            raise _Stopped

    if cancel.stop:
        return None
    try:
        asked = network if hooks is None else StepNetwork(network, hooks)  # outside a mask: what plugins change is the sampler's own x
        result = sampler(asked, latents, levels, noise, options or SamplerOptions(), step)
        return Denoised(result if hooks is None else hooks.after_step(result), partial=False)
    except _Stopped:
        return None if last is None else Denoised(last, partial=True)
