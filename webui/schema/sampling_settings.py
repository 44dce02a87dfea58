"""Settings of noise, schedules, samplers and guidance, under A1111's keys (ranges: its settings page). Part of `PictureSettings`: frozen into the
job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webui.schema.base import Frozen

Unit = Annotated[float, Field(ge=0, le=1)]


class SamplingSettings(Frozen):
    """What A1111 has on its pages "Sampler parameters" and "Optimizations", and some of "Compatibility"."""

    randn_source: Literal["GPU", "CPU", "NV"] = "GPU"
    """Where noise comes from: the device, the CPU, or the CPU computing what an NVIDIA GPU draws."""

    eta_noise_seed_delta: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0
    """ENSD: added to the seed for all noise but the first."""

    eta_ancestral: Unit = 1.0
    """Eta of ancestral and SDE samplers."""

    eta_ddim: Unit = 0.0
    """Eta of DDIM and DDIM CFG++."""

    s_churn: Annotated[float, Field(ge=0, le=100)] = 0.0
    s_tmin: Annotated[float, Field(ge=0, le=10)] = 0.0
    s_tmax: Annotated[float, Field(ge=0, le=999)] = 0.0
    """0 = no limit."""

    s_noise: Annotated[float, Field(ge=0, le=1.1)] = 1.0

    sigma_min: Annotated[float, Field(ge=0)] = 0.0
    """Least sigma of schedules that have a range; 0 = the model's."""

    sigma_max: Annotated[float, Field(ge=0)] = 0.0
    """Largest sigma of schedules that have a range; 0 = the model's."""

    rho: Annotated[float, Field(ge=0)] = 0.0
    """Rho of Karras (7) and Polyexponential (1); 0 = theirs."""

    beta_dist_alpha: Annotated[float, Field(ge=0.01, le=5)] = 0.6
    beta_dist_beta: Annotated[float, Field(ge=0.01, le=5)] = 0.6
    always_discard_next_to_last_sigma: bool = False
    sgm_noise_multiplier: bool = False
    """Begin from noise as strong as sqrt(1 + sigma^2) instead of sigma."""

    use_old_karras_scheduler_sigmas: bool = False
    """Schedules run from 10 to 0.1 (A1111 before 1.0)."""

    enable_quantization: bool = False
    """Round timesteps to whole ones in the k-diffusion samplers."""

    sd_noise_schedule: Literal["Default", "Zero Terminal SNR"] = "Default"

    uni_pc_variant: Literal["bh1", "bh2", "vary_coeff"] = "bh1"
    uni_pc_skip_type: Literal["time_uniform", "time_quadratic", "logSNR"] = "time_uniform"
    uni_pc_order: Annotated[int, Field(ge=1, le=50)] = 3
    uni_pc_lower_order_final: bool = True

    s_min_uncond: Annotated[float, Field(ge=0, le=15)] = 0.0
    """NGMS: below this sigma the negative prompt is left out of every other step."""

    s_min_uncond_all: bool = False
    """… out of every step."""

    skip_early_cond: Unit = 0.0
    """The negative prompt is left out of this share of the first steps."""

    img2img_fix_steps: bool = False
    """In img2img do exactly as many steps as the slider says."""

    img2img_extra_noise: Unit = 0.0
    """Noise added to the picture once more before img2img."""
