"""Upscalers at work: a function of a picture, or a network from a file, run as often as it takes (A1111's `Upscaler.upscale`)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from spandrel import ImageModelDescriptor

from webui.backend.image_models import ImageModels
from webui.backend.memory import Estimate, Upscaler, estimate_upscaler
from webui.backend.pipelines import AskedLarger, Pipeline, Pipelines
from webui.engine.course import load_function
from webui.engine.fitting import is_out_of_memory
from webui.engine.tiles import Floats, Pixels, Tiling, run_tiled
from webui.schema.errors import ModelError, WebuiError
from webui.schema.model import Checkpoint
from webui.schema.sampling import UpscalerSpec
from webui.schema.settings import PictureSettings

log = logging.getLogger(__name__)

ROUNDS = 3
"""An upscaler with a fixed factor is run at most so often, as in A1111."""

SMALLEST_TILE = 64
"""Pixels of a side; below that it is not tried when memory runs out."""

SIDES = 8
"""A pipeline enlarges tiles whose sides are multiples of this."""

SEED = 0
"""Of what a pipeline makes of a picture: the same every time."""

Tick = Callable[[int, int], None]
"""Hears how many tiles of how many are done; what it raises stops the work."""

Grow = Callable[[UpscalerSpec, Image.Image, float], Image.Image]
"""An upscaler, once: the picture comes back larger by the scale asked for, or by a factor of its own."""


def no_tick(done: int, count: int) -> None:
    """Nobody is watching."""


def grow_by_function(spec: UpscalerSpec, image: Image.Image, scale: float) -> Image.Image:
    """One run of an upscaler that is a function. Raises `WebuiError` when it is none or gives no picture."""
    upscale = cast(Callable[[Image.Image, float], Image.Image], load_function(spec.function or ""))
    image = upscale(image, scale)
    if not isinstance(image, Image.Image):
        raise WebuiError(f"The upscaler {spec.name} gave a {type(image).__name__} instead of a picture.", field="hr_upscaler")
    return image


def grow_fully(spec: UpscalerSpec, image: Image.Image, scale: float, grow: Grow = grow_by_function) -> Image.Image:
    """The picture `scale` times as large, in whole multiples of 8 as A1111 has it. Once more as long as it is too small; one that does not grow a
    picture is not asked again."""
    wanted = (int(image.width * scale // 8 * 8), int(image.height * scale // 8 * 8))
    for number in range(ROUNDS if spec.works_on_pictures else 0):
        if image.width >= wanted[0] and image.height >= wanted[1] and (number or scale != 1):
            break
        before = image.size
        image = grow(spec, image, scale)
        if image.size == before:
            break
    return image if image.size == wanted else image.resize((max(wanted[0], 8), max(wanted[1], 8)), Image.Resampling.LANCZOS)


class Enlarger:
    """Runs upscalers on one device."""

    def __init__(self, models: ImageModels) -> None:
        self._models = models
        self._pipelines = Pipelines(models.device)

    def grow(self, spec: UpscalerSpec, image: Image.Image, scale: float, settings: PictureSettings, tick: Tick = no_tick) -> Image.Image:
        """One run. Raises `ModelError` for a file that is of no use, and whatever `tick` raises."""
        if spec.pipeline is not None:
            made = self._by_pipeline(spec.pipeline, image, settings, tick)
        elif spec.file is not None:
            model = self._models.get(Path(spec.file))
            made = run_model(model, image, tiling_of(model, settings), tick)
        else:
            return grow_by_function(spec, image, scale)
        if image.mode == "RGBA":
            made.putalpha(image.getchannel("A").resize(made.size, Image.Resampling.LANCZOS))
        return made

    def trim(self) -> None:
        """The work is done: keep no more in memory than is allowed to stay."""
        self._models.trim()
        self._pipelines.evict()

    def measure(self, checkpoint: Checkpoint, size: tuple[int, int], settings: PictureSettings) -> Upscaler:
        """What an upscaler that is a pipeline takes for a picture of this size. Raises `ModelError` when its folder is not whole."""
        longest = max(size)
        tiles = [min(settings.x4_upscaler_tile or longest, max(longest, SMALLEST_TILE))]
        while (smaller := smaller_tile(tiles[-1])) >= SMALLEST_TILE:
            tiles.append(smaller)
        return self._pipelines.measure(checkpoint, size, tuple(tiles))

    def estimate(self, checkpoint: Checkpoint, size: tuple[int, int], settings: PictureSettings) -> Estimate:
        """How such an upscaler alone fits into what is free now. Raises `ModelError`."""
        upscaler = self.measure(checkpoint, size, settings)
        return estimate_upscaler(upscaler, self._pipelines.room_for(checkpoint, upscaler))

    def _by_pipeline(self, checkpoint: Checkpoint, image: Image.Image, settings: PictureSettings, tick: Tick) -> Image.Image:
        made = self.estimate(checkpoint, image.size, settings)
        log.info("%s %s", checkpoint.name, made.line)
        offload = self._models.device.device.type == "cuda" and not made.fits
        with torch.inference_mode(False), self._pipelines.lease(checkpoint, lambda: None, offload=offload) as pipeline:
            return run_pipeline(pipeline, image, settings if made.tile is None else settings.revise(x4_upscaler_tile=made.tile), tick)


def smaller_tile(size: int) -> int:
    """What is tried after tiles of this side: about half of it."""
    return size // 2 // SIDES * SIDES


def tiling_of(model: ImageModelDescriptor, settings: PictureSettings) -> Tiling:
    """A1111's tile settings of the kind of network; those of ESRGAN for all that have none of their own."""
    kind = {"SwinIR": "SWIN", "Swin2SR": "SWIN", "SCUNet": "SCUNET", "DAT": "DAT", "HAT": "DAT"}.get(str(model.architecture.id), "ESRGAN")
    return Tiling(getattr(settings, f"{kind}_tile"), getattr(settings, f"{kind}_tile_overlap"))


def run_model(model: ImageModelDescriptor, image: Image.Image, tiling: Tiling, tick: Tick = no_tick) -> Image.Image:
    """RGB → RGB, larger by the network's factor. When memory runs out it is tried with smaller tiles. Raises `ModelError`."""
    if model.input_channels not in (1, 3):
        raise ModelError(f"This network wants pictures of {model.input_channels} channels.", hint="Choose another upscaler.")
    pixels = np.asarray(image.convert("L" if model.input_channels == 1 else "RGB"))
    picture = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return Image.fromarray(
        _in_tiles_that_fit(lambda tiling: run_tiled(lambda tile: _call(model, tile), picture, model.scale, tiling, tick), tiling, max(image.size)),
    )


def run_pipeline(pipeline: Pipeline, image: Image.Image, settings: PictureSettings, tick: Tick = no_tick) -> Image.Image:
    """RGB → RGB, larger by the pipeline's factor; `tick` hears of every step of every tile. All tiles begin with their part of one noise, so that
    they make the same of what they share. When memory runs out it is tried with smaller tiles. Raises `ModelError`."""
    steps, factor = settings.x4_upscaler_steps, pipeline.factor
    asked = AskedLarger(steps, settings.x4_upscaler_noise_level, SEED + 1)
    pixels = np.asarray(image.convert("RGB"))
    high, wide = (-side % SIDES for side in pixels.shape[:2])
    pixels = np.pad(pixels, ((0, high), (0, wide), (0, 0)), "edge")
    noise = pipeline.noise(pixels.shape[0], pixels.shape[1], SEED).permute(1, 2, 0).numpy()
    picture = np.concatenate([pixels, noise], 2, dtype=np.float32)
    at = [0, 1]

    def next_tile(done: int, count: int) -> None:
        at[:] = done, count
        tick(done * steps, count * steps)

    def call(tile: Floats) -> Floats:
        part = Image.fromarray(tile[:, :, :3].astype(np.uint8))
        rest = torch.from_numpy(np.ascontiguousarray(tile[:, :, 3:].transpose(2, 0, 1)))
        return pipeline.enlarge(part, rest, asked, lambda step: tick(at[0] * steps + step, at[1] * steps)) * 255

    tiling = Tiling(settings.x4_upscaler_tile, settings.x4_upscaler_tile_overlap)
    made = _in_tiles_that_fit(lambda tiling: run_tiled(call, picture, factor, tiling, next_tile), tiling, max(image.size))
    return Image.fromarray(made).crop((0, 0, image.width * factor, image.height * factor))


def _in_tiles_that_fit(run: Callable[[Tiling], Pixels], tiling: Tiling, longest: int) -> Pixels:
    while True:
        try:
            return run(tiling)
        except (MemoryError, RuntimeError) as error:
            smaller = smaller_tile(tiling.size or longest)
            if not is_out_of_memory(error) or smaller < SMALLEST_TILE:
                raise
        log.warning("not enough memory for tiles of %d pixels; trying %d", tiling.size, smaller)
        tiling = Tiling(smaller, min(tiling.overlap, smaller // 8))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@torch.inference_mode()
def _call(model: ImageModelDescriptor, tile: Pixels) -> Floats:
    pixels = torch.from_numpy(np.ascontiguousarray(tile.transpose(2, 0, 1)))[None].to(model.device)
    made = model(pixels.to(model.dtype) / 255)[0].float()
    if not bool(torch.isfinite(made).all()):
        raise ModelError("The upscaler produced NaN (not a number) instead of a picture.", hint="Start with --no-half, or choose another upscaler.")
    return (made.expand(3, -1, -1) * 255).permute(1, 2, 0).cpu().numpy()
