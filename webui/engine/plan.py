"""What will be done for a request, with everything resolved: seeds, model, sampler, schedule, passes, batches. Pure; needs no torch.

The engine only carries a plan out, and the infotext is written from it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from webui.engine.prompt.styles import apply_styles
from webui.engine.sampling_extras import sampling_extras, seed_extras
from webui.plugins.registry import Registries
from webui.schema.generation import Txt2Img
from webui.schema.model import Checkpoint
from webui.schema.sampling import SamplerSpec, ScheduleSpec
from webui.schema.settings import PictureSettings

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
    strength: float | None = None
    """How much of a picture is replaced, 0 … 1; None = there is none, the pass begins at pure noise."""

    exact_steps: bool = False
    """With a strength: do all `steps`, instead of that share of them."""

    cfg_rescale: float = 0.0
    """See `Guidance.rescale`."""

    @property
    def guidance(self) -> float:
        """The CFG scale the network works with. A sampler that divides it needs the negative prompt always, so for it that is never exactly 1."""
        scaled = self.cfg / self.sampler.cfg_divisor
        return math.nextafter(1.0, 2.0) if scaled == 1.0 and self.cfg != 1.0 else scaled

    @property
    def calls(self) -> int:
        """Model calls: what prompts are scheduled by. Two a step for samplers of second order."""
        return self.steps * (2 if self.sampler.second_order else 1)


@dataclass(frozen=True)
class Batch:
    """Pictures made together; `first` is the number of the first one within the run. The tuples have one entry per picture."""

    first: int
    prompts: tuple[str, ...]
    negative_prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    subseeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A request with everything resolved. `request.seed` is the seed used, never -1; `request.subseed` likewise when it has a strength."""

    request: Txt2Img
    checkpoint: Checkpoint
    sampler: SamplerSpec
    schedule: ScheduleSpec | None
    seeds: tuple[int, ...]
    subseeds: tuple[int, ...]
    """One per picture, or none when there is no variation."""

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


def make_plan(
    request: Txt2Img, checkpoint: Checkpoint, registries: Registries, random_seed: Callable[[], int] = draw_seed,
    settings: PictureSettings | None = None,
) -> Plan:
    """Resolve a request. Raises `RequestError` at `sampler` or `scheduler` for a name that does not exist."""
    sampler = registries.samplers.get(request.sampler, field="sampler")
    schedule = _schedule(request, sampler, registries)
    if request.seed == -1:
        request = request.revise(seed=random_seed())
    if request.subseed == -1 and request.subseed_strength:
        request = request.revise(subseed=random_seed())
    count, size = request.batch_count, request.batch_size
    numbers = range(count * size)
    seeds = tuple(request.seed + (0 if request.subseed_strength else number) for number in numbers)
    subseeds = tuple(request.subseed + number for number in numbers) if request.subseed_strength else ()
    prompts, negatives = ((text,) * size for text in apply_styles(request.prompt, request.negative_prompt, request.style_texts))
    batches = tuple(
        Batch(first, prompts, negatives, seeds[first : first + size], subseeds[first : first + size]) for first in range(0, count * size, size)
    )
    only = Pass(request.steps, request.cfg_scale, request.width, request.height, sampler, schedule, cfg_rescale=request.cfg_rescale)
    extras = (*seed_extras(request, subseeds), *sampling_extras(only, settings or PictureSettings()))
    return Plan(request, checkpoint, sampler, schedule, seeds, subseeds, (only,), batches, extras)


def _schedule(request: Txt2Img, sampler: SamplerSpec, registries: Registries) -> ScheduleSpec | None:
    """Automatic (no function of its own) stands for the schedule that the sampler names, which may be none. Timestep samplers have none."""
    chosen = registries.schedulers.get(request.scheduler, field="scheduler")
    if sampler.face == "timestep":
        return None
    if chosen.function is not None:
        return chosen
    return next((entry for entry in registries.schedulers.values() if entry.name == sampler.scheduler), None)


def img2img_steps(steps: int, strength: float, *, exactly: bool) -> tuple[int, int]:
    """(steps of the whole schedule, t_enc): t_enc + 1 steps are done, from the end of the schedule (a1111-contract §3).

    With `exactly` that is `steps`, and the schedule is longer; strength 0 then gives a schedule of 0 steps.
    """
    if exactly:
        return (int(steps / min(strength, 0.999)) if strength > 0 else 0), steps - 1
    return steps, int(min(strength, 0.999) * steps)
