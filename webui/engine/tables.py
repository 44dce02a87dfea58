"""The built-in samplers, schedules and upscalers as data, in A1111's order, then Forge's (a1111-contract §3). Needs no torch: lists, checks and
plans read it."""

from __future__ import annotations

from typing import Any

from webui.backend.catalog import Catalog
from webui.backend.network_files import NetworkFiles
from webui.plugins.registry import Registries
from webui.schema.model import ENLARGES, PIPELINE
from webui.schema.sampling import SamplerSpec, ScheduleSpec, UpscalerSpec


def _sampler(name: str, function: str, *aliases: str, **flags: Any) -> SamplerSpec:
    return SamplerSpec(name=name, function=f"webui.engine.samplers.{function}", aliases=aliases, **flags)


def _schedule(name: str, label: str, function: str = "", **flags: Any) -> ScheduleSpec:
    return ScheduleSpec(name=name, label=label, function=f"webui.engine.{function}" if function else None, **flags)


_CHURN: Any = {"uses_churn": True, "uses_s_noise": True}
_ANCESTRAL: Any = {"uses_ensd": True, "uses_eta": True, "flow": False}
_SDE: Any = {"brownian": True, "uses_eta": True, "uses_s_noise": True, "flow": False}

A1111_SAMPLERS = (
    _sampler("DPM++ 2M", "dpmpp_2m:sample_dpmpp_2m", "k_dpmpp_2m", scheduler="karras"),
    _sampler("DPM++ SDE", "dpmpp_sde:sample_dpmpp_sde", "k_dpmpp_sde", scheduler="karras", second_order=True, **_SDE),
    _sampler("DPM++ 2M SDE", "dpmpp_2m_sde:sample_dpmpp_2m_sde", "k_dpmpp_2m_sde", scheduler="exponential", **_SDE),
    _sampler("DPM++ 2M SDE Heun", "dpmpp_2m_sde:sample_dpmpp_2m_sde_heun", "k_dpmpp_2m_sde_heun", scheduler="exponential", **_SDE),
    _sampler(
        "DPM++ 2S a", "dpmpp_2s_ancestral:sample_dpmpp_2s_ancestral", "k_dpmpp_2s_a", scheduler="karras", second_order=True, uses_s_noise=True,
        **_ANCESTRAL,
    ),
    _sampler(
        "DPM++ 3M SDE", "dpmpp_3m_sde:sample_dpmpp_3m_sde", "k_dpmpp_3m_sde", scheduler="exponential", discard_next_to_last_sigma=True, **_SDE,
    ),
    _sampler("Euler a", "euler_ancestral:sample_euler_ancestral", "k_euler_a", "k_euler_ancestral", **_ANCESTRAL),
    _sampler("Euler", "euler:sample_euler", "k_euler", **_CHURN),
    _sampler("LMS", "lms:sample_lms", "k_lms"),
    _sampler("Heun", "heun:sample_heun", "k_heun", second_order=True, **_CHURN),
    _sampler("DPM2", "dpm_2:sample_dpm_2", "k_dpm_2", scheduler="karras", discard_next_to_last_sigma=True, second_order=True, **_CHURN),
    _sampler(
        "DPM2 a", "dpm_2:sample_dpm_2_ancestral", "k_dpm_2_a", scheduler="karras", discard_next_to_last_sigma=True, second_order=True,
        uses_s_noise=True, **_ANCESTRAL,
    ),
    _sampler("DPM fast", "dpm_solver:sample_dpm_fast", "k_dpm_fast", range_only=True, uses_s_noise=True, **_ANCESTRAL),
    _sampler("DPM adaptive", "dpm_solver:sample_dpm_adaptive", "k_dpm_ad", range_only=True, **_ANCESTRAL),
    _sampler("Restart", "restart:sample_restart", "restart", scheduler="karras", second_order=True, flow=False),
    _sampler("DDIM", "ddim:sample_ddim", "ddim", face="timestep", uses_eta=True),
    _sampler("DDIM CFG++", "ddim:sample_ddim_cfgpp", "ddim_cfgpp", face="timestep", uses_eta=True, cfg_divisor=12.5),
    _sampler("PLMS", "plms:sample_plms", "plms", face="timestep"),
    _sampler("UniPC", "unipc:sample_unipc", "unipc", face="timestep"),
    _sampler("LCM", "lcm:sample_lcm", "k_lcm", consistency=True, flow=False),
)

FORGE_SAMPLERS = (
    _sampler("HeunPP2", "heunpp2:sample_heunpp2", "heunpp2", **_CHURN),
    _sampler("IPNDM", "ipndm:sample_ipndm", "ipndm"),
    _sampler("IPNDM_V", "ipndm:sample_ipndm_v", "ipndm_v"),
    _sampler("DEIS", "deis:sample_deis", "deis"),
    _sampler("DDPM", "ddpm:sample_ddpm", "ddpm", flow=False),
)

SAMPLERS = A1111_SAMPLERS + FORGE_SAMPLERS

A1111_SCHEDULES = (
    _schedule("automatic", "Automatic"),
    _schedule("uniform", "Uniform", "schedules:uniform", needs_model=True),
    _schedule("karras", "Karras", "schedules:karras", default_rho=7.0),
    _schedule("exponential", "Exponential", "schedules:exponential"),
    _schedule("polyexponential", "Polyexponential", "schedules:polyexponential", default_rho=1.0),
    _schedule("sgm_uniform", "SGM Uniform", "schedules:sgm_uniform", needs_model=True, aliases=("SGMUniform",)),
    _schedule("kl_optimal", "KL Optimal", "schedules:kl_optimal"),
    _schedule("align_your_steps", "Align Your Steps", "align_your_steps:align_your_steps"),
    _schedule("simple", "Simple", "schedules:simple", needs_model=True),
    _schedule("normal", "Normal", "schedules:normal", needs_model=True),
    _schedule("ddim", "DDIM", "schedules:ddim", needs_model=True),
    _schedule(
        "beta", "Beta", "schedules:beta", needs_model=True, settings=(("alpha", "beta_dist_alpha"), ("beta", "beta_dist_beta")),
    ),
)

FORGE_SCHEDULES = (
    _schedule("turbo", "Turbo", "schedules:turbo", needs_model=True),
    _schedule("align_your_steps_GITS", "Align Your Steps GITS", "align_your_steps:align_your_steps_gits"),
    _schedule("align_your_steps_11", "Align Your Steps 11", "align_your_steps:align_your_steps"),
    _schedule("align_your_steps_32", "Align Your Steps 32", "align_your_steps:align_your_steps_32"),
)

SCHEDULES = A1111_SCHEDULES + FORGE_SCHEDULES


UPSCALERS = (
    UpscalerSpec(name="Latent", latent_mode="bilinear"),
    UpscalerSpec(name="Latent (antialiased)", latent_mode="bilinear", antialias=True),
    UpscalerSpec(name="Latent (bicubic)", latent_mode="bicubic"),
    UpscalerSpec(name="Latent (bicubic antialiased)", latent_mode="bicubic", antialias=True),
    UpscalerSpec(name="Latent (nearest)", latent_mode="nearest"),
    UpscalerSpec(name="Latent (nearest-exact)", latent_mode="nearest-exact"),
    UpscalerSpec(name="None"),
    UpscalerSpec(name="Lanczos", function="webui.engine.upscalers:lanczos"),
    UpscalerSpec(name="Nearest", function="webui.engine.upscalers:nearest"),
)


def register_tables(registries: Registries) -> None:
    """Put the built-in samplers, schedules and upscalers into the registries."""
    for upscaler in UPSCALERS:
        registries.add_upscaler(upscaler)
    for sampler in SAMPLERS:
        registries.add_sampler(sampler)
    for schedule in SCHEDULES:
        registries.add_scheduler(schedule)


def found_upscalers(files: NetworkFiles, catalog: Catalog) -> dict[str, UpscalerSpec]:
    """Upscalers of the models folder: files, and diffusers folders that enlarge pictures. Of one name the file counts."""
    entries = catalog.checkpoints() if catalog.at_hand else ()
    return {
        entry.name: UpscalerSpec(name=entry.name, pipeline=entry) for entry in entries if (entry.family, entry.variant) == (PIPELINE, ENLARGES)
    } | file_upscalers(files)


def file_upscalers(files: NetworkFiles) -> dict[str, UpscalerSpec]:
    """The networks in the folders of upscalers, by the names of their files. What is in a file is seen when it is used."""
    return {entry.name: UpscalerSpec(name=entry.name, file=entry.path) for entry in files.files("upscaler")}
