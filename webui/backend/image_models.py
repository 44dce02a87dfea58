"""Networks that turn a picture into a picture (upscalers, face restorers): a file of weights becomes a module on the device.

spandrel knows the architectures by their tensors; the file is read by our own reader, so no pickle runs code. Knows no pictures and no requests.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError
from torch import Tensor

from webui.backend.device import Device
from webui.backend.layouts import stamp
from webui.backend.weights import open_weights
from webui.schema.errors import ModelError

if find_spec("spandrel_extra_arches"):
    from spandrel_extra_arches import install  # pyright: ignore[reportMissingImports]

    install(ignore_duplicates=True)

log = logging.getLogger(__name__)

WRAPPERS = ("params_ema", "params-ema", "params", "g_ema", "model_state_dict", "model", "net")
"""Under these names training programs keep the weights in their files, the averaged ones first."""

KEPT = 512 * 2**20
"""Bytes of modules that stay on the device when nobody uses them."""

LEAST_FREE = 2 * 2**30
"""With less free memory than this none stays."""

Key = tuple[str, float, int]


class ImageModels:
    """Loaded modules of one device, the one used last at the end."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._held: OrderedDict[Key, ImageModelDescriptor] = OrderedDict()

    def get(self, path: Path) -> ImageModelDescriptor:
        """The network of a file, loaded now or before. Raises `ModelError` when it cannot be read or is of no architecture that is known."""
        try:
            key = str(path), *stamp(path)
        except OSError as error:
            raise ModelError(f"{path.name} is not there any more.", hint="Choose another one.") from error
        if key not in self._held:
            with torch.inference_mode(False):  # who asks may be in it; what is loaded must be of use outside as well
                self._held[key] = load_image_model(path, self.device)
        self._held.move_to_end(key)
        return self._held[key]

    @property
    def held(self) -> int:
        """Bytes of all modules in memory."""
        return sum(_size(model) for model in self._held.values())

    def trim(self, budget: int | None = None) -> None:
        """Let go of what was used longest ago until the rest fits into `budget` bytes; without one into what may be kept."""
        if budget is None:
            budget = KEPT if self.device.memory[1] >= LEAST_FREE else 0
        count = len(self._held)
        while self._held and self.held > budget:
            self._held.popitem(last=False)
        if len(self._held) < count:
            self.device.free_memory()


def load_image_model(path: Path, device: Device) -> ImageModelDescriptor:
    """The network of a file on the device, in 16 bits where device and network compute in float16. Raises `ModelError`."""
    with open_weights(path) as weights:
        tensors = {key: weights.get(key) for key in weights.keys()}  # noqa: SIM118 (not a dict)
        model = _build(path, tensors)
    if not isinstance(model, ImageModelDescriptor):
        raise ModelError(f"{path.name} fills holes in pictures; it is no upscaler.", hint="Choose another file.")
    half = device.dtype is torch.float16 and model.supports_half
    log.info("loaded %s: %s, ×%d", path.name, model.architecture.name, model.scale)
    return model.to(device.device, torch.float16 if half else torch.float32).eval()


def _build(path: Path, tensors: dict[str, Tensor]) -> object:
    loader = ModelLoader("cpu")
    for candidate in _unwrapped(tensors):
        try:
            return loader.load_from_state_dict(candidate)  # copies: nothing of it hangs on the file
        except UnsupportedModelError:
            continue
        except (RuntimeError, KeyError, ValueError, TypeError, IndexError, AssertionError, AttributeError) as error:
            raise ModelError(f"{path.name} cannot be used: its weights do not fit together ({str(error)[:160]}).", hint="Get it again.") from error
    extra = "" if find_spec("spandrel_extra_arches") else " Some kinds (CodeFormer among them) need: pip install spandrel-extra-arches"
    raise ModelError(
        f"{path.name} is of a kind that Easel does not know.", hint=f"ESRGAN, RealESRGAN, SwinIR, DAT, HAT, SCUNet and others work.{extra}",
    )


def _unwrapped(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors as they are, then those below each wrapper."""
    yield tensors
    for name in WRAPPERS:
        inside = {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
        if inside:
            yield inside


def _size(model: ImageModelDescriptor) -> int:
    return sum(tensor.nbytes for tensor in (*model.model.parameters(), *model.model.buffers()))
