"""The picture a run begins with, opened and prepared once for all its batches: what a pass starts from, what a model is shown of it, and how a result
becomes the finished picture. The steps themselves are `masking`, `steps.source` and `steps.composite`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from webui.backend.components import Components, View
from webui.engine.colour import correct_colours
from webui.engine.enlarging import Grow as Run
from webui.engine.enlarging import grow_by_function
from webui.engine.estimators import no_estimator
from webui.engine.faces import HardMask, Keeping
from webui.engine.framing import Fit, Grow, Size, stretch
from webui.engine.masking import MaskUse, Prepared, fill_transparent, flatten, frame_depth, prepare, sketch_mask, with_strokes
from webui.engine.painted import Open, check_painted, read_mask
from webui.engine.pixels import FACTOR
from webui.engine.plan import Enlarge, Pass, Plan
from webui.engine.rng import BatchNoise
from webui.engine.soft_inpainting import SoftMask, placed, shown_mask
from webui.engine.steps.composite import compose, mask_composite
from webui.engine.steps.source import Beginning, begin, shown_pixels
from webui.engine.steps.source import shown_mask as mask_shown_to_model
from webui.engine.steps.upscale import encode_image, upscale_image
from webui.engine.tools import Companion, RunTools
from webui.schema.img2img import Img2Img, ResizeMode
from webui.schema.model import Checkpoint
from webui.schema.sampling import UpscalerSpec
from webui.schema.settings import PictureSettings

FITS: dict[ResizeMode, Fit | None] = {
    "Just resize": "stretch", "Crop and resize": "cover", "Resize and fill": "fit", "Just resize (latent upscale)": None,
}
Estimate = Callable[[Checkpoint, Sequence[Image.Image]], Tensor]
"""The depth of pictures for a checkpoint; see `depth.DepthEstimator.estimate`."""


class Source:
    """See the module. `original` is the picture as it was given; `seeds` are those of a whole batch, from the first picture on; `depth` says how far
    things in it are, for a checkpoint that asks."""

    def __init__(
        self, part: Pass, prepared: Prepared, original: Image.Image, seeds: tuple[int, ...], settings: PictureSettings, *, grow: Grow = stretch,
        depth: Callable[[Checkpoint], Tensor] | None = None,
    ) -> None:
        assert part.begin is not None
        self.request, self.prepared, self.original, self._settings = part.begin.request, prepared, original, settings
        self.size: Size = (part.width, part.height)
        self._grow = grow
        self._depth = depth
        self._seeds = seeds
        self._rounded = not self.request.soft
        self._beginning: Beginning | None = None
        self._views: dict[str, Tensor | None] = {}

    @property
    def digest(self) -> str:
        """A1111's `Init image hash`: md5 of the pixels."""
        return hashlib.md5(self.original.tobytes(), usedforsecurity=False).hexdigest()

    def begin(self, components: Components) -> Beginning:
        """Where every batch begins; the picture is encoded once."""
        if self._beginning is None:
            shape = (components.latent_channels, self.size[1] // FACTOR, self.size[0] // FACTOR)

            def noise() -> Tensor:
                return BatchNoise(shape, self._seeds, components.device.device, source=self._settings.randn_source).draw()

            content = self.request.inpainting_fill
            self._beginning = begin(
                lambda image: encode_image(components, image), self.prepared, self.size, rounded=self._rounded, content=content, noise=noise,
            )
        return self._beginning

    def keeping(self, start: Beginning) -> Keeping | None:
        """How the rest of the picture is kept while the masked part is made; None where there is no mask."""
        if start.anew is None:
            return None
        return SoftMask(start.latents, start.anew, self.request) if self.request.soft else HardMask(start.latents, 1 - start.anew)

    def look(self, components: Components) -> Tensor | None:
        """What this model gets to see of the picture; see `Components.look`."""
        name = components.checkpoint.name
        if name not in self._views:
            width, height = self.size
            mask = mask_shown_to_model(self.prepared, self._rounded)
            pixels = shown_pixels(self.prepared, self.size)
            depth = self._depth(components.checkpoint) if self._depth and components.checkpoint.variant == "depth" else None
            view = View(height // FACTOR, width // FACTOR, pixels, mask, self._settings.inpainting_mask_weight, depth)
            self._views[name] = components.look(components.autoencoder, view)
        return self._views[name]

    def finish(self, result: Image.Image, latents: Tensor, number: int) -> tuple[Image.Image, tuple[Companion, ...]]:
        """The finished picture of a result (RGB, number `number` of its batch) and of the latents that it was decoded from."""
        settings, mask = self._settings, self.prepared.overlay_mask
        start = self._beginning
        if self.request.soft and start is not None and start.anew is not None and self.prepared.kept is not None:
            before = start.latents[min(number, len(start.latents) - 1)]
            shown = shown_mask(before, latents, start.anew[0, 0], self.request, self.size)
            mask = placed(shown, self.prepared.place, self.prepared.kept.size)
        laid = mask if settings.overlay_inpaint else None
        beside: list[Companion] = []
        if settings.img2img_color_correction:
            if settings.save_images_before_color_correction:
                beside.append(Companion("before-color-correction", compose(result, self.prepared, laid, self._grow).image))
            result = correct_colours(result, self.prepared.image, settings.color_correction_method)
        made = compose(result, self.prepared, laid, self._grow)
        if mask is not None:
            if settings.save_mask or settings.return_mask:
                beside.append(Companion("mask", mask.convert("RGB"), settings.save_mask, settings.return_mask))
            if settings.save_mask_composite or settings.return_mask_composite:
                composite = mask_composite(made.bare, mask)
                beside.append(Companion("mask-composite", composite, settings.save_mask_composite, settings.return_mask_composite))
        return made.image, tuple(beside)


def open_source(plan: Plan, tools: RunTools, run_upscaler: Run = grow_by_function, estimate: Estimate | None = None) -> Source | None:
    """The source of a plan that begins with a picture; `run_upscaler` runs an upscaler once, `estimate` sees depth. Raises `RequestError` when a
    picture cannot be used or nothing is masked."""
    part = plan.passes[0]
    if part.begin is None or part.begin.request.image is None:
        return None
    request, settings = part.begin.request, tools.settings
    original = tools.picture(part.begin.request.image, "image")
    grow = grow_with(part.begin.upscaler, run_upscaler)
    image, mask = lay(request, original, tools.picture, settings.img2img_background_color)
    use = MaskUse(
        (request.mask_blur, request.mask_blur), request.inpainting_mask_invert, not request.soft,
        request.inpaint_full_res_padding if request.inpaint_full_res else None, request.inpainting_fill != "original",
    )
    size, fit = (part.width, part.height), FITS[request.resize_mode]
    prepared = prepare(image, mask, size, fit, use, grow)
    assert prepared is not None  # `lay` refuses a mask with nothing in it

    def depth_of(checkpoint: Checkpoint) -> Tensor:
        if request.depth is not None:
            given = frame_depth(tools.picture(request.depth, "depth"), original.size, prepared.place, size, fit)
            return torch.from_numpy(np.asarray(given, dtype=np.float32))[None, None]
        if estimate is None:
            raise no_estimator(checkpoint)
        return estimate(checkpoint, [prepared.image])

    return Source(part, prepared, original, plan.seeds[: request.batch_size], settings, grow=grow, depth=depth_of)


def lay(request: Img2Img, image: Image.Image, open_image: Open, background: str) -> tuple[Image.Image, Image.Image | None]:
    """The picture (RGB) and the grey mask that the layers of a request give. Raises `RequestError` when nothing is masked."""
    colour = open_image(request.colour, "colour") if request.colour and request.painted else None
    if not request.masked:
        return flatten(image if colour is None else with_strokes(image, colour), background), None
    if request.mode == "inpaint_sketch":
        assert colour is not None  # `img2img.check_source`
        flat, mask = sketch_mask(flatten(image, background), colour, request.mask_alpha, request.mask_blur)
    else:
        assert request.mask is not None
        mask = read_mask(open_image(request.mask, "mask"), not request.soft)
        flat = fill_transparent(image, mask, background)
    check_painted(request, mask)
    return flat, mask


def grow_with(upscaler: UpscalerSpec | None, run_upscaler: Run = grow_by_function) -> Grow:
    """What enlarges pictures: an upscaler, or Lanczos' filter."""
    if upscaler is None:
        return stretch
    return lambda image, size: upscale_image(image, Enlarge(upscaler, *size, cut=(0, 0)), run_upscaler)
