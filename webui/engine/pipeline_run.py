"""A run by a checkpoint's own pipeline (`backend.pipelines`): batch by batch, with progress and interrupt, and none of our samplers."""

from __future__ import annotations

from collections.abc import Iterator

from webui.backend.device import Device
from webui.backend.memory import mode_for
from webui.backend.pipelines import Asked, Pipelines
from webui.engine.plan import Batch, Plan
from webui.engine.report import Reporter
from webui.engine.tools import Picture, RunTools
from webui.schema.machine import DeviceOptions


class _Stopped(BaseException):
    """Ends a pipeline's call from its callback; no pipeline catches it."""


def draw_foreign(plan: Plan, pipelines: Pipelines, options: DeviceOptions, tools: RunTools) -> Iterator[Picture]:
    """Pictures batch by batch. An interrupt or a skip leaves nothing of the batch at hand: a pipeline keeps its canvas to itself. Raises `Cancelled`,
    `ModelError`."""
    report, part, told = Reporter(plan, tools), plan.passes[0], False
    offload = _takes_turns(plan, pipelines.device, options, tools)
    with pipelines.lease(plan.checkpoint, lambda: report("loading", plan.batches[0]), offload=offload) as pipeline:
        for batch in plan.batches:
            if tools.finished.issuperset(range(batch.first, batch.first + len(batch.seeds))):
                continue
            tools.cancel.begin_batch()
            asked = Asked(batch.prompts, batch.negative_prompts, batch.seeds, part.steps, part.cfg, part.width, part.height)
            if not told and (ignored := pipeline.ignores(asked)):
                tools.tell(f"{plan.checkpoint.name} decides {' and '.join(ignored)} by itself: its pipeline cannot be told.")
            told = True

            def on_step(step: int, batch: Batch = batch) -> None:
                report("sampling", batch, part, min(step, part.steps))
                if tools.cancel.stop:
                    raise _Stopped

            report("sampling", batch, part)
            try:
                images = pipeline.draw(asked, on_step)
            except _Stopped:
                tools.cancel.raise_if_interrupted()
                continue
            for number, image in enumerate(images):
                yield Picture(image.convert("RGB"), plan, batch.first + number)


def _takes_turns(plan: Plan, device: Device, options: DeviceOptions, tools: RunTools) -> bool:
    """Whether the parts of the pipeline take turns on the GPU: as asked for, else when the files are larger than what is free."""
    if device.device.type != "cuda":
        return False
    mode = mode_for(tools.machine.memory_mode, options.memory, options.medvram_sdxl, plan.checkpoint.family or "")
    return mode != "high" if mode != "auto" else plan.checkpoint.size > device.memory[1]
