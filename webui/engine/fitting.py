"""Before a run: does it fit into the memory of the device, and how is it made to? The arithmetic is `backend.memory`'s; this is what a plan needs of
it, and what is left to try when memory ran out all the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from webui.backend.manager import ModelManager
from webui.backend.memory import Estimate, Storage, Upscaler, Way, Work, budget_of, estimate, lower, mode_for, room_of, ways
from webui.backend.parts import ModelChoice, Residence
from webui.engine.plan import Plan
from webui.engine.tools import Picture, RunTools
from webui.schema.machine import DeviceOptions
from webui.schema.model import Checkpoint
from webui.schema.settings import PictureSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fit:
    """How a run gets its model: in the way that the estimate chose, one of those that could be `tried`."""

    choice: ModelChoice
    estimate: Estimate
    tried: tuple[Way, ...]
    work: Work
    residence: Residence
    budget: int
    """Bytes that models may take."""

    lowered: bool = False
    """Whether memory ran out in the way that was chosen first."""


Measure = Callable[[Checkpoint, tuple[int, int], PictureSettings], Upscaler]
"""What an upscaler that is a pipeline takes; see `enlarging.Enlarger.measure`."""


def work_of(plan: Plan, settings: PictureSettings | None = None, measure: Measure | None = None) -> Work:
    """The largest model call and the largest picture of a plan, and with `measure` the upscaler between its passes. Raises `ModelError` when that is
    not whole."""
    size = plan.request.batch_size
    rows = max((1 if part.guidance == 1.0 else 2 if part.picture_cfg == 1.0 else 3) * size for part in plan.passes)
    enlarge, first = plan.passes[-1].enlarge, plan.passes[0]
    upscaler = None
    if measure is not None and enlarge is not None and enlarge.upscaler.pipeline is not None:
        upscaler = measure(enlarge.upscaler.pipeline, (first.width, first.height), settings or PictureSettings())
    return Work(max(part.pixels for part in plan.passes), rows, upscaler)


def fit(manager: ModelManager, choice: ModelChoice, work: Work, options: DeviceOptions, tools: RunTools) -> Fit:
    """The fastest way that fits into what is free now. Raises `ModelError` when the checkpoint cannot be read."""
    machine, settings = tools.machine, tools.settings
    family, offloads = choice.checkpoint.family or "", manager.device.device.type == "cuda"
    residence = Residence("high", storage_of(settings, family), machine.disable_mmap_load_safetensors or options.whole_files)
    total, free = manager.device.memory
    allowed = machine.models_vram_gb if offloads else machine.models_ram_gb
    budget = budget_of(allowed, total)
    room = room_of(total, free + manager.idle, budget if allowed else 0, offloads)
    tried = ways(mode_for(machine.memory_mode, options.memory, options.medvram_sdxl, family), room, machine.vae_tiling)
    made = estimate(manager.sizes(choice, residence), work, room, tried)
    return Fit(choice, made, tried, work, replace(residence, mode=made.way.mode), budget)


def storage_of(settings: PictureSettings, family: str) -> Storage | None:
    """How the denoiser's weights are stored: as the fewest bits asked for."""
    if settings.low_bit_storage != "Disable":
        return settings.low_bit_storage
    fp8 = settings.fp8_storage == "Enable" or (settings.fp8_storage == "Enable for SDXL" and family.startswith("sdxl"))
    return "fp8" if fp8 else None


def within_memory(
    fitted: Fit, manager: ModelManager, tools: RunTools, carry_out: Callable[[Fit, RunTools], Iterator[Picture]],
) -> Iterator[Picture]:
    """What `carry_out` makes. When memory runs out everything is let go, and what is not made yet is tried once more in a way that needs less."""
    given, retried = set[int](), False
    while True:
        log.info("%s %s", fitted.choice.checkpoint.name, fitted.estimate.line)
        try:
            for picture in carry_out(fitted, replace(tools, note=fitted.estimate.line)):
                if picture.index not in given:
                    given.add(picture.index)
                    yield picture
            return
        except (MemoryError, RuntimeError) as error:
            smaller = one_lower(fitted, manager) if is_out_of_memory(error) and not retried else None
            if smaller is None:
                raise
        fitted, retried = smaller, True
        manager.evict()  # only here: the error, and all that hangs on it, is gone
        tools = replace(tools, finished=tools.finished | given)
        tools.tell(f"There was not enough memory. The job goes on in a way that needs less of it: {fitted.estimate.way.words}.")


def one_lower(failed: Fit, manager: ModelManager) -> Fit | None:
    """The next way after one that ran out of memory, or None when it was the last."""
    left = lower(failed.estimate.way, failed.tried)
    if not left:
        return None
    sizes = manager.sizes(failed.choice, failed.residence)
    made = estimate(sizes, failed.work, failed.estimate.room, left[:1])
    return replace(failed, estimate=made, tried=left, residence=replace(failed.residence, mode=made.way.mode), lowered=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out, on a GPU or on the CPU (whose error has no class of its own)."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
