"""Settings of noise, schedules, samplers and guidance, under A1111's keys (ranges: its settings page). Part of `PictureSettings`: frozen into the
job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webui.schema.base import Frozen
from webui.schema.widgets import Checkbox, Dropdown, Number, Slider

Unit = Annotated[float, Field(ge=0, le=1)]


class SamplingSettings(Frozen):
    """What A1111 has on its pages "Sampler parameters" and "Optimizations", and some of "Compatibility"."""

    randn_source: Annotated[
        Literal["GPU", "CPU", "NV"],
        Dropdown(label="Source of noise", info="The device, the CPU, or the CPU computing what an NVIDIA GPU draws. It changes pictures."),
    ] = "GPU"
    eta_noise_seed_delta: Annotated[
        int, Field(ge=0, le=2**53 - 1),
        Number(label="Eta noise seed delta (ENSD)", info="Added to the seed for all noise but the first. Old NAI pictures want 31337.", precision=0),
    ] = 0
    eta_ancestral: Annotated[
        Unit, Slider(label="Eta of k-diffusion samplers", info="Noise of ancestral and SDE samplers; 0 = none.", minimum=0, maximum=1, step=0.01)
    ] = 1.0
    eta_ddim: Annotated[
        Unit, Slider(label="Eta of DDIM", info="Noise of DDIM and DDIM CFG++; 0 = none.", minimum=0, maximum=1, step=0.01)
    ] = 0.0
    s_churn: Annotated[
        float, Field(ge=0, le=100),
        Slider(label="Sigma churn", info="Noise that samplers with churn add in every step.", minimum=0, maximum=100, step=0.01),
    ] = 0.0
    s_tmin: Annotated[
        float, Field(ge=0, le=10), Slider(label="Sigma tmin", info="Churn only above this sigma.", minimum=0, maximum=10, step=0.01)
    ] = 0.0
    s_tmax: Annotated[
        float, Field(ge=0, le=999), Slider(label="Sigma tmax", info="Churn only below this sigma; 0 = no limit.", minimum=0, maximum=999, step=0.01)
    ] = 0.0
    s_noise: Annotated[
        float, Field(ge=0, le=1.1), Slider(label="Sigma noise", info="Strength of noise added in steps.", minimum=0, maximum=1.1, step=0.001)
    ] = 1.0
    sigma_min: Annotated[
        float, Field(ge=0), Number(label="Sigma min", info="Least sigma of schedules that have a range; 0 = the model's.")
    ] = 0.0
    sigma_max: Annotated[
        float, Field(ge=0), Number(label="Sigma max", info="Largest sigma of schedules that have a range; 0 = the model's.")
    ] = 0.0
    rho: Annotated[float, Field(ge=0), Number(label="Rho", info="Of the schedules Karras (7) and Polyexponential (1); 0 = theirs.")] = 0.0
    beta_dist_alpha: Annotated[
        float, Field(ge=0.01, le=5), Slider(label="Beta schedule: alpha", info="Lower: more steps at high noise.", minimum=0.01, maximum=5, step=0.01)
    ] = 0.6
    beta_dist_beta: Annotated[
        float, Field(ge=0.01, le=5), Slider(label="Beta schedule: beta", info="Lower: more steps at low noise.", minimum=0.01, maximum=5, step=0.01)
    ] = 0.6
    always_discard_next_to_last_sigma: Annotated[
        bool, Checkbox(label="Always discard the next-to-last sigma", info="Some samplers do so by themselves.")
    ] = False
    sgm_noise_multiplier: Annotated[
        bool, Checkbox(label="SGM noise multiplier", info="Begin from noise as strong as sqrt(1 + sigma²) instead of sigma.")
    ] = False
    uni_pc_variant: Annotated[
        Literal["bh1", "bh2", "vary_coeff"], Dropdown(label="UniPC variant", info="Form of B(h) in the paper.")
    ] = "bh1"
    uni_pc_skip_type: Annotated[
        Literal["time_uniform", "time_quadratic", "logSNR"], Dropdown(label="UniPC skip type", info="How UniPC spaces its steps.")
    ] = "time_uniform"
    uni_pc_order: Annotated[
        int, Field(ge=1, le=50), Slider(label="UniPC order", info="Must be less than the number of steps.", minimum=1, maximum=50, step=1)
    ] = 3
    uni_pc_lower_order_final: Annotated[bool, Checkbox(label="UniPC lower order final", info="Lower order in the last steps.")] = True
    sd_noise_schedule: Annotated[
        Literal["Default", "Zero Terminal SNR"],
        Dropdown(label="Noise schedule of the model", info="Zero Terminal SNR is for models that were trained with it; others make odd pictures."),
    ] = "Default"
    skip_early_cond: Annotated[
        Unit,
        Slider(
            label="No negative prompt in early steps", info="It is left out of this share of the first steps: faster, less of its effect.",
            minimum=0, maximum=1, step=0.01,
        ),
    ] = 0.0
    s_min_uncond: Annotated[
        float, Field(ge=0, le=15),
        Slider(
            label="Negative guidance minimum sigma", info="Below this sigma the negative prompt is left out of every other step; 0 = off.",
            minimum=0, maximum=15, step=0.01,
        ),
    ] = 0.0
    s_min_uncond_all: Annotated[
        bool, Checkbox(label="Negative guidance minimum sigma in all steps", info="Left out of every step below that sigma.")
    ] = False
    enable_quantization: Annotated[
        bool, Checkbox(label="Round timesteps", info="k-diffusion samplers ask the model only at whole timesteps.")
    ] = False
    use_old_karras_scheduler_sigmas: Annotated[
        bool, Checkbox(label="Old Karras sigmas", info="Schedules run from 10 to 0.1, as in A1111 before 1.0.")
    ] = False
