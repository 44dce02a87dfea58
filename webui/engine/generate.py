"""The story of a run on one screen: a plan becomes pictures, one by one. Each paragraph is a module of its own; this one only orders them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from PIL import Image
from torch import Tensor

from webui.backend.components import Components
from webui.backend.manager import ModelManager
from webui.backend.offload import set_tiling
from webui.backend.parts import ModelChoice
from webui.engine.course import make_course, make_table, sampler_options, skip_rules
from webui.engine.denoise import Denoised, denoise
from webui.engine.faces import make_network
from webui.engine.fitting import Fit, fit, within_memory, work_of
from webui.engine.plan import Batch, Enlarge, Pass, Plan, prompt_fields, timing_of
from webui.engine.preview import Previewer, PreviewRun
from webui.engine.prompt.reading import read_prompts
from webui.engine.step_hooks import POINTS, PassHooks
from webui.engine.steps.decode import check_latents, decode_picture
from webui.engine.steps.encode import PromptCache, encode
from webui.engine.steps.latents import FACTOR, batch_noise, first_latents, later_noise
from webui.engine.steps.postprocess import to_image
from webui.engine.steps.upscale import encode_image, enlarge_images, enlarge_latents, to_pixels
from webui.engine.tools import Picture, RunTools, Step
from webui.plugins.host import Hearing, PluginHost
from webui.schema.machine import DeviceOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workshop:
    """What outlives a run: loaded models, encoded prompts, the preview thread, the plugins."""

    manager: ModelManager
    prompts: PromptCache
    previewer: Previewer
    host: PluginHost | None = None
    options: DeviceOptions = field(default_factory=DeviceOptions)


@dataclass(frozen=True)
class Canvas:
    """What the passes so far have left of a batch. `before`: the pictures of the first pass, when somebody wants to see them."""

    denoised: Denoised
    before: Sequence[Image.Image] = ()


@dataclass(frozen=True)
class Run:
    """What all batches of a plan are made with."""

    plan: Plan
    components: Components
    shop: Workshop
    tools: RunTools
    report: Reporter
    hearing: Hearing | None
    """Plugins that listen inside the loop, or None."""


def generate(plan: Plan, shop: Workshop, tools: RunTools) -> Iterator[Picture]:
    """Carry a plan out. Pictures come as soon as each is decoded.

    When the person interrupts, what is on the canvas comes as partial pictures and that is the end; raises `Cancelled` when there is nothing on it.
    A skipped batch gives its partial pictures (or none), then the next batch begins. Raises `ModelError` for a model that cannot be used.
    """
    tools.cancel.raise_if_interrupted()
    choice = ModelChoice(plan.checkpoint, plan.vae)
    fitted = fit(shop.manager, choice, work_of(plan), shop.options, tools)
    yield from within_memory(fitted, shop.manager, tools, lambda fitted, tools: _carry_out(plan, shop, tools, fitted))


def _carry_out(plan: Plan, shop: Workshop, tools: RunTools, fitted: Fit) -> Iterator[Picture]:
    report = Reporter(plan, tools)
    hearing = shop.host.listen(*POINTS) if shop.host else None
    loading, limit = lambda: report("loading", plan.batches[0]), tools.machine.sd_checkpoints_limit
    with shop.manager.lease(fitted.choice, limit, loading, residence=fitted.residence, budget=fitted.budget) as components:
        set_tiling(components.modules["vae"], fitted.estimate.way.tiled)
        for batch in plan.batches:
            if tools.finished.issuperset(range(batch.first, batch.first + len(batch.seeds))):
                continue
            tools.cancel.begin_batch()
            canvas = _paint(Run(plan, components, shop, tools, report, hearing), batch)
            if canvas is None:
                tools.cancel.raise_if_interrupted()
                continue
            report("decoding", batch)
            for number, latents in enumerate(canvas.denoised.latents):
                image = _develop(components, latents, tools)
                index = batch.first + number
                if shop.host is not None:
                    image = shop.host.revise("image_ready", "image", image, request=plan.request, index=index)
                yield Picture(image, plan, index, canvas.denoised.partial, canvas.before[number] if canvas.before else None)
            if canvas.denoised.partial and tools.cancel.interrupted:
                return


@torch.inference_mode()
def _paint(run: Run, batch: Batch) -> Canvas | None:
    """All passes of a batch; a second begins with what the first left, enlarged. Stopped before a pass has finished its first step: what the pass
    before left, as a partial picture, or None."""
    canvas: Canvas | None = None
    for part in run.plan.todo:
        start = None
        if part.enlarge is not None:
            run.report("upscaling", batch, part)
            start, images = _enlarge(run, part.enlarge, canvas)
            if canvas is not None and run.tools.settings.save_images_before_highres_fix:
                canvas = replace(canvas, before=images)
        denoised = _sample(run, batch, part, start)
        if denoised is None:
            return canvas and replace(canvas, denoised=replace(canvas.denoised, partial=True))
        canvas = Canvas(denoised, canvas.before if canvas else ())
        if denoised.partial:
            break
    return canvas


def _enlarge(run: Run, to: Enlarge, canvas: Canvas | None) -> tuple[Tensor, Sequence[Image.Image]]:
    """Latents for a second pass to begin with (one, or one for each picture), and the pictures they come from where those had to be made."""
    components, tools, given = run.components, run.tools, run.plan.request.firstpass_image
    latent = to.upscaler.latent_mode is not None
    if given is not None:
        image = tools.open_image(given)
        if latent:
            return enlarge_latents(encode_image(components, image), to), [image]
        return enlarge_images(components, [to_image(to_pixels(image))], to), [image]
    assert canvas is not None  # `Plan.todo` leaves the first pass out only where a picture stands for it
    latents = canvas.denoised.latents
    images = [_develop(components, one, tools) for one in latents] if not latent or tools.settings.save_images_before_highres_fix else []
    return enlarge_latents(latents, to) if latent else enlarge_images(components, images, to), images


@torch.inference_mode()
def _sample(run: Run, batch: Batch, part: Pass, start: Tensor | None) -> Denoised | None:
    """Encode → latents → denoise, for one pass of a batch. None when it was stopped before its first step was finished."""
    components, tools, settings = run.components, run.tools, run.tools.settings
    run.report("encoding", batch, part)
    reading = read_prompts(*batch.texts(part), settings, prompt_fields(run.plan.request, part))
    for tag in reading.tags:
        log.warning("%s was left out: there are no networks of this kind yet", tag)
    conditioning = encode(components, run.shop.prompts, reading, part.guidance, timing_of(part, settings), settings, part.told_size)
    table = make_table(components.alphas_cumprod, part, settings, sdxl=components.sdxl, zero_snr=components.zero_snr)
    course = make_course(part, table, settings)
    hooks = PassHooks(run.hearing, run.plan.request, part, run.plan.passes.index(part)) if run.hearing else None
    network = make_network(
        part, components.denoise, table, conditioning, skip_rules(course, settings), batched=settings.batch_cond_uncond,
        dtype=components.device.dtype, prediction=components.prediction, hooks=hooks,
        picture=components.blank(components.autoencoder, part.height // FACTOR, part.width // FACTOR),
    )
    noise = batch_noise(components, batch, part, run.plan.request, settings)
    options = sampler_options(part, table, settings)
    previews = run.shop.previewer.begin(components, tools.machine, tools.preview) if tools.preview else None

    def on_step(step: int, x0: Tensor) -> None:
        run.report("sampling", batch, part, step)
        if previews is not None:
            previews.offer(step, x0)

    run.report("sampling", batch, part)
    latents = first_latents(noise, course, start, settings.img2img_extra_noise)
    try:
        denoised = denoise(
            part, network, latents, course.levels, later_noise(noise, part, course), cancel=tools.cancel, on_step=on_step, options=options,
            hooks=hooks,
        )
    finally:
        _end(previews)
    if denoised is not None:
        check_latents(denoised.latents)
    return denoised


@torch.inference_mode()
def _develop(components: Components, latents: Tensor, tools: RunTools) -> Image.Image:
    """Decode → postprocess, for one picture (channels, h, w)."""
    return to_image(decode_picture(components, latents, tools.tell if tools.settings.auto_vae_precision else None))


def _end(previews: PreviewRun | None) -> None:
    if previews is not None:
        previews.end()


class Reporter:
    """Turns "phase, batch, pass, step of it" into the `Step` that the caller gets: steps of all passes count, and a step is as dear as its pixels.
    Decoding comes when all is done."""

    def __init__(self, plan: Plan, tools: RunTools) -> None:
        self._pictures = len(plan.seeds)
        self._todo = plan.todo
        self._steps = [part.steps for part in plan.todo]
        self._costs = [part.steps * part.width * part.height for part in plan.todo]
        self._report = tools.report

    def __call__(self, phase: str, batch: Batch, part: Pass | None = None, step: int = 0) -> None:
        """Tell the caller."""
        over = self._todo.index(part) if part else 0
        if phase == "decoding":
            over, step = len(self._todo), 0
        done = sum(self._costs[:over]) + (step * part.width * part.height if part else 0)
        self._report(Step(phase, batch.first, self._pictures, sum(self._steps[:over]) + step, sum(self._steps), done / sum(self._costs)))
