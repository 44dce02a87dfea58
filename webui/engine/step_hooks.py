"""Plugins inside the loop: what they are shown at its five points, and how their answers come back in. Made only when a plugin asks for one of the
points, so a run without such plugins pays three comparisons with None a call. Knows no sampler and no model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from webui.engine.conditioning import Conditioning
from webui.engine.plan import Pass
from webui.engine.samplers.contract import Guided, Network
from webui.plugins.host import Hearing
from webui.schema.request import PictureRequest

POINTS = ("before_step", "model_input", "after_output", "after_guidance", "after_step")


@dataclass(frozen=True)
class StepState:
    """Where the loop is."""

    request: PictureRequest
    number: int
    """Which pass of the plan this is, from 0."""

    sampler: str
    face: str
    """`sigma`: latents are picture + sigma x noise, outputs are pictures; `timestep`: sqrt(a) picture + sqrt(1 - a) noise, outputs are noise."""

    cfg: float
    steps: int
    """Steps asked for. A sampler's own count may differ: DDIM makes one less, DPM adaptive counts every try."""

    step: int
    """From 0; -1 before the first."""

    level: Tensor
    """Sigma or timestep, 0-dimensional: of the step at `before_step` and `after_step`, else of the model call."""

    call: int = 0
    """Model calls of this pass before this one. Samplers of second order make two a step."""


@dataclass(frozen=True)
class ModelInput:
    """What the model is asked: latents (pictures, channels, h, w) float32 at the noise `level`, and the encoded prompts."""

    x: Tensor
    level: Tensor
    cond: Tensor
    """(rows, tokens, width): a row a picture, more with AND."""

    uncond: Tensor | None
    """(pictures, tokens, width); None when the CFG scale is 1. Set it to None to leave the negative prompt out of this call."""


@dataclass(frozen=True)
class ModelOutput:
    """What the model says for each prompt, before guidance, float32: pictures or noise, see `StepState.face`."""

    cond: Tensor
    """(rows, channels, h, w)"""

    uncond: Tensor | None
    """(pictures, channels, h, w)"""


class PassHooks:
    """The points of one pass. The samplers call nothing of this: `StepNetwork` and the guided network do."""

    def __init__(self, hearing: Hearing, request: PictureRequest, part: Pass, number: int = 0) -> None:
        self._hearing = hearing
        self._state = StepState(request, number, part.sampler.name, part.sampler.face, part.cfg, part.done, -1, torch.zeros(()))

    def begin_step(self, x: Tensor, level: Tensor) -> None:
        """A step's first call is coming, and so the step before it is over. What plugins return is written into x, which the sampler goes on with."""
        latents = self.after_step(x)
        self._state = replace(self._state, step=self._state.step + 1, level=level)
        latents = self._revise("before_step", latents)
        if latents is not x:
            x.copy_(latents)

    def after_step(self, latents: Tensor) -> Tensor:
        """The latents that a step, also the last one, ended with. Before the first step nobody is asked."""
        return latents if self._state.step < 0 else self._revise("after_step", latents)

    def model_input(self, x: Tensor, level: Tensor, moment: Conditioning, call: int) -> tuple[Tensor, Tensor, Conditioning]:
        """x, level and conditioning of a call; the same `moment` when nobody changed the prompts."""
        self._state = replace(self._state, call=call)
        given = ModelInput(x, level, moment.cond, moment.uncond)
        state = replace(self._state, level=level)
        found = self._hearing.revise("model_input", "inputs", given, _check_input, state=state)
        if found.cond is not moment.cond or found.uncond is not moment.uncond:
            moment = replace(moment, cond=found.cond, uncond=found.uncond)
        return found.x, found.level, moment

    def after_output(self, cond: Tensor, uncond: Tensor | None, level: Tensor) -> tuple[Tensor, Tensor | None]:
        """The model's answers of a call."""
        found = self._hearing.revise(
            "after_output", "output", ModelOutput(cond, uncond), _check_output, state=replace(self._state, level=level),
        )
        return found.cond, found.uncond

    def after_guidance(self, guided: Tensor, cond: Tensor, uncond: Tensor | None, level: Tensor) -> Tensor:
        """The guided answer of a call (pictures, channels, h, w)."""
        output, state = ModelOutput(cond, uncond), replace(self._state, level=level)
        return self._hearing.revise("after_guidance", "guided", guided, _check_tensor, output=output, state=state)

    def _revise(self, hook: str, latents: Tensor) -> Tensor:
        return self._hearing.revise(hook, "latents", latents, _check_tensor, state=self._state)


class StepNetwork:
    """Implements `samplers.contract.Network` around another: tells `PassHooks` where a step begins."""

    def __init__(self, network: Network, hooks: PassHooks) -> None:
        self._network, self._hooks = network, hooks

    def x0(self, x: Tensor, sigma: Tensor, *, ahead: bool = False) -> Guided:
        """See `Network.x0`."""
        return self._ask(self._network.x0, x, sigma, ahead)

    def eps(self, x: Tensor, t: Tensor, *, ahead: bool = False) -> Guided:
        """See `Network.eps`."""
        return self._ask(self._network.eps, x, t, ahead)

    def _ask(self, face: Callable[..., Guided], x: Tensor, level: Tensor, ahead: bool) -> Guided:
        if not ahead:
            self._hooks.begin_step(x, level)
        return face(x, level, ahead=ahead)


def _check_tensor(old: Tensor, new: object, name: str = "the answer") -> None:
    if not isinstance(new, Tensor):
        raise TypeError(f"{name} is {type(new).__name__}, not a tensor")
    if new.shape != old.shape or new.dtype != old.dtype or new.device != old.device:
        raise ValueError(f"{name} is {tuple(new.shape)} {new.dtype} on {new.device}, not {tuple(old.shape)} {old.dtype} on {old.device}")


def _check_input(old: ModelInput, new: object) -> None:
    if not isinstance(new, ModelInput):
        raise TypeError(f"the answer is {type(new).__name__}, not ModelInput")
    _check_tensor(old.x, new.x, "x")
    _check_tensor(old.level, new.level, "level")
    _check_prompt(old.cond, new.cond, "cond")
    if new.uncond is not None:
        if old.uncond is None:
            raise ValueError("uncond was None: this pass runs without a negative prompt")
        _check_prompt(old.uncond, new.uncond, "uncond")


def _check_prompt(old: Tensor, new: object, name: str) -> None:
    """Another number of tokens is fine."""
    if isinstance(new, Tensor) and new.ndim == 3:
        old = old[:, :1].expand(-1, new.shape[1], -1)
    _check_tensor(old, new, name)


def _check_output(old: ModelOutput, new: object) -> None:
    if not isinstance(new, ModelOutput):
        raise TypeError(f"the answer is {type(new).__name__}, not ModelOutput")
    _check_tensor(old.cond, new.cond, "cond")
    if (old.uncond is None) != (new.uncond is None):
        raise ValueError("uncond came or went; the negative prompt is left out at model_input")
    if old.uncond is not None:
        _check_tensor(old.uncond, new.uncond, "uncond")
