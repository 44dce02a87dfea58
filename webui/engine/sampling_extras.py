"""Infotext fields of noise, schedules and samplers, as A1111 writes them: nearly all only when they differ from the default. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from webui.schema.generation import GenerationRequest
from webui.schema.settings import PictureSettings

if TYPE_CHECKING:
    from webui.engine.plan import Pass

Extras = tuple[tuple[str, object], ...]


def seed_extras(request: GenerationRequest, subseeds: tuple[int, ...]) -> Extras:
    """Variation seed (one per picture) and resize seed."""
    fields: list[tuple[str, object]] = []
    if subseeds:
        fields += [("Variation seed", subseeds), ("Variation seed strength", request.subseed_strength)]
    if request.seed_resize_from_w > 0 and request.seed_resize_from_h > 0:
        fields.append(("Seed resize from", f"{request.seed_resize_from_w}x{request.seed_resize_from_h}"))
    return tuple(fields)


def sampling_extras(part: Pass, settings: PictureSettings) -> Extras:
    """Fields of one pass and its settings, in A1111's order: those of its base line (the first pass's), of the schedule, of the sampler, of
    guidance."""
    base = () if part.enlarge else _base(part, settings)
    return (*base, *_schedule(part, settings), *_sampler(part, settings), *_guidance(part, settings))


def _eta(part: Pass, settings: PictureSettings) -> float:
    return settings.eta_ddim if part.sampler.face == "timestep" else settings.eta_ancestral


def _base(part: Pass, settings: PictureSettings) -> Iterator[tuple[str, object]]:
    if settings.eta_noise_seed_delta and part.sampler.uses_ensd and _eta(part, settings):
        yield "ENSD", settings.eta_noise_seed_delta
    if settings.randn_source != "GPU":
        yield "RNG", settings.randn_source


def _schedule(part: Pass, settings: PictureSettings) -> Iterator[tuple[str, object]]:
    if settings.sd_noise_schedule != "Default":
        yield "Noise Schedule", settings.sd_noise_schedule
    if settings.always_discard_next_to_last_sigma and not part.sampler.discard_next_to_last_sigma:
        yield "Discard penultimate sigma", True
    if part.sampler.face == "timestep":
        return
    spec = part.schedule
    if spec is not None and spec.function:
        if settings.sigma_min:
            yield "Schedule min sigma", settings.sigma_min
        if settings.sigma_max:
            yield "Schedule max sigma", settings.sigma_max
        if spec.default_rho is not None and settings.rho not in (0, spec.default_rho):
            yield "Schedule rho", settings.rho
        if spec.label == "Beta":
            yield "Beta schedule alpha", settings.beta_dist_alpha
            yield "Beta schedule beta", settings.beta_dist_beta
    if settings.sgm_noise_multiplier and part.strength is None:
        yield "SGM noise multiplier", True


def _sampler(part: Pass, settings: PictureSettings) -> Iterator[tuple[str, object]]:
    if part.strength is not None and settings.img2img_extra_noise:
        yield "Extra noise", settings.img2img_extra_noise
    if part.sampler.uses_eta:
        if part.sampler.face == "timestep" and settings.eta_ddim != 0:
            yield "Eta DDIM", settings.eta_ddim
        if part.sampler.face == "sigma" and settings.eta_ancestral != 1:
            yield "Eta", settings.eta_ancestral
    if part.sampler.uses_churn:
        for label, value in (("churn", settings.s_churn), ("tmin", settings.s_tmin), ("tmax", settings.s_tmax)):
            if value:
                yield f"Sigma {label}", value
    if part.sampler.uses_s_noise and settings.s_noise != 1:
        yield "Sigma noise", settings.s_noise


def _guidance(part: Pass, settings: PictureSettings) -> Iterator[tuple[str, object]]:
    """A1111 writes NGMS once it has left a negative prompt out: not with timestep samplers, whose timesteps stay above it, nor in a single call."""
    if part.cfg_rescale:
        yield "CFG Rescale phi", part.cfg_rescale
    if settings.skip_early_cond:
        yield "Skip Early CFG", settings.skip_early_cond
    calls = part.steps * (2 if part.sampler.second_order else 1)
    if settings.s_min_uncond and part.sampler.face == "sigma" and (settings.s_min_uncond_all or calls > 1):
        yield "NGMS", settings.s_min_uncond
        if settings.s_min_uncond_all:
            yield "NGMS all steps", True
