"""How prompt and negative prompt are set against each other, and when the negative prompt is left out to save time. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SkipRules:
    """A1111's "skip early CFG" and NGMS ("negative guidance minimum sigma"). Falsy when neither is on."""

    early: float = 0.0
    """Share of the calls, from the first, without the negative prompt."""

    total_calls: int = 1
    below: float = 0.0
    """Below this noise level every other call goes without it; timestep samplers compare the timestep, as in A1111."""

    every_call: bool = False

    def __bool__(self) -> bool:
        return self.early > 0 or self.below > 0

    def __call__(self, call: int, level: float) -> bool:
        """Whether network call number `call` (from 0) of the pass at this noise level goes without the negative prompt."""
        if self.early > 0 and call / self.total_calls <= self.early:
            return True
        return self.below > 0 and (self.every_call or call % 2 == 1) and level < self.below


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance of one pass."""

    cfg: float
    batched: bool = True
    """Run both prompts in one module call where they are equally long (`batch_cond_uncond`)."""

    skip: SkipRules = SkipRules()
    rescale: float = 0.0
    """phi of Lin et al. 2023, 0 … 1: how far the guided prediction is brought back to the spread of the prompt's own."""

    picture: float = 1.0
    """How strongly a model that edits a picture holds on to it: Brooks et al. 2022, https://arxiv.org/abs/2211.09800, equation 3."""
