"""The arithmetic of "Hires. fix" (a1111-contract §5): sizes of both passes, what is refused, what the infotext says, what it costs. Needs no
torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from webui.plugins.registry import Registries
from webui.schema.errors import RequestError
from webui.schema.generation import SIDE_LIMIT, Hires, Txt2Img
from webui.schema.request import PictureRequest
from webui.schema.settings import PictureSettings

CELL = 8
"""Pixels per latent cell, each way."""

LEAST_SIDE = 64
LONGEST_SCHEDULE = 100_000
"""Steps of the whole schedule of which the second pass does the end: steps / denoising strength."""

Size = tuple[int, int]


@dataclass(frozen=True)
class HiresSize:
    """Sizes in pixels, (width, height)."""

    first: Size
    target: Size
    """What the picture of the first pass is enlarged to; need not be a multiple of 8, the latents then round down."""

    cut: Size = (0, 0)
    """Latent cells that are taken away after that, in all: half of them on each side, the odd one right and below."""

    resize: Size | None = None
    """`Hires resize` of the infotext; None: the scale counted."""

    @property
    def final(self) -> Size:
        """Of the finished picture."""
        width, height = (side // CELL - cut for side, cut in zip(self.target, self.cut, strict=True))
        return width * CELL, height * CELL


def hires_size(width: int, height: int, hires: Hires, *, old: bool = False) -> HiresSize:
    """Sizes of both passes. `old`: A1111's option `use_old_hires_fix_width_height`; width and height are then those of the finished picture."""
    wide, high = hires.hr_resize_x, hires.hr_resize_y
    if old:
        (wide, high), (width, height) = (width, height), first_pass_size(width, height)
    if not wide and not high:
        return HiresSize((width, height), (int(width * hires.hr_scale), int(height * hires.hr_scale)))
    if not high:
        return HiresSize((width, height), (wide, wide * height // width), resize=(wide, 0))
    if not wide:
        return HiresSize((width, height), (high * width // height, high), resize=(0, high))
    target = (wide, wide * height // width) if width / height < wide / high else (high * width // height, high)
    return HiresSize((width, height), target, ((target[0] - wide) // CELL, (target[1] - high) // CELL), (wide, high))


def first_pass_size(width: int, height: int) -> Size:
    """The first pass of A1111's oldest hires fix: about 512² pixels, sides in multiples of 64."""
    scale = math.sqrt(512 * 512 / (width * height))
    return math.ceil(scale * width / 64) * 64, math.ceil(scale * height / 64) * 64


def size_of(request: Txt2Img, settings: PictureSettings) -> HiresSize:
    """Sizes of a request's passes. The old rule chooses the first pass itself, so it means nothing for a picture that stands for it."""
    old = settings.use_old_hires_fix_width_height and request.firstpass_image is None
    return hires_size(request.width, request.height, request, old=old)


def check_hires(request: Txt2Img, registries: Registries, settings: PictureSettings) -> None:
    """Raises `RequestError` at the field that makes the second pass impossible. Nothing is looked at when it is off."""
    picture = request.firstpass_image
    if not request.enable_hr:
        if picture is not None:
            raise RequestError("A picture for the first pass needs the second pass.", field="firstpass_image", hint="Switch enable_hr on.")
        return
    registries.upscalers.get(request.hr_upscaler, field="hr_upscaler")
    sampler = registries.samplers.get(request.hr_sampler or request.sampler, field="hr_sampler" if request.hr_sampler else "sampler")
    if request.hr_scheduler:
        registries.schedulers.get(request.hr_scheduler, field="hr_scheduler")
    steps = request.hr_second_pass_steps or request.steps
    longest = 1000 if sampler.face == "timestep" else LONGEST_SCHEDULE
    if request.denoising_strength * longest < steps:
        least = math.ceil(steps / longest * 100) / 100
        raise RequestError(
            f"A denoising strength of {request.denoising_strength:g} is too little for {steps} steps of {sampler.name}.", field="denoising_strength",
            hint=f"Take {least:g} or more." if least <= 1 else "Take fewer hires steps.",
        )
    if picture is not None and (picture.width, picture.height) != (request.width, request.height):
        raise RequestError(
            f"The picture for the first pass has {picture.width}×{picture.height} pixels, not {request.width}×{request.height}.",
            field="firstpass_image", hint="Set width and height to its size.",
        )
    _check_size(request, size_of(request, settings))


def hires_extras(
    request: Txt2Img, size: HiresSize, prompts: tuple[str | None, str | None], label: str | None, checkpoint: str | None = None,
    distilled: float | None = None,
) -> tuple[tuple[str, object], ...]:
    """A1111's fields of the second pass in its order, and Forge's CFG scales. `prompts`: those of the second pass where they differ from the first's;
    `label`: its schedule where it differs; so with `checkpoint` and `distilled`."""
    fields = (
        ("Denoising strength", request.denoising_strength),
        ("Hires checkpoint", checkpoint),
        ("Hires sampler", request.hr_sampler if request.hr_sampler != request.sampler else None),
        ("Hires prompt", prompts[0]),
        ("Hires negative prompt", prompts[1]),
        ("Hires schedule type", label),
        ("Hires CFG Scale", request.hr_cfg if request.hr_cfg != request.cfg_scale else None),
        ("Hires Distilled CFG Scale", distilled),
        ("Hires upscale", request.hr_scale if size.resize is None else None),
        ("Hires resize", f"{size.resize[0]}x{size.resize[1]}" if size.resize else None),
        ("Hires steps", request.hr_second_pass_steps),
        ("Hires upscaler", request.hr_upscaler),
    )
    return tuple((key, value) for key, value in fields if value or key == "Denoising strength" or (value is not None and key.endswith("prompt")))


def second_pass(request: PictureRequest) -> Txt2Img | None:
    """The request, when it asks for a second pass."""
    return request if isinstance(request, Txt2Img) and request.enable_hr else None


def cost_of(request: Txt2Img) -> float:
    """What a picture costs in steps of the first pass; a step of the second counts by its pixels."""
    if not request.enable_hr:
        return float(request.steps)
    wide, high = hires_size(request.width, request.height, request).final
    second = (request.hr_second_pass_steps or request.steps) * (wide * high) / (request.width * request.height)
    return second if request.firstpass_image else request.steps + second


def _check_size(request: Txt2Img, size: HiresSize) -> None:
    largest, least = max(*size.target, *size.final), min(size.final)
    if least >= LEAST_SIDE and largest <= SIDE_LIMIT:
        return
    if size.resize is None:
        field = "hr_scale"
    elif (size.resize == (request.width, request.height)) and not (request.hr_resize_x or request.hr_resize_y):
        field = "width"
    else:
        field = "hr_resize_x" if request.hr_resize_x else "hr_resize_y"
    raise RequestError(
        f"The second pass would have {size.target[0]}×{size.target[1]} pixels; sides from {LEAST_SIDE} to {SIDE_LIMIT} are possible.", field=field,
        hint="Enlarge less." if largest > SIDE_LIMIT else "Enlarge more.",
    )
