"""Step 2 of a pass, without the noise itself: which noise levels are visited, how strong the first noise is, with which knobs. Float32 on the CPU.

Everything here follows from the pass, the model's table and the settings (a1111-contract §3). Draws nothing, runs nothing.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from webui.backend.components import Components, Edm, Flow
from webui.engine.guidance import SkipRules
from webui.engine.plan import Pass, img2img_steps
from webui.engine.samplers.contract import SamplerOptions
from webui.engine.schedules import ConsistencyTable, EdmTable, FlowTable, SigmaTable, ddim_timesteps, zero_terminal_snr
from webui.schema.errors import RequestError, WebuiError
from webui.schema.settings import PictureSettings

OLD_RANGE = (0.1, 10.0)
"""sigma_min and sigma_max of `use_old_karras_scheduler_sigmas`."""


@dataclass(frozen=True)
class Course:
    """`levels` is what the sampler gets: falling sigmas, or rising timesteps. It begins at `signal` × picture + `spread` × noise."""

    levels: Tensor
    signal: float
    spread: float
    brownian_range: tuple[float, float]
    """Least positive and largest sigma of the whole schedule, also when img2img visits only its end."""

    total_calls: int
    """Network calls that A1111 reckons with, for "skip early CFG"."""


def make_table(
    alphas_cumprod: Tensor, part: Pass, settings: PictureSettings, *, sdxl: bool = False, zero_snr: bool = False, flow: Flow | None = None,
    edm: Edm | None = None,
) -> SigmaTable:
    """The model's noise table as this pass uses it. `zero_snr`: the model was trained with zero terminal SNR. With `flow` or `edm` nothing else
    counts."""
    if edm is not None:
        return EdmTable(edm.least, edm.most, edm.data, edm.karras, sdxl=sdxl)
    if flow is not None:
        return FlowTable(flow.shift, flow.even)
    if zero_snr or settings.sd_noise_schedule == "Zero Terminal SNR":
        alphas_cumprod = zero_terminal_snr(alphas_cumprod)
    if part.sampler.consistency:
        return ConsistencyTable(alphas_cumprod, sdxl=sdxl)
    return SigmaTable(alphas_cumprod, quantize=settings.enable_quantization, sdxl=sdxl)


def table_of(components: Components, part: Pass, settings: PictureSettings) -> SigmaTable:
    """`make_table` of a loaded model."""
    flow = components.flow(part.width, part.height) if components.flow else None
    return make_table(components.alphas_cumprod, part, settings, sdxl=components.sdxl, zero_snr=components.zero_snr, flow=flow, edm=components.edm)


def make_course(part: Pass, table: SigmaTable, settings: PictureSettings) -> Course:
    """The course of a pass. A flow model's pictures fade as noise comes in, so its signal is 1 - sigma. Raises `RequestError` when denoising
    strength 0 is to be spread over an exact number of steps."""
    flow = isinstance(table, FlowTable)
    steps, last = part.steps, part.steps - 1
    if part.strength is not None:
        steps, last = img2img_steps(part.steps, part.strength, exactly=part.exact_steps or settings.img2img_fix_steps)
        if steps < 1:
            raise RequestError(
                "A denoising strength of 0 cannot be spread over an exact number of steps.", field="denoising_strength",
                hint="Take a larger strength, or switch img2img_fix_steps off.",
            )
    calls = (last + 1) * (2 if part.sampler.second_order else 1)
    if part.sampler.face == "timestep":
        return _timestep_course(part, table, settings, steps, last, calls)
    schedule = make_sigmas(part, table, settings, steps)
    positive = schedule[schedule > 0]
    ends = (positive.min().item(), positive.max().item())
    if part.strength is not None:
        levels = schedule[max(steps - last - 1, 0) :]
        return Course(levels, 1 - levels[0].item() if flow else 1.0, levels[0].item(), ends, calls)
    first = schedule[0].item()
    spread = math.sqrt(1 + first**2) if settings.sgm_noise_multiplier and not flow else first
    if part.sampler.range_only:
        schedule = torch.cat([torch.linspace(table.sigma_max, table.sigma_min, part.steps), torch.zeros(1)])
        schedule[part.steps - 1] = table.sigma_min  # also when there is only one step
    return Course(schedule, 0.0, spread, ends, calls)


def make_sigmas(part: Pass, table: SigmaTable, settings: PictureSettings, steps: int | None = None) -> Tensor:
    """The whole schedule of a pass, nearly always `steps + 1` values. Samplers that want it ask for one more and drop the last but one."""
    discard = part.sampler.discard_next_to_last_sigma or settings.always_discard_next_to_last_sigma
    count = (part.steps if steps is None else steps) + discard
    spec = part.schedule
    if spec is None or not spec.function:
        sigmas = table.own(count)
    else:
        low, high = OLD_RANGE if settings.use_old_karras_scheduler_sigmas else (table.sigma_min, table.sigma_max)
        options = {parameter: getattr(settings, key) for parameter, key in spec.settings}
        if spec.default_rho is not None and settings.rho:
            options["rho"] = settings.rho
        sigmas = load_function(spec.function)(count, settings.sigma_min or low, settings.sigma_max or high, table, **options)
    return torch.cat([sigmas[:-2], sigmas[-1:]]) if discard else sigmas


def sampler_options(part: Pass, table: SigmaTable, settings: PictureSettings) -> SamplerOptions:
    """The knobs, each only where the sampler has it."""
    spec = part.sampler
    churn = {"s_churn": settings.s_churn, "s_tmin": settings.s_tmin, "s_tmax": settings.s_tmax or math.inf} if spec.uses_churn else {}
    return SamplerOptions(
        eta=settings.eta_ddim if spec.face == "timestep" else settings.eta_ancestral, s_noise=settings.s_noise if spec.uses_s_noise else 1.0,
        alphas_cumprod=table.alphas_cumprod, unipc_variant=settings.uni_pc_variant, unipc_skip_type=settings.uni_pc_skip_type,
        unipc_order=settings.uni_pc_order, unipc_lower_order_final=settings.uni_pc_lower_order_final,
        start_from_picture=part.strength is not None, **churn,
    )


def refiner_due(part: Pass, table: SigmaTable, course: Course) -> Callable[[Tensor, int], bool]:
    """When the refiner of a pass takes over, told from the level of a model call and the calls before it: by the nearest of the model's timesteps, or
    by the share of the calls (a1111-contract §3)."""
    refine = part.refine
    assert refine is not None

    def due(level: Tensor, calls: int) -> bool:
        if refine.by_steps:
            return calls / course.total_calls >= refine.at
        timestep = int(level) if part.sampler.face == "timestep" else int((table.sigmas - float(level)).abs().argmin())
        return (999 - timestep) / 1000 >= refine.at

    return due


def skip_rules(course: Course, settings: PictureSettings) -> SkipRules:
    """When this pass leaves the negative prompt out."""
    return SkipRules(settings.skip_early_cond, course.total_calls, settings.s_min_uncond, settings.s_min_uncond_all)


def load_function(path: str) -> Callable[..., Tensor]:
    """The function behind `module:name` of a sampler's, schedule's or upscaler's spec. Raises `WebuiError` when there is none."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise WebuiError(f"The function {path} of a sampler, schedule or upscaler cannot be found: {error}") from error


def _timestep_course(part: Pass, table: SigmaTable, settings: PictureSettings, steps: int, last: int, calls: int) -> Course:
    timesteps = ddim_timesteps(steps + settings.always_discard_next_to_last_sigma)
    ends = (table.sigma_min, table.sigma_max)
    if part.strength is None:
        return Course(timesteps, 0.0, 1.0, ends, calls)
    a = table.alphas_cumprod[timesteps[last]].item()
    return Course(timesteps[:last], math.sqrt(a), math.sqrt(1 - a), ends, calls)
