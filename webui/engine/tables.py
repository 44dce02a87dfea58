"""The built-in samplers and schedules as data, in A1111's order (a1111-contract §3). Needs no torch: lists, checks and plans read it."""

from __future__ import annotations

from webui.plugins.registry import Registries
from webui.schema.sampling import SamplerSpec, ScheduleSpec

SAMPLERS = (
    SamplerSpec(
        name="DPM++ 2M", function="webui.engine.samplers.dpmpp_2m:sample_dpmpp_2m", aliases=("k_dpmpp_2m",), scheduler="karras",
    ),
    SamplerSpec(
        name="Euler a", function="webui.engine.samplers.euler_ancestral:sample_euler_ancestral", aliases=("k_euler_a", "k_euler_ancestral"),
        uses_ensd=True, uses_eta=True,
    ),
    SamplerSpec(name="Euler", function="webui.engine.samplers.euler:sample_euler", aliases=("k_euler",)),
)

SCHEDULES = (
    ScheduleSpec(name="automatic", label="Automatic"),
    ScheduleSpec(name="uniform", label="Uniform", function="webui.engine.schedules:uniform", needs_model=True),
    ScheduleSpec(name="karras", label="Karras", function="webui.engine.schedules:karras", default_rho=7.0),
)


def register_tables(registries: Registries) -> None:
    """Put the built-in samplers and schedules into the registries."""
    for sampler in SAMPLERS:
        registries.add_sampler(sampler)
    for schedule in SCHEDULES:
        registries.add_scheduler(schedule)
