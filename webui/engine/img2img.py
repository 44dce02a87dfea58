"""What a request for img2img means before any pixel is seen: the size that is worked on, the passes, what is refused, the infotext (a1111-contract
§4). Needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.schema.errors import RequestError
from webui.schema.generation import SIDE_LIMIT
from webui.schema.img2img import Img2Img
from webui.schema.model import Checkpoint
from webui.schema.sampling import SamplerSpec, UpscalerSpec
from webui.schema.settings import PictureSettings

if TYPE_CHECKING:
    from webui.plugins.registry import Registries

CELL, LEAST_SIDE = 8, 64
Extras = tuple[tuple[str, object], ...]

INIT_HASH = "Init image hash"
"""Key of the line: what the picture it began with is saved under."""

SOFT_KEYS = {
    "soft_power": "Soft inpainting schedule bias", "soft_scale": "Soft inpainting preservation strength",
    "soft_detail": "Soft inpainting transition contrast boost", "soft_influence": "Soft inpainting mask influence",
    "soft_threshold": "Soft inpainting difference threshold", "soft_contrast": "Soft inpainting difference contrast",
}  # fmt: skip
"""Field → key of the line, in A1111's order."""


@dataclass(frozen=True)
class Begin:
    """How a pass begins with the picture of its request. `upscaler`: what enlarges pictures on the way; None = Lanczos."""

    request: Img2Img
    upscaler: UpscalerSpec | None = None

    @property
    def pixels(self) -> int:
        """Of the picture as it is encoded, where that is its own size."""
        image = self.request.image
        return image.width * image.height if image is not None and self.request.resize_mode == "Just resize (latent upscale)" else 0


def size_of(request: Img2Img) -> tuple[int, int]:
    """Pixels that are worked on: a multiple of 8, as the latents are."""
    if not request.resize_by or request.image is None:
        return request.width, request.height
    width, height = (int(side * request.resize_by) // CELL * CELL for side in (request.image.width, request.image.height))
    return width, height


def upscaler_of(settings: PictureSettings, registries: Registries) -> UpscalerSpec | None:
    """The upscaler that the settings name. Raises `RequestError` when there is none of this name."""
    name, field = settings.upscaler_for_img2img, "settings.upscaler_for_img2img"
    found = None if name in ("", "None") else registries.upscalers.get(name, field=field)
    if found is not None and found.latent_mode is not None:
        raise RequestError(f"{name} enlarges latents, not pictures.", field=field, hint="Take an upscaler for pictures, such as Lanczos.")
    return found


def check_source(request: Img2Img, sampler: SamplerSpec, settings: PictureSettings) -> None:
    """Raises `RequestError` at the field that makes the run impossible. Looks at no pixel."""
    if request.batch is None:  # those of a folder are looked at when it is their turn
        _check_pictures(request)
    _check_steps(request, sampler, settings)


def _check_pictures(request: Img2Img) -> None:
    image = request.image
    if image is None:
        raise RequestError("There is no picture to begin with.", field="image", hint="Drop one on the canvas, or open a file.")
    if request.mode in ("inpaint", "inpaint_upload") and request.mask is None:
        hint = "Paint over what is to be replaced." if request.mode == "inpaint" else "Open a mask: white is what is to be replaced."
        raise RequestError("There is no mask.", field="mask", hint=hint)
    if request.mode == "inpaint_sketch" and request.colour is None:
        raise RequestError("Nothing is painted.", field="colour", hint="Paint with colour over what is to be replaced.")
    layers = (("mask", "mask", request.mask if request.masked else None), ("colour", "layer of colour", request.colour if request.painted else None))
    for name, noun, ref in layers:
        if ref is not None and (ref.width, ref.height) != (image.width, image.height):
            raise RequestError(
                f"The {noun} has {ref.width}×{ref.height} pixels, the picture {image.width}×{image.height}.",
                field=name, hint="Both must have the same size.",
            )
    width, height = size_of(request)
    if min(width, height) < LEAST_SIDE or max(width, height) > SIDE_LIMIT:
        raise RequestError(
            f"The result would have {width}×{height} pixels; sides from {LEAST_SIDE} to {SIDE_LIMIT} are possible.", field="resize_by",
            hint="Take another factor, or say width and height.",
        )
    if request.resize_mode == "Just resize (latent upscale)" and min(image.width, image.height) < CELL:
        raise RequestError("The picture is too small to have latents.", field="resize_mode", hint="Take another resize mode.")


def _check_steps(request: Img2Img, sampler: SamplerSpec, settings: PictureSettings) -> None:
    """With exact steps the whole schedule has steps / strength of them."""
    if not settings.img2img_fix_steps:
        return
    longest = 1000 if sampler.face == "timestep" else 100_000
    if request.denoising_strength * longest < request.steps:
        least = math.ceil(request.steps / longest * 100) / 100
        raise RequestError(
            f"A denoising strength of {request.denoising_strength:g} cannot be spread over exactly {request.steps} steps.",
            field="denoising_strength", hint=f"Take {max(least, 0.01):g} or more, or switch img2img_fix_steps off.",
        )


def source_extras(request: Img2Img, checkpoint: Checkpoint, settings: PictureSettings) -> Extras:
    """A1111's fields in its order; `Resize mode` is Easel's own."""
    fields: list[tuple[str, object]] = []
    if request.soft:
        fields.append(("Soft inpainting enabled", True))
        fields += [(key, getattr(request, name)) for name, key in SOFT_KEYS.items()]
    fields.append(("Denoising strength", request.denoising_strength))
    if checkpoint.variant == "edit":
        fields.append(("Image CFG scale", request.image_cfg_scale))
    if checkpoint.variant == "inpainting":
        fields.append(("Conditional mask weight", settings.inpainting_mask_weight))
    if request.masked:
        fields += _mask_extras(request)
    if settings.initial_noise_multiplier != 1.0:
        fields.append(("Noise multiplier", settings.initial_noise_multiplier))
    if request.resize_mode != "Just resize":
        fields.append(("Resize mode", request.resize_mode))
    return tuple(fields)


def _mask_extras(request: Img2Img) -> Extras:
    fields = (
        ("Mask mode", "Inpaint not masked" if request.inpainting_mask_invert else None),
        ("Mask blur", request.mask_blur or None),
        ("Inpaint area", "Only masked" if request.inpaint_full_res else None),
        ("Masked area padding", request.inpaint_full_res_padding if request.inpaint_full_res else None),
        ("Masked content", None if request.inpainting_fill == "original" else request.inpainting_fill),
    )
    return tuple((key, value) for key, value in fields if value is not None)
