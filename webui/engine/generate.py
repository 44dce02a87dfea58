"""The story of a run on one screen: a plan becomes pictures, one by one. Each paragraph is a module of its own; this one only orders them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from webui.backend.components import Components, View
from webui.backend.manager import ModelManager
from webui.backend.offload import set_tiling
from webui.backend.parts import ModelChoice, Shelf
from webui.backend.pipelines import Pipelines
from webui.engine.course import Course, make_course, refiner_due, sampler_options, skip_rules, table_of
from webui.engine.denoise import Denoised, denoise
from webui.engine.depth import DepthEstimator
from webui.engine.enlarging import Enlarger, Grow
from webui.engine.extras.faces import Mender
from webui.engine.faces import Keeping, RefinedNetwork, make_network
from webui.engine.fitting import Fit, fit, one_lower, within_memory, work_of
from webui.engine.foreign import is_foreign
from webui.engine.img2img import INIT_HASH
from webui.engine.models import Lend, Models
from webui.engine.pipeline_run import draw_foreign
from webui.engine.pixels import FACTOR
from webui.engine.plan import Batch, Pass, Plan, prompt_fields, timing_of
from webui.engine.preview import Previewer, PreviewRun
from webui.engine.prompt.reading import read_prompts
from webui.engine.report import Reporter
from webui.engine.samplers.contract import Network
from webui.engine.source import Source, open_source
from webui.engine.step_hooks import POINTS, PassHooks
from webui.engine.steps.decode import check_latents, develop
from webui.engine.steps.encode import PromptCache, encode
from webui.engine.steps.latents import batch_noise, first_latents, later_noise
from webui.engine.steps.source import Beginning
from webui.engine.steps.upscale import enlarge, posterior_seed
from webui.engine.tools import Companion, Picture, RunTools
from webui.plugins.host import Hearing, PluginHost
from webui.schema.errors import Cancelled
from webui.schema.machine import DeviceOptions
from webui.schema.model import Checkpoint
from webui.schema.sampling import UpscalerSpec

log = logging.getLogger(__name__)

BEFORE_HIRES = "before-highres-fix"
"""How the name of a copy of the first pass ends."""

BEFORE_FACES = "before-face-restoration"
"""The same, of a picture before its faces were restored."""


@dataclass(frozen=True)
class Workshop:
    """What outlives a run: loaded models, encoded prompts, the preview thread, the plugins."""

    manager: ModelManager
    prompts: PromptCache
    previewer: Previewer
    enlarger: Enlarger
    host: PluginHost | None = None
    options: DeviceOptions = field(default_factory=DeviceOptions)
    shelf: Shelf | None = None
    """Where parts are looked for that a checkpoint lacks."""

    pipelines: Pipelines | None = None
    """Those of folders that are run by their own."""

    depth: DepthEstimator | None = None
    """Sees how far things in a picture are."""

    mender: Mender | None = None
    """Mends faces."""


@dataclass(frozen=True)
class Canvas:
    """What the passes so far have left of a batch. `before`: the pictures of the first pass, when somebody wants to see them."""

    denoised: Denoised
    before: Sequence[Image.Image] = ()

    @property
    def unfinished(self) -> Canvas:
        """The same, of a run that was stopped."""
        return replace(self, denoised=replace(self.denoised, partial=True))


@dataclass(frozen=True)
class Run:
    """What all batches of a plan are made with."""

    plan: Plan
    models: Models
    shop: Workshop
    tools: RunTools
    report: Reporter
    hearing: Hearing | None
    """Plugins that listen inside the loop, or None."""

    source: Source | None = None
    """The picture it begins with."""

    def take(self, checkpoint: Checkpoint | None, batch: Batch, part: Pass | None = None, step: int = 0) -> Components:
        """The model of this checkpoint (None: the plan's) from now on."""
        return self.models.take(choice_of(self.plan, checkpoint, self.shop), lambda: self.report("loading", batch, part, step))


def growing(shop: Workshop, tools: RunTools) -> Grow:
    """An upscaler's run with these settings, stopped between two tiles when the person interrupts: raises `Cancelled`."""

    def grow(spec: UpscalerSpec, image: Image.Image, scale: float) -> Image.Image:
        return shop.enlarger.grow(spec, image, scale, tools.settings, lambda done, count: tools.cancel.raise_if_stopped())

    return grow


def generate(plan: Plan, shop: Workshop, tools: RunTools) -> Iterator[Picture]:
    """Carry a plan out. Pictures come as soon as each is decoded.

    When the person interrupts, what is on the canvas comes as partial pictures and that is the end; raises `Cancelled` when there is nothing on it.
    A skipped batch gives its partial pictures (or none), then the next batch begins. Raises `ModelError` for a model that cannot be used.
    """
    tools.cancel.raise_if_interrupted()
    if is_foreign(plan.checkpoint) and shop.pipelines is not None:
        shop.manager.evict()
        for picture in draw_foreign(plan, shop.pipelines, shop.options, tools):
            image, beside = _with_faces(shop, tools, picture.image)
            yield replace(picture, image=_ready(shop, plan, image, picture.index), companions=beside)
        return
    if shop.pipelines is not None:
        shop.pipelines.evict()
    work = work_of(plan, tools.settings, shop.enlarger.measure)
    fitted = fit(shop.manager, choice_of(plan, None, shop), work, shop.options, tools)
    yield from within_memory(fitted, shop.manager, tools, lambda fitted, tools: _carry_out(plan, shop, tools, fitted))


def _ready(shop: Workshop, plan: Plan, image: Image.Image, index: int) -> Image.Image:
    """A finished picture, after plugins had it."""
    return image if shop.host is None else shop.host.revise("image_ready", "image", image, request=plan.request, index=index)


def _with_faces(shop: Workshop, tools: RunTools, image: Image.Image) -> tuple[Image.Image, tuple[Companion, ...]]:
    """The picture with its faces restored, where that is asked for, and what is to be saved beside it."""
    settings = tools.settings
    if not settings.face_restoration or shop.mender is None:
        return image, ()
    kind = settings.face_restoration_model
    options = {"weight": settings.code_former_weight} if kind == "CodeFormer" else {}
    made = shop.mender.mend(image, kind.lower(), "", 1.0, **options)
    shop.mender.models.trim(0 if settings.face_restoration_unload else None)
    return made, (Companion(BEFORE_FACES, image),) if settings.save_images_before_face_restoration else ()


def choice_of(plan: Plan, checkpoint: Checkpoint | None, shop: Workshop) -> ModelChoice:
    """What is loaded for one of a plan's checkpoints, None being the first."""
    if checkpoint is None or checkpoint.name == plan.checkpoint.name:
        return ModelChoice(plan.checkpoint, plan.vae, shop.shelf)
    return ModelChoice(checkpoint, dict(plan.vaes).get(checkpoint.name), shop.shelf)


def _carry_out(plan: Plan, shop: Workshop, tools: RunTools, fitted: Fit) -> Iterator[Picture]:
    report = Reporter(plan, tools)
    source = open_source(plan, tools, growing(shop, tools), shop.depth and shop.depth.estimate)
    keep_original = source is not None and tools.settings.save_init_img
    if source is not None and keep_original:
        plan = replace(plan, extras=(*plan.extras, (INIT_HASH, source.digest)))
    hearing = shop.host.listen(*POINTS) if shop.host else None
    with Models(_lender(plan, shop, tools, fitted)) as models:
        run = Run(plan, models, shop, tools, report, hearing, source)
        for batch in plan.batches:
            if tools.finished.issuperset(range(batch.first, batch.first + len(batch.seeds))):
                continue
            tools.cancel.begin_batch()
            canvas = _paint(run, batch)
            if canvas is None:
                tools.cancel.raise_if_interrupted()
                continue
            report("decoding", batch)
            for number, latents in enumerate(canvas.denoised.latents):
                image, index = develop(models.now, latents, tools.vae_notice), batch.first + number
                beside = (Companion(BEFORE_HIRES, canvas.before[number]),) if canvas.before else ()
                if not canvas.denoised.partial:
                    image, plain = _with_faces(shop, tools, image)
                    beside = (*beside, *plain)
                if source is not None:
                    image, more = source.finish(image, latents, number)
                    beside = (*beside, *more)
                original = source.original if source is not None and keep_original else None
                yield Picture(_ready(shop, plan, image, index), plan, index, canvas.denoised.partial, beside, original)
            if canvas.denoised.partial and tools.cancel.interrupted:
                return


def _lender(plan: Plan, shop: Workshop, tools: RunTools, first: Fit) -> Lend:
    """Leases in the way that fits: that of the plan's own checkpoint is known, others are fitted when they are needed, and need less where memory ran
    out before: nobody can say which of the models it was."""

    @contextmanager
    def lend(choice: ModelChoice, loading: Callable[[], None]) -> Iterator[Components]:
        fitted = first
        if choice.key != first.choice.key:
            fitted = fit(shop.manager, choice, first.work, shop.options, tools)
            fitted = (one_lower(fitted, shop.manager) if first.lowered else None) or fitted
        limit = tools.machine.sd_checkpoints_limit
        with shop.manager.lease(fitted.choice, limit, loading, residence=fitted.residence, budget=fitted.budget) as components:
            set_tiling(components.modules["vae"], fitted.estimate.way.tiled)
            yield components

    return lend


@torch.inference_mode()
def _paint(run: Run, batch: Batch) -> Canvas | None:
    """All passes of a batch; a second begins with what the first left, enlarged. Stopped before a pass has finished its first step: what the pass
    before left, as a partial picture, or None."""
    canvas: Canvas | None = None
    for part in run.plan.todo:
        start = None
        if run.source is not None and part.begin is not None:
            components = run.take(part.checkpoint, batch, part)
            run.report("encoding", batch, part)
            start = run.source.begin(components)
        elif part.enlarge is not None:
            run.report("upscaling", batch, part)
            given, wanted = run.plan.firstpass, run.tools.settings.save_images_before_highres_fix
            before = canvas.denoised.latents if canvas else run.tools.picture(given, "firstpass_image").convert("RGB") if given else None
            assert before is not None  # `Plan.todo` leaves the first pass out only where a picture stands for it
            seed = posterior_seed(batch.seeds, run.tools.settings.randn_source) if canvas else None
            models = (lambda: run.models.now), partial(run.take, part.checkpoint, batch, part)
            grow = growing(run.shop, run.tools)
            try:
                latents, images = enlarge(models, part.enlarge, before, show=wanted, seed=seed, tell=run.tools.vae_notice, grow=grow)
            except Cancelled:
                return canvas and canvas.unfinished
            finally:
                run.shop.enlarger.trim()
            start = Beginning(latents)
            canvas = canvas and replace(canvas, before=images if wanted else ())
        denoised = _sample(run, batch, part, start)
        if denoised is None:
            return canvas and canvas.unfinished
        canvas = Canvas(denoised, canvas.before if canvas else ())
        if denoised.partial:
            break
    return canvas


@torch.inference_mode()
def _sample(run: Run, batch: Batch, part: Pass, start: Beginning | None) -> Denoised | None:
    """Latents → denoise, for one pass of a batch. None when it was stopped before its first step was finished."""
    components, tools, settings = run.take(part.checkpoint, batch, part), run.tools, run.tools.settings
    table = table_of(components, part, settings)
    course = make_course(part, table, settings)
    hooks = PassHooks(run.hearing, run.plan.request, part, run.plan.passes.index(part)) if run.hearing else None
    noise = batch_noise(components, batch, part, run.plan.request, settings)
    previews = run.shop.previewer.begin(components, tools.machine, tools.preview) if tools.preview else None
    del components  # a refiner may take its place, and then nobody should hold it
    keeping = run.source.keeping(start) if run.source is not None and start is not None else None
    make = partial(_network, run, batch, part, course, hooks, keeping, start)
    network = make()
    if part.refine is not None:
        refiner = part.refine.checkpoint

        def follow(calls: int) -> Network:
            done = min(calls // (2 if part.sampler.second_order else 1), part.steps)
            run.take(refiner, batch, part, done)
            return make(calls=calls)

        network = RefinedNetwork(network, refiner_due(part, table, course), follow)

    def on_step(step: int, x0: Tensor) -> None:
        run.report("sampling", batch, part, step)
        if previews is not None:
            previews.offer(step, x0)

    run.report("sampling", batch, part)
    strength = settings.initial_noise_multiplier if part.begin is not None else 1.0
    latents = first_latents(noise, course, start.latents if start else None, settings.img2img_extra_noise, strength)
    try:
        denoised = denoise(
            part, network, latents, course.levels, later_noise(noise, part, course), cancel=tools.cancel, on_step=on_step,
            options=sampler_options(part, table, settings), hooks=hooks,
        )
    finally:
        _end(previews)
    if denoised is not None:
        check_latents(denoised.latents)
        if keeping is not None:
            denoised = replace(denoised, latents=keeping.finish(denoised.latents))
    return denoised


def _network(
    run: Run, batch: Batch, part: Pass, course: Course, hooks: PassHooks | None, keeping: Keeping | None, start: Beginning | None, *,
    calls: int = 0,
) -> Network:
    """Encode, and the guided network of the model at work; `calls`: those that another model has made of this pass."""
    components, settings = run.models.now, run.tools.settings
    if not calls:
        run.report("encoding", batch, part)
    reading = read_prompts(*batch.texts(part), settings, prompt_fields(run.plan.request, part))
    for tag in reading.tags:
        log.warning("%s was left out: there are no networks of this kind yet", tag)
    timing = timing_of(part, settings)
    conditioning = encode(components, run.shop.prompts, reading, part.guidance, timing, settings, part.told_size, distilled=part.distilled_cfg)
    table = table_of(components, part, settings)
    return make_network(
        part, components.denoise, table, conditioning, skip_rules(course, settings), batched=settings.batch_cond_uncond,
        dtype=components.device.dtype, prediction=components.prediction, hooks=hooks,
        picture=_view(run, components, part, start), calls=calls, keeping=keeping,
    )


def _view(run: Run, components: Components, part: Pass, start: Beginning | None) -> Tensor | None:
    """What a model that looks at a picture gets to see; of what a first pass left, enlarged, it is shown the depth, of each picture its own."""
    if run.source is not None:
        return run.source.look(components)
    view = View(part.height // FACTOR, part.width // FACTOR)
    if start is not None and components.checkpoint.variant == "depth" and run.shop.depth is not None:
        pictures = [develop(components, latents, run.tools.vae_notice) for latents in start.latents]
        view = replace(view, depth=run.shop.depth.estimate(components.checkpoint, pictures, hires=True))
    return components.look(components.autoencoder, view)


def _end(previews: PreviewRun | None) -> None:
    if previews is not None:
        previews.end()
