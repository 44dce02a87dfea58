"""The story of a run on one screen: a plan becomes pictures, one by one. Each paragraph is a module of its own; this one only orders them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from webui.backend.components import Components
from webui.backend.manager import ModelManager
from webui.engine.course import make_course, make_table, sampler_options, skip_rules
from webui.engine.denoise import Denoised, denoise
from webui.engine.faces import make_network
from webui.engine.plan import Batch, Plan
from webui.engine.preview import Previewer, PreviewRun
from webui.engine.prompt.reading import read_prompts
from webui.engine.prompt.schedule import Timing
from webui.engine.steps.decode import check_latents, decode_picture
from webui.engine.steps.encode import PromptCache, encode
from webui.engine.steps.latents import batch_noise, first_latents, later_noise
from webui.engine.steps.postprocess import to_image
from webui.engine.tools import Picture, RunTools, Step
from webui.plugins.host import PluginHost

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workshop:
    """What outlives a run: loaded models, encoded prompts, the preview thread, the plugins."""

    manager: ModelManager
    prompts: PromptCache
    previewer: Previewer
    host: PluginHost | None = None


def generate(plan: Plan, shop: Workshop, tools: RunTools) -> Iterator[Picture]:
    """Carry a plan out. Pictures come as soon as each is decoded.

    When the person interrupts, what is on the canvas comes as partial pictures and that is the end; raises `Cancelled` when there is nothing on it.
    A skipped batch gives its partial pictures (or none), then the next batch begins. Raises `ModelError` for a model that cannot be used.
    """
    tools.cancel.raise_if_interrupted()
    report = _Reporter(plan, tools)
    with shop.manager.lease(plan.checkpoint, tools.machine.sd_checkpoints_limit, lambda: report("loading", plan.batches[0])) as components:
        for batch in plan.batches:
            if tools.finished.issuperset(range(batch.first, batch.first + len(batch.seeds))):
                continue
            tools.cancel.begin_batch()
            denoised = _sample(plan, batch, components, shop, tools)
            if denoised is None:
                tools.cancel.raise_if_interrupted()
                continue
            report("decoding", batch, plan.request.steps)
            for number, latents in enumerate(denoised.latents):
                image = _develop(components, latents)
                index = batch.first + number
                if shop.host is not None:
                    image = shop.host.revise("image_ready", "image", image, request=plan.request, index=index)
                yield Picture(image, plan, index, denoised.partial)
            if denoised.partial and tools.cancel.interrupted:
                return


@torch.inference_mode()
def _sample(plan: Plan, batch: Batch, components: Components, shop: Workshop, tools: RunTools) -> Denoised | None:
    """Encode → latents → denoise, for one batch. None when it was stopped before its first step was finished."""
    report = _Reporter(plan, tools)
    part = plan.passes[0]
    report("encoding", batch)
    reading = read_prompts(batch.prompts, batch.negative_prompts, tools.settings)
    for tag in reading.tags:
        log.warning("%s was left out: there are no networks of this kind yet", tag)
    timing = Timing(part.calls, old=tools.settings.use_old_scheduling)
    conditioning = encode(components, shop.prompts, reading, part.guidance, timing, tools.settings)
    table = make_table(components.alphas_cumprod, part, tools.settings)
    course = make_course(part, table, tools.settings)
    network = make_network(
        part, components.denoise, table, conditioning, skip_rules(course, tools.settings), batched=tools.settings.batch_cond_uncond,
        dtype=components.device.dtype, prediction=components.prediction,
    )
    noise = batch_noise(components, batch, part, plan.request, tools.settings)
    options = sampler_options(part, table, tools.settings)
    previews = shop.previewer.begin(components, tools.machine, tools.preview) if tools.preview else None

    def on_step(step: int, x0: Tensor) -> None:
        report("sampling", batch, step)
        if previews is not None:
            previews.offer(step, x0)

    report("sampling", batch)
    try:
        denoised = denoise(
            part, network, first_latents(noise, course), course.levels, later_noise(noise, part, course), cancel=tools.cancel, on_step=on_step,
            options=options,
        )
    finally:
        _end(previews)
    if denoised is not None:
        check_latents(denoised.latents)
    return denoised


@torch.inference_mode()
def _develop(components: Components, latents: Tensor) -> Image.Image:
    """Decode → postprocess, for one picture (channels, h, w)."""
    return to_image(decode_picture(components, latents))


def _end(previews: PreviewRun | None) -> None:
    if previews is not None:
        previews.end()


class _Reporter:
    """Turns "phase, batch, step" into the `Step` that the caller gets."""

    def __init__(self, plan: Plan, tools: RunTools) -> None:
        self._pictures = len(plan.seeds)
        self._steps = plan.request.steps
        self._report = tools.report

    def __call__(self, phase: str, batch: Batch, step: int = 0) -> None:
        self._report(Step(phase, batch.first, self._pictures, step, self._steps))
