"""What will be done for a request, with everything resolved: seeds, model, sampler, schedule, passes, batches. Pure; needs no torch.

The engine only carries a plan out, and the infotext is written from it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from webui.engine import img2img
from webui.engine.hires import HiresSize, check_hires, cost_of, hires_extras, second_pass, size_of
from webui.engine.model_rules import check_model
from webui.engine.prompt.reading import check_prompt
from webui.engine.prompt.schedule import Timing
from webui.engine.prompt.styles import apply_styles
from webui.engine.sampling_extras import sampling_extras, seed_extras
from webui.plugins.registry import Registries
from webui.schema.errors import RequestError
from webui.schema.generation import ImageRef, Txt2Img
from webui.schema.img2img import Img2Img
from webui.schema.model import Checkpoint, ModelFile
from webui.schema.request import PictureRequest
from webui.schema.sampling import SamplerSpec, ScheduleSpec, UpscalerSpec
from webui.schema.settings import PictureSettings

RANDOM_SEEDS = 4_294_967_294
"""A random seed is below this, as in A1111."""


@dataclass(frozen=True)
class Enlarge:
    """How a pass gets to its size from the picture of the pass before: to `width` × `height` pixels, then without `cut` latent cells (x, y), half of
    them on each side."""

    upscaler: UpscalerSpec
    width: int
    height: int
    cut: tuple[int, int]


@dataclass(frozen=True)
class Refine:
    """Another checkpoint takes over when this share of the way is done: by the model's timesteps, or by its calls."""

    checkpoint: Checkpoint
    at: float
    by_steps: bool = False


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

    distilled_cfg: float = 3.5
    """What a model with built-in guidance is told instead of being guided."""

    picture_cfg: float = 1.0
    """See `Guidance.picture`."""

    enlarge: Enlarge | None = None
    """A second pass begins like this; None = at noise of its own, or with `begin`."""

    begin: img2img.Begin | None = None
    """It begins with the request's own picture."""

    calls_before: int | None = None
    """Calls of the pass before, which times in prompts are counted from in a second pass."""

    checkpoint: Checkpoint | None = None
    """None = the plan's."""

    refine: Refine | None = None

    @property
    def guidance(self) -> float:
        """The CFG scale the network works with. A sampler that divides it needs the negative prompt always, so for it that is never exactly 1; nor
        for a model that holds on to a picture."""
        scaled = self.cfg / self.sampler.cfg_divisor
        return math.nextafter(1.0, 2.0) if scaled == 1.0 and (self.cfg != 1.0 or self.picture_cfg != 1.0) else scaled

    @property
    def told_size(self) -> tuple[int, int]:
        """Width and height as SDXL is told them: in a second pass what is enlarged to, also when some of it is cut."""
        return (self.width, self.height) if self.enlarge is None else (self.enlarge.width, self.enlarge.height)

    @property
    def pixels(self) -> int:
        """Of the largest picture that is decoded or encoded on the way."""
        return max(self.width * self.height, self.begin.pixels if self.begin else 0)

    @property
    def done(self) -> int:
        """Steps that are really done."""
        return self.steps if self.strength is None else img2img_steps(self.steps, self.strength, exactly=self.exact_steps)[1] + 1

    @property
    def calls(self) -> int:
        """Model calls: what prompts are scheduled by. Two a step for samplers of second order."""
        return calls_of(self.steps, self.sampler)


@dataclass(frozen=True)
class Batch:
    """Pictures made together; `first` is the number of the first one within the run. The tuples have one entry per picture."""

    first: int
    prompts: tuple[str, ...]
    negative_prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    subseeds: tuple[int, ...] = ()
    hires_prompts: tuple[str, ...] = ()
    """Of the second pass, when there is one; so with the negative ones."""

    hires_negative_prompts: tuple[str, ...] = ()

    def texts(self, part: Pass) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Prompts and negative prompts of one of the passes."""
        return (self.prompts, self.negative_prompts) if part.enlarge is None else (self.hires_prompts, self.hires_negative_prompts)


@dataclass(frozen=True)
class Plan:
    """A request with everything resolved. `request.seed` is the seed used, never -1; `request.subseed` likewise when it has a strength."""

    request: PictureRequest
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

    vae: ModelFile | None = None
    vaes: tuple[tuple[str, ModelFile | None], ...] = ()
    """Those of further checkpoints, with the checkpoint's name."""

    """The file that stands in for the checkpoint's own VAE."""

    @property
    def todo(self) -> tuple[Pass, ...]:
        """The passes to carry out: not the first when a finished picture stands for it."""
        return self.passes[1:] if self.firstpass else self.passes

    @property
    def firstpass(self) -> ImageRef | None:
        """The finished picture that stands for the first pass."""
        return self.request.firstpass_image if isinstance(self.request, Txt2Img) else None

    @property
    def others(self) -> tuple[Checkpoint, ...]:
        """The further checkpoints that the passes need."""
        refiners = [part.refine.checkpoint for part in self.passes if part.refine is not None]
        return (*refiners, *(part.checkpoint for part in self.passes if part.checkpoint is not None))

    @property
    def schedule_label(self) -> str | None:
        """`Schedule type` of the infotext: the label of the schedule used, or None for Automatic with a sampler that has no schedule of its own."""
        return self.schedule.label if self.schedule else None


Find = Callable[[str, str], Checkpoint]
"""A checkpoint by its name; the second argument is the field that an error stands at."""


def no_other(name: str, field: str) -> Checkpoint:
    """For plans with one checkpoint only."""
    raise RequestError(f"There is no checkpoint “{name[:120]}” to be found from here.", field=field)


def draw_seed() -> int:
    """A random seed in [0, 4294967294)."""
    return random.randrange(RANDOM_SEEDS)


def make_plan(
    request: PictureRequest, checkpoint: Checkpoint, registries: Registries, random_seed: Callable[[], int] = draw_seed,
    settings: PictureSettings | None = None, find: Find = no_other,
) -> Plan:
    """Resolve a request. `find` gives the further checkpoints that it names. Raises `RequestError` at the field of a name that does not exist, or
    that makes the second pass impossible."""
    settings = settings or PictureSettings()
    check_kind(request, registries, settings)
    sampler = registries.samplers.get(request.sampler, field="sampler")
    further = further_checkpoints(request, find)
    check_model(request, checkpoint, registries, settings, further)
    schedule = _schedule(request.scheduler, sampler, registries, checkpoint)
    if request.seed == -1:
        request = request.revise(seed=random_seed())
    if request.subseed == -1 and request.subseed_strength:
        request = request.revise(subseed=random_seed())
    count, size = request.batch_count, request.batch_size
    numbers = range(count * size)
    seeds = tuple(request.seed + (0 if request.subseed_strength else number) for number in numbers)
    subseeds = tuple(request.subseed + number for number in numbers) if request.subseed_strength else ()
    prompts, negatives = ((text,) * size for text in apply_styles(request.prompt, request.negative_prompt, request.style_texts))
    larger = second_pass(request)
    hires = tuple((text,) * size for text in hires_prompts(larger)) if larger else ()
    batches = tuple(
        Batch(first, prompts, negatives, seeds[first : first + size], subseeds[first : first + size], *hires)
        for first in range(0, count * size, size)
    )
    only = Pass(
        request.steps, request.cfg_scale, request.width, request.height, sampler, schedule, cfg_rescale=request.cfg_rescale,
        distilled_cfg=request.distilled_cfg_scale,
    )
    other = further.get("refiner_checkpoint")
    refine = Refine(other, request.refiner_switch_at, settings.refiner_switch_by_sample_steps) if other else None
    if larger is None:
        only, own = replace(only, refine=refine), ()
        if isinstance(request, Img2Img):
            only, own = _with_picture(only, request, checkpoint, registries, settings), img2img.source_extras(request, checkpoint, settings)
        extras = (
            *_told(request, checkpoint, settings), *seed_extras(request, subseeds), *own, *sampling_extras(only, settings),
            *refiner_extras(only.refine, request, settings),
        )
        return Plan(request, checkpoint, sampler, schedule, seeds, subseeds, (only,), batches, extras)
    sizes = size_of(larger, settings)
    first, second = _two_passes(larger, only, sizes, registries, further.get("hr_checkpoint_name", checkpoint))
    first = replace(first, refine=refine if settings.hires_fix_refiner_pass != "second pass" else None)
    second = replace(
        second, refine=refine if settings.hires_fix_refiner_pass != "first pass" else None,
        checkpoint=further.get("hr_checkpoint_name"),
    )
    differing = [texts[0] if texts[0] != base else None for texts, base in zip(hires, (prompts[0], negatives[0]), strict=True)]
    label = second.schedule.label if second.schedule and second.schedule != schedule else None
    title, own = second.checkpoint and second.checkpoint.short_title, request.distilled_cfg_scale if checkpoint.is_distilled else None
    distilled = second.distilled_cfg if (second.checkpoint or checkpoint).is_distilled and second.distilled_cfg != own else None
    fields = hires_extras(larger, sizes, (differing[0], differing[1]), label, title, distilled)
    extras = dict((
        *_told(request, checkpoint, settings), *seed_extras(request, subseeds), *fields, *sampling_extras(first, settings),
        *sampling_extras(second, settings), *refiner_extras(refine, request, settings),
    ))
    return Plan(request, checkpoint, sampler, schedule, seeds, subseeds, (first, second), batches, tuple(extras.items()))


def _with_picture(only: Pass, request: Img2Img, checkpoint: Checkpoint, registries: Registries, settings: PictureSettings) -> Pass:
    """The one pass of img2img."""
    width, height = img2img.size_of(request)
    return replace(
        only, width=width, height=height, strength=request.denoising_strength, exact_steps=settings.img2img_fix_steps,
        begin=img2img.Begin(request, img2img.upscaler_of(settings, registries)),
        picture_cfg=request.image_cfg_scale if checkpoint.variant == "edit" else 1.0,
    )


def check_kind(request: PictureRequest, registries: Registries, settings: PictureSettings) -> None:
    """Raises `RequestError` at the field that makes this kind of request impossible."""
    if isinstance(request, Img2Img):
        img2img.check_source(request, registries.samplers.get(request.sampler, field="sampler"), settings)
        img2img.upscaler_of(settings, registries)
    else:
        check_hires(request, registries, settings)


def steps_of(request: PictureRequest) -> float:
    """What a picture costs, in steps of the first pass: told before its settings are known."""
    if isinstance(request, Img2Img):
        return float(img2img_steps(request.steps, request.denoising_strength, exactly=False)[1] + 1)
    return cost_of(request)


def further_checkpoints(request: PictureRequest, find: Find) -> dict[str, Checkpoint]:
    """The checkpoints beside the first that a request uses, by the field that names them. Raises `RequestError` there."""
    if request.enable_refiner and not request.refiner_checkpoint:
        hint = "Choose one, or switch the refiner off."
        raise RequestError("The refiner is on, but no checkpoint is chosen for it.", field="refiner_checkpoint", hint=hint)
    larger = second_pass(request)
    used = {"refiner_checkpoint": request.enable_refiner, "hr_checkpoint_name": larger is not None and bool(larger.hr_checkpoint_name)}
    return {name: find(getattr(request, name), name) for name, on in used.items() if on}


def refiner_extras(refine: Refine | None, request: PictureRequest, settings: PictureSettings) -> tuple[tuple[str, object], ...]:
    """A1111's fields of the refiner, in its order."""
    if refine is None:
        return ()
    by_steps = (("Refiner switch by sampling steps", True),) if refine.by_steps else ()
    where = settings.hires_fix_refiner_pass
    hires = (("Hires refiner", where),) if second_pass(request) and where != "second pass" else ()
    return (*by_steps, *hires, ("Refiner", refine.checkpoint.short_title), ("Refiner switch at", refine.at))


def calls_of(steps: int, sampler: SamplerSpec) -> int:
    """Model calls of so many steps."""
    return steps * (2 if sampler.second_order else 1)


def timing_of(part: Pass, settings: PictureSettings) -> Timing:
    """How times in the prompts of a pass are counted."""
    first, second = (part.calls, None) if part.calls_before is None else (part.calls_before, part.calls)
    return Timing(first, second, old=settings.use_old_scheduling)


def prompt_fields(request: PictureRequest, part: Pass) -> tuple[str, str]:
    """The fields that the prompts of a pass were written in."""
    if part.enlarge is None or not isinstance(request, Txt2Img):
        return "prompt", "negative_prompt"
    return "hr_prompt" if request.hr_prompt else "prompt", "hr_negative_prompt" if request.hr_negative_prompt else "negative_prompt"


def hires_prompts(request: Txt2Img) -> tuple[str, str]:
    """Prompt and negative prompt of the second pass, styles applied."""
    return apply_styles(request.hr_prompt or request.prompt, request.hr_negative_prompt or request.negative_prompt, request.style_texts)


def check_prompts(request: PictureRequest, registries: Registries, settings: PictureSettings) -> None:
    """Raise `PromptError` at its field for a prompt of either pass that cannot be read."""
    calls = calls_of(request.steps, registries.samplers.get(request.sampler))
    first = Timing(calls, old=settings.use_old_scheduling)
    for text, field in zip(apply_styles(request.prompt, request.negative_prompt, request.style_texts), ("prompt", "negative_prompt"), strict=True):
        check_prompt(text, first, settings, field)
    larger = second_pass(request)
    if larger is not None:
        more = calls_of(larger.hr_second_pass_steps or larger.steps, registries.samplers.get(larger.hr_sampler or larger.sampler))
        second = Timing(calls, more, old=settings.use_old_scheduling)
        for text, field in zip(hires_prompts(larger), ("hr_prompt", "hr_negative_prompt"), strict=True):
            check_prompt(text, second, settings, field)


def _told(request: PictureRequest, checkpoint: Checkpoint, settings: PictureSettings) -> tuple[tuple[str, object], ...]:
    """Forge's field of models with built-in guidance, A1111's of faces, and how strong CodeFormer is."""
    told = (("Distilled CFG Scale", request.distilled_cfg_scale),) if checkpoint.is_distilled else ()
    if not settings.face_restoration:
        return told
    model, weight = settings.face_restoration_model, settings.code_former_weight
    return (*told, ("Face restoration", model), *((("CodeFormer weight", weight),) if model == "CodeFormer" and weight != 0.5 else ()))


def _two_passes(request: Txt2Img, only: Pass, size: HiresSize, registries: Registries, checkpoint: Checkpoint) -> tuple[Pass, Pass]:
    """The passes of hires fix; `only` is the one without it, `checkpoint` that of the second."""
    first = replace(only, width=size.first[0], height=size.first[1])
    sampler = registries.samplers.get(request.hr_sampler or request.sampler, field="hr_sampler")
    second = Pass(
        request.hr_second_pass_steps or request.steps, request.hr_cfg or request.cfg_scale, *size.final, sampler,
        _schedule(request.hr_scheduler or request.scheduler, sampler, registries, checkpoint), strength=request.denoising_strength, exact_steps=True,
        enlarge=Enlarge(registries.upscalers.get(request.hr_upscaler, field="hr_upscaler"), *size.target, size.cut), calls_before=first.calls,
        cfg_rescale=request.cfg_rescale, distilled_cfg=request.hr_distilled_cfg or request.distilled_cfg_scale,
    )
    return first, second


def _schedule(name: str, sampler: SamplerSpec, registries: Registries, checkpoint: Checkpoint) -> ScheduleSpec | None:
    """Automatic (no function of its own) stands for the schedule that the sampler names, which may be none. Timestep samplers have none. A flow model
    has a schedule of its own, which Automatic means whatever the sampler."""
    chosen = registries.schedulers.get(name, field="scheduler")
    if sampler.face == "timestep":
        return None
    if chosen.function is not None:
        return chosen
    if checkpoint.is_flow:
        return None
    return next((entry for entry in registries.schedulers.values() if entry.name == sampler.scheduler), None)


def img2img_steps(steps: int, strength: float, *, exactly: bool) -> tuple[int, int]:
    """(steps of the whole schedule, t_enc): t_enc + 1 steps are done, from the end of the schedule (a1111-contract §3).

    With `exactly` that is `steps`, and the schedule is longer; strength 0 then gives a schedule of 0 steps.
    """
    if exactly:
        return (int(steps / min(strength, 0.999)) if strength > 0 else 0), steps - 1
    return steps, int(min(strength, 0.999) * steps)
