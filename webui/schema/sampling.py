"""Samplers and noise schedules as data: names, aliases and flags (a1111-contract §3). The functions behind them live in the engine and are
named here by import path, so that lists, checks and plans need no torch."""

from __future__ import annotations

from webui.schema.base import Frozen
from webui.schema.model import Checkpoint


class SamplerSpec(Frozen):
    """One entry of the sampler list."""

    name: str
    function: str
    """`module:function` of `sample(network, x, sigmas, noise, options, step) -> x` (see `engine.samplers`)."""

    aliases: tuple[str, ...] = ()
    face: str = "sigma"
    """Which face of the guided network it drives: `sigma` (k-diffusion: x0(x, sigma)) or `timestep` (DDIM, PLMS, UniPC: eps(x, t))."""

    scheduler: str | None = None
    """Schedule (short name) used for "Automatic"; None = the model's own sigmas."""

    second_order: bool = False
    """Two model calls a step: prompt-editing counts and progress double."""

    discard_next_to_last_sigma: bool = False
    uses_ensd: bool = False
    uses_eta: bool = False
    uses_churn: bool = False
    uses_s_noise: bool = False
    """Whether the settings s_churn, s_tmin, s_tmax, or s_noise mean anything to it."""

    brownian: bool = False
    """Its noise is a Brownian path: it gets `NoiseBetween`."""

    range_only: bool = False
    """It chooses its own sigmas between the model's ends (DPM fast, DPM adaptive)."""

    consistency: bool = False
    """It runs latent consistency models: the network's answers are scaled for them, and only every 20th timestep exists."""

    flow: bool = True
    """Whether it may run flow models. Not when it adds noise on its way as if a picture with noise were picture + sigma x noise."""

    cfg_divisor: float = 1.0
    """The CFG scale is divided by this (12.5 for CFG++)."""


class ScheduleSpec(Frozen):
    """One entry of the schedule list. `name` is A1111's short name (`karras`), `label` what lists show (`Karras`)."""

    name: str
    label: str
    function: str | None = None
    """`module:function` of `sigmas(n, sigma_min, sigma_max, model, **options) -> float32 tensor`; None = Automatic."""

    aliases: tuple[str, ...] = ()
    default_rho: float | None = None
    needs_model: bool = False
    settings: tuple[tuple[str, str], ...] = ()
    """(parameter of the function, settings key it is read from)."""


class UpscalerSpec(Frozen):
    """One entry of the upscaler list: a way to interpolate latents, a function that enlarges pictures, or the files of a network that does."""

    name: str
    function: str | None = None
    """`module:function` of `upscale(image, scale) -> image`, RGB; what it leaves undone is resized with Lanczos. None (and no mode): only that."""

    latent_mode: str | None = None
    """Mode of torch's `interpolate`: the second pass begins at the enlarged latents themselves."""

    antialias: bool = False
    file: str | None = None
    """Path of the network's weights."""

    pipeline: Checkpoint | None = None
    """A diffusers folder whose own pipeline enlarges pictures."""

    @property
    def works_on_pictures(self) -> bool:
        """Whether it has a way of its own to enlarge a picture."""
        return bool(self.function or self.file or self.pipeline)
