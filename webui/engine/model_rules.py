"""What a kind of model asks of a request, beyond what the request's own fields allow. Pure; needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from webui.engine import img2img
from webui.engine.hires import second_pass, size_of
from webui.plugins.registry import Registries
from webui.schema.errors import RequestError
from webui.schema.generation import Txt2Img
from webui.schema.img2img import Img2Img
from webui.schema.model import Checkpoint
from webui.schema.request import PictureRequest
from webui.schema.settings import PictureSettings

PATCH = 16
"""Pixels of a side that a transformer sees as one token: 2 latent cells of 8."""

LONGEST = {("sd3", "medium"): 3072, ("sd3", "large-3.5"): 3072, ("sd3", "medium-3.5"): 6144}
"""Pixels of a side up to which a model knows places (`pos_embed_max_size` 192 or 384 in its published configuration)."""


def check_model(
    request: PictureRequest, checkpoint: Checkpoint, registries: Registries, settings: PictureSettings, others: Mapping[str, Checkpoint],
) -> None:
    """Raises `RequestError` at the field with which this checkpoint cannot make a picture. `others`: further checkpoints by the field that names
    them."""
    second = others.get("hr_checkpoint_name", checkpoint)
    if checkpoint.is_flow:
        _check_size(checkpoint, _first_size(request, settings))
        _check_sampler(checkpoint, request.sampler, "sampler", registries, settings)
    larger = second_pass(request)
    if larger is not None and second.is_flow:
        _check_size(second, _second_size(larger, settings))
        _check_sampler(second, larger.hr_sampler or request.sampler, "hr_sampler" if larger.hr_sampler else "sampler", registries, settings)
    _check_consistency(checkpoint, request.sampler, "sampler", registries)
    if larger is not None:
        _check_consistency(second, larger.hr_sampler or request.sampler, "hr_sampler" if larger.hr_sampler else "sampler", registries)
    for field, other in others.items():
        _check_other(request, checkpoint, field, other, registries)


def _first_size(request: PictureRequest, settings: PictureSettings) -> Iterator[tuple[str, int]]:
    larger = second_pass(request)
    if isinstance(request, Img2Img):
        width, height = img2img.size_of(request)
        yield from ((field if not request.resize_by else "resize_by", side) for field, side in (("width", width), ("height", height)))
        return
    width, height = size_of(larger, settings).first if larger is not None else (request.width, request.height)
    yield from (("width", width), ("height", height))


def _second_size(request: Txt2Img, settings: PictureSettings) -> Iterator[tuple[str, int]]:
    for name, side in zip(("hr_resize_x", "hr_resize_y"), size_of(request, settings).final, strict=True):
        yield name if getattr(request, name) else "hr_scale", side


def _check_size(checkpoint: Checkpoint, sides: Iterator[tuple[str, int]]) -> None:
    longest = LONGEST.get((checkpoint.family or "", checkpoint.variant))
    for field, side in sides:
        if side % PATCH:
            low = side // PATCH * PATCH
            factor = field in ("hr_scale", "resize_by")
            could = f"{low} or {low + PATCH}"
            way = f"Take another factor: {side} pixels could be {could}." if factor else f"Take {could}."
            raise RequestError(f"{checkpoint.name} makes pictures whose sides are multiples of {PATCH}, not {side} pixels.", field=field, hint=way)
        if longest is not None and side > longest:
            what = f"{checkpoint.name} makes pictures of up to {longest} pixels a side, not {side}."
            raise RequestError(what, field=field, hint="Take a smaller size.")


def _check_sampler(checkpoint: Checkpoint, name: str, field: str, registries: Registries, settings: PictureSettings) -> None:
    sampler = registries.samplers.get(name, field=field)
    if not sampler.flow:
        raise RequestError(
            f"{sampler.name} adds noise on its way, in a manner that {checkpoint.name} was not trained for.", field=field,
            hint="Take Euler, Heun, DPM++ 2M, DEIS, UniPC or another sampler that adds none.",
        )
    if sampler.uses_churn and settings.s_churn:
        what = f"Sigma churn adds noise in a manner that {checkpoint.name} was not trained for."
        raise RequestError(what, field="settings.s_churn", hint="Set it to 0.")


def _check_consistency(checkpoint: Checkpoint, name: str, field: str, registries: Registries) -> None:
    if checkpoint.prediction == "edm" and registries.samplers.get(name, field=field).consistency:
        what = f"{name} counts in timesteps, and {checkpoint.name} has noise levels of its own."
        raise RequestError(what, field=field, hint="Take Euler, DPM++ 2M or another sampler.")


def _check_other(request: PictureRequest, checkpoint: Checkpoint, field: str, other: Checkpoint, registries: Registries) -> None:
    """Latents mean something else for each of the flow families, and to EDM models: one model cannot go on with those of another."""
    levels = (checkpoint.prediction == "edm") != (other.prediction == "edm")
    if not levels and (checkpoint.family == other.family or not (checkpoint.is_flow or other.is_flow)):
        return
    larger = second_pass(request)
    handed_on = field == "refiner_checkpoint"
    if larger is not None and not handed_on:
        handed_on = registries.upscalers.get(larger.hr_upscaler, field="hr_upscaler").latent_mode is not None
    if handed_on:
        hint = "Choose one of the same family." if field == "refiner_checkpoint" else "Choose an upscaler that works on pictures, or the same family."
        what = f"{other.name} cannot go on with what {checkpoint.name} began: they are of different {'kinds' if levels else 'families'}."
        raise RequestError(what, field=field, hint=hint)
