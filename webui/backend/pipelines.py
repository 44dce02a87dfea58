"""The second tier: a diffusers folder of a family that is none of ours, run by its own pipeline as it is. One is kept at a time.

What it does with prompts, noise and steps is its own: none of our samplers, prompt syntax or hooks is in it. Code that lies in the folder is never
run (`diffusers_folder` refuses it), and nothing is downloaded.
"""

from __future__ import annotations

import gc
import inspect
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from webui.backend.device import Device
from webui.backend.families.sd_folder import read_json
from webui.backend.headers import read_header
from webui.backend.layouts import State, state_of
from webui.backend.memory import PartSize, Room, Upscaler, room_of
from webui.schema.errors import ModelError
from webui.schema.model import Checkpoint

log = logging.getLogger(__name__)

FAILS = (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError, NotImplementedError)
"""What diffusers raises for folders that are not whole, and for calls that lack something."""


@dataclass(frozen=True)
class Asked:
    """One call: prompts, negative prompts and seeds, one a picture."""

    prompts: tuple[str, ...]
    negative_prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int
    cfg: float
    width: int
    height: int


@dataclass(frozen=True)
class AskedLarger:
    """How an upscaler is called. `noise_level`: how much noise is laid over the picture that it sees."""

    steps: int
    noise_level: int
    seed: int


class Pipeline:
    """A loaded pipeline and what it can be told."""

    def __init__(self, checkpoint: Checkpoint, loaded: Any) -> None:
        self._checkpoint = checkpoint
        self._loaded = loaded
        self._takes = inspect.signature(type(loaded).__call__).parameters
        needed = [name for name, one in self._takes.items() if one.default is inspect.Parameter.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
        lacking = [name for name in needed if name not in ("self", "prompt")]
        if "prompt" not in self._takes or lacking:
            what = f"needs {' and '.join(lacking)}" if lacking else "takes no prompt"
            raise ModelError(f"{checkpoint.name} {what}: its pipeline ({self.kind}) does not make pictures from text.", field="checkpoint",
                             hint="Choose another checkpoint.")

    @property
    def kind(self) -> str:
        """The pipeline's class."""
        return type(self._loaded).__name__

    def ignores(self, asked: Asked) -> list[str]:
        """What was asked for and cannot be told to it, in words."""
        sized = {"width", "height"} <= self._takes.keys()
        negative = any(asked.negative_prompts) and "negative_prompt" not in self._takes
        return [*([] if sized else ["the size"]), *(["the negative prompt"] if negative else [])]

    def draw(self, asked: Asked, on_step: Callable[[int], None]) -> list[Image.Image]:
        """The pictures. `on_step` hears the number of each finished step where the pipeline tells them; what it raises ends the call. Raises
        `ModelError` in the pipeline's words when it does not take the call."""
        told: dict[str, Any] = {
            "prompt": list(asked.prompts), "negative_prompt": list(asked.negative_prompts), "num_inference_steps": asked.steps,
            "guidance_scale": asked.cfg, "width": asked.width, "height": asked.height, "output_type": "pil",
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in asked.seeds],
        }

        def stepped(pipeline: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            on_step(step + 1)
            return values

        if "callback_on_step_end" in self._takes:
            told["callback_on_step_end"] = stepped
        try:
            result = self._loaded(**{name: value for name, value in told.items() if name in self._takes})
        except FAILS as error:
            raise ModelError(f"{self._checkpoint.name}: its pipeline ({self.kind}) refuses: {str(error)[:300]}", field="checkpoint",
                             hint="It may need a picture, or more than a prompt.") from error
        pictures = getattr(result, "images", None)
        if not isinstance(pictures, list) or not all(isinstance(one, Image.Image) for one in pictures):
            raise ModelError(f"{self._checkpoint.name}: its pipeline ({self.kind}) makes something else than pictures.", field="checkpoint")
        return pictures

    @property
    def factor(self) -> int:
        """How many times as large an upscaler makes a picture."""
        return 2 ** (len(self._loaded.vae.config.block_out_channels) - 1)

    def noise(self, height: int, width: int, seed: int) -> Tensor:
        """(channels, height, width) float32: what an upscaler begins a picture of this size with."""
        return torch.randn(self._loaded.vae.config.latent_channels, height, width, generator=torch.Generator().manual_seed(seed))

    def enlarge(self, image: Image.Image, noise: Tensor, asked: AskedLarger, on_step: Callable[[int], None]) -> NDArray[np.float32]:
        """(factor × height, factor × width, 3) in 0 … 1, of an RGB picture whose sides are multiples of the factor, and noise of its size. No prompt:
        the picture says what is to be seen. Raises `ModelError`, and whatever `on_step` does."""
        kind = self._loaded.unet.dtype
        try:
            made = self._loaded(
                prompt="", image=image, num_inference_steps=asked.steps, guidance_scale=1.0, noise_level=asked.noise_level,
                generator=torch.Generator("cpu").manual_seed(asked.seed), latents=noise[None].to(kind), output_type="np",
                callback=lambda step, timestep, latents: on_step(step + 1), callback_steps=1,
            ).images[0]
        except FAILS as error:
            what = f"{self._checkpoint.name}: its pipeline ({self.kind}) refuses: {str(error)[:300]}"
            raise ModelError(what, hint="Download its folder again.") from error
        if not np.isfinite(made).all():
            raise ModelError(f"{self._checkpoint.name} produced NaN (not a number) instead of a picture.", hint="Start with --no-half.")
        return made


class Pipelines:
    """The pipeline that is loaded, if one is. Used from the worker's thread."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._known: tuple[tuple[str, State], Pipeline] | None = None

    @contextmanager
    def lease(self, checkpoint: Checkpoint, loading: Callable[[], None], *, offload: bool = False) -> Iterator[Pipeline]:
        """The pipeline, loaded. `offload`: one part at a time on the GPU. Raises `ModelError`."""
        key = _key(checkpoint)
        if self._known is None or self._known[0] != key:
            self.evict()
            loading()
            self._known = key, Pipeline(checkpoint, self._load(checkpoint, offload))
        yield self._known[1]

    def measure(self, checkpoint: Checkpoint, size: tuple[int, int], tiles: tuple[int, ...]) -> Upscaler:
        """What an upscaler takes for a picture of this size in such tiles, told from its folder without loading it. Raises `ModelError`."""
        folder, each = Path(checkpoint.path), self.device.dtype.itemsize
        channels: dict[str, list[int]] = {}
        for name in ("unet", "vae"):
            found = read_json(folder / name / "config.json", checkpoint).get("block_out_channels")
            if not isinstance(found, list) or not found or not all(isinstance(one, int) for one in found):
                what = f"{checkpoint.name}: {name}/config.json does not say how large its blocks are."
                raise ModelError(what, field="checkpoint", hint="Download the folder again.")
            channels[name] = found
        weights = {name: sum(math.prod(shape) for shape in read_header(folder / name).shapes.values()) * each for name in checkpoint.parts}
        sizes = {name: PartSize(count, each, channels[name][0] if name in channels else 0) for name, count in weights.items()}
        return Upscaler(sizes, 2 ** (len(channels["vae"]) - 1), size, tiles)

    def room_for(self, checkpoint: Checkpoint, upscaler: Upscaler) -> Room:
        """The memory that this upscaler may take now; what it holds already counts as free."""
        total, free = self.device.memory
        held = upscaler.weights if self._known is not None and self._known[0] == _key(checkpoint) else 0
        return room_of(total, free + held, 0, self.device.device.type == "cuda")

    def evict(self) -> None:
        """Give its memory back."""
        if self._known is not None:
            log.info("letting go of %s", self._known[1].kind)
            self._known = None
            gc.collect()
            self.device.free_memory()

    def _load(self, checkpoint: Checkpoint, offload: bool) -> Any:
        kind = getattr(diffusers, checkpoint.variant, None)
        if not (inspect.isclass(kind) and issubclass(kind, DiffusionPipeline)):
            raise ModelError(f"{checkpoint.name} wants {checkpoint.variant}, which the installed diffusers does not have.", field="checkpoint",
                             hint="A newer diffusers may have it.")
        try:
            loaded = kind.from_pretrained(checkpoint.path, torch_dtype=self.device.dtype, local_files_only=True)
        except FAILS as error:
            what = f"{checkpoint.name} cannot be loaded: {str(error)[:300]}"
            raise ModelError(what, field="checkpoint", hint="Download the folder again.") from error
        loaded.set_progress_bar_config(disable=True)
        if offload:
            loaded.enable_model_cpu_offload(device=self.device.device)
            return loaded
        return loaded.to(self.device.device)


def _key(checkpoint: Checkpoint) -> tuple[str, State]:
    return checkpoint.variant, state_of(Path(checkpoint.path))
