"""What will be done for a request, with everything resolved: seeds, model, sampler, schedule, passes, batches. Pure; needs no torch.

The engine only carries a plan out, and the infotext is written from it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from webui.engine.prompt.styles import apply_styles
from webui.plugins.registry import Registries
from webui.schema.generation import Txt2Img
from webui.schema.model import Checkpoint
from webui.schema.sampling import SamplerSpec, ScheduleSpec

RANDOM_SEEDS = 4_294_967_294
"""A random seed is below this, as in A1111."""


@dataclass(frozen=True)
class Pass:
    """One run of the sampler over a batch. `schedule` is None for the model's own sigmas."""

    steps: int
    cfg: float
    width: int
    height: int
    sampler: SamplerSpec
    schedule: ScheduleSpec | None


@dataclass(frozen=True)
class Batch:
    """Pictures made together; `first` is the number of the first one within the run. The tuples have one entry per picture."""

    first: int
    prompts: tuple[str, ...]
    negative_prompts: tuple[str, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """A request with everything resolved. `request.seed` is the seed used, never -1."""

    request: Txt2Img
    checkpoint: Checkpoint
    sampler: SamplerSpec
    schedule: ScheduleSpec | None
    seeds: tuple[int, ...]
    passes: tuple[Pass, ...]
    batches: tuple[Batch, ...]
    extras: tuple[tuple[str, object], ...] = ()
    """Infotext fields that noise and sampling add, with their values; a tuple has one value per picture of the run."""

    @property
    def schedule_label(self) -> str | None:
        """`Schedule type` of the infotext: the label of the schedule used, or None for Automatic with a sampler that has no schedule of its own."""
        return self.schedule.label if self.schedule else None


def draw_seed() -> int:
    """A random seed in [0, 4294967294)."""
    return random.randrange(RANDOM_SEEDS)


def make_plan(request: Txt2Img, checkpoint: Checkpoint, registries: Registries, random_seed: Callable[[], int] = draw_seed) -> Plan:
    """Resolve a request. Raises `RequestError` at `sampler` or `scheduler` for a name that does not exist."""
    sampler = registries.samplers.get(request.sampler, field="sampler")
    schedule = _schedule(request, sampler, registries)
    if request.seed == -1:
        request = request.revise(seed=random_seed())
    count, size = request.batch_count, request.batch_size
    seeds = tuple(request.seed + number for number in range(count * size))
    prompts, negatives = ((text,) * size for text in apply_styles(request.prompt, request.negative_prompt, request.style_texts))
    batches = tuple(Batch(first, prompts, negatives, seeds[first : first + size]) for first in range(0, count * size, size))
    only = Pass(request.steps, request.cfg_scale, request.width, request.height, sampler, schedule)
    return Plan(request, checkpoint, sampler, schedule, seeds, (only,), batches)


def _schedule(request: Txt2Img, sampler: SamplerSpec, registries: Registries) -> ScheduleSpec | None:
    """Automatic (no function of its own) stands for the schedule that the sampler names, which may be none."""
    chosen = registries.schedulers.get(request.scheduler, field="scheduler")
    if chosen.function is not None:
        return chosen
    return next((entry for entry in registries.schedulers.values() if entry.name == sampler.scheduler), None)
