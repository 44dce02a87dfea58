"""What a model is made of: parts (UNet, VAE, text encoders) that come from files, are loaded and let go one by one, and are put together again.

A family says which parts a checkpoint has (`ModelPlan`); the manager loads them and keeps them. Two checkpoints that name the same part of the same
file share it. Knows no family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from webui.backend.components import Components
from webui.backend.device import Device
from webui.backend.weights import Weights, open_weights
from webui.schema.errors import ModelError
from webui.schema.model import Checkpoint, ModelFile


@dataclass(frozen=True)
class Source:
    """A file, or a folder that is one model, as it was when it was looked at."""

    path: str
    mtime: float
    size: int


@dataclass(frozen=True, eq=False)
class ModelChoice:
    """What a run wants loaded: a checkpoint, and files that stand in for parts of it."""

    checkpoint: Checkpoint
    vae: ModelFile | None = None

    @property
    def key(self) -> tuple[Source | None, ...]:
        """Equal for choices of the same files in the same state."""
        return source_of(self.checkpoint), self.vae and source_of(self.vae)


@dataclass(frozen=True)
class Part:
    """One module of a model and where it comes from."""

    name: str
    """`unet`, `transformer`, `vae`, `text_encoder`, `text_encoder_2`, `text_encoder_3`: diffusers' names."""

    source: Source
    build: Callable[[], nn.Module]
    """Makes the module; called with the meta device as default, so it costs no memory."""

    read: Callable[[Weights], dict[str, Tensor]]
    """The part's tensors under the module's own names, out of the opened source: still mapped, not copied."""

    finish: Callable[[nn.Module, torch.device], None] = lambda module, device: None
    """Fills in what no file holds (position ids and the like)."""


@dataclass(frozen=True)
class ModelPlan:
    """A checkpoint's parts, and how they become `Components` again."""

    parts: tuple[Part, ...]
    assemble: Callable[[Mapping[str, nn.Module], Device], Components]


Family = Callable[[ModelChoice], ModelPlan]
"""Plans a checkpoint of this family. Reads headers, loads nothing. Raises `ModelError` when the file lacks what the family needs."""


def source_of(file: Checkpoint | ModelFile) -> Source:
    """The file as the catalog saw it."""
    return Source(file.path, file.mtime, file.size)


def dtype_of(name: str, device: Device) -> torch.dtype:
    """What a part computes in on this device."""
    return device.vae_dtype if name == "vae" else device.dtype


def load_part(part: Part, device: Device) -> nn.Module:
    """The module on the device, in eval mode, without gradients. Raises `ModelError` when the file is gone, damaged, or lacks weights."""
    with torch.device("meta"):
        module = part.build()
    path = Path(part.source.path)
    with open_weights(path) as weights:
        _fill(module, part.read(weights), device.device, dtype_of(part.name, device), f"{path.name}: {part.name}")
    part.finish(module, device.device)
    return module


def _fill(module: nn.Module, weights: dict[str, Tensor], device: torch.device, dtype: torch.dtype, where: str) -> None:
    expected = module.state_dict()
    missing = [key for key in expected if key not in weights]
    if missing:
        lacks = f"{where} lacks {len(missing)} weights, the first is {missing[0]}."
        raise ModelError(lacks, field="checkpoint", hint="The file is not a whole model of this family.")
    wrong = next((key for key in expected if expected[key].shape != weights[key].shape), None)
    if wrong:
        have, want = tuple(weights[wrong].shape), tuple(expected[wrong].shape)
        other = f"{where}: {wrong} has the shape {have} instead of {want}."
        raise ModelError(other, field="checkpoint", hint="The model has other sizes than its family.")
    # Always a copy: a module on the CPU that kept the file mapped would take the process down with it when somebody overwrites the file.
    ready = {key: weights.pop(key).to(device, dtype, copy=True) for key in expected}
    module.load_state_dict(ready, strict=True, assign=True)
    module.requires_grad_(False).eval()


def load_model(plan: ModelPlan, device: Device) -> Components:
    """All parts of a plan, put together; nobody keeps them."""
    return plan.assemble({part.name: load_part(part, device) for part in plan.parts}, device)
