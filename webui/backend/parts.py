"""What a model is made of: parts (UNet, VAE, text encoders) that come from files, are loaded and let go one by one, and are put together again.

A family says which parts a checkpoint has (`ModelPlan`); the manager loads them and keeps them. Two checkpoints that name the same part of the same
file share it. Knows no family.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from webui.backend.blueprint import blueprint
from webui.backend.components import Components
from webui.backend.device import Device
from webui.backend.low_bits import numbers_within, packed, with_low_bits
from webui.backend.memory import PartSize, Storage
from webui.backend.offload import store_in_8_bits
from webui.backend.quantised import is_quantised
from webui.backend.transfer import Carry, carrier
from webui.backend.weights import Weights, open_weights
from webui.schema.errors import ModelError
from webui.schema.machine import MemoryMode
from webui.schema.model import Checkpoint, FileKind, ModelFile, Prediction


@dataclass(frozen=True)
class Source:
    """A file, or a folder that is one model, as it was when it was looked at."""

    path: str
    mtime: float
    size: int


class Shelf(Protocol):
    """Where parts are looked for that a checkpoint lacks."""

    def files(self, kind: FileKind) -> list[ModelFile]:
        """All files of this kind, sorted by name."""
        ...

    def folders(self, kind: FileKind) -> tuple[Path, ...]:
        """Where files of this kind lie."""
        ...

    def checkpoint(self, name: str) -> Checkpoint | None:
        """The checkpoint with this name or hash, None when there is none that can be used. Raises `RequestError` when several are called so."""
        ...


TABLE = 32 * 2**20
"""Bytes from which on a table of words stays in its file. A smaller one is not worth that the file stays mapped for it alone."""

ChoiceKey = tuple[Source, Source | None, Prediction | None, bool]


@dataclass(frozen=True, eq=False)
class ModelChoice:
    """What a run wants loaded: a checkpoint, and files that stand in for parts of it."""

    checkpoint: Checkpoint
    vae: ModelFile | None = None
    shelf: Shelf | None = None

    @property
    def key(self) -> ChoiceKey:
        """Equal for choices of the same files in the same state, understood in the same way."""
        return source_of(self.checkpoint), self.vae and source_of(self.vae), self.checkpoint.prediction, self.checkpoint.zero_snr


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

    dtype: Callable[[Device], torch.dtype] | None = None
    """What it computes in on a device, where that is not what everything does there."""

    prepare: Callable[[nn.Module, torch.dtype], None] = lambda module, dtype: None
    """Tells the module, before it has its weights, what it computes in: for weights that are stored otherwise."""


@dataclass(frozen=True)
class ModelPlan:
    """A checkpoint's parts, and how they become `Components` again."""

    parts: tuple[Part, ...]
    assemble: Callable[[Mapping[str, nn.Module], Device], Components]


Family = Callable[[ModelChoice], ModelPlan]
"""Plans a checkpoint of this family. Reads headers, loads nothing. Raises `ModelError` when the file lacks what the family needs."""


@dataclass(frozen=True)
class Residence:
    """How a model is kept: where its parts are, whether files are read whole, not mapped, and whether its denoiser's weights are stored in fewer bits
    than it computes in."""

    mode: MemoryMode = "high"
    storage: Storage | None = None
    whole: bool = False

    def storage_of(self, name: str) -> Storage | None:
        """How the weights of this part are stored; None = as it computes."""
        return self.storage if name in ("unet", "transformer") else None


HERE = Residence()
"""Everything on the device."""


class OpenFiles:
    """Files opened once for all parts that come from them, until the end of the `with`."""

    def __init__(self, whole: bool = False) -> None:
        self._whole = whole
        self._stack = ExitStack()
        self._files: dict[str, Weights] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self._files.clear()
        self._stack.close()

    def open(self, path: str) -> Weights:
        """The weights of a file. Raises `ModelError` when it cannot be read."""
        if path not in self._files:
            self._files[path] = self._stack.enter_context(open_weights(Path(path), whole=self._whole))
        return self._files[path]


def source_of(file: Checkpoint | ModelFile) -> Source:
    """The file as the catalog saw it."""
    return Source(file.path, file.mtime, file.size)


def dtype_of(part: Part, device: Device) -> torch.dtype:
    """What a part computes in on this device."""
    if part.dtype is not None:
        return part.dtype(device)
    return device.vae_dtype if part.name == "vae" else device.dtype


def build_part(part: Part) -> nn.Module:
    """The part's module on the meta device: names, shapes and dtypes without memory."""
    with blueprint():
        return part.build()


def size_of(module: nn.Module, dtype: torch.dtype) -> PartSize:
    """What a part takes when it computes in this dtype, told from its module wherever that is."""
    values = module.state_dict().values()
    weights = sum(value.nbytes if value.dtype == torch.uint8 else value.numel() * dtype.itemsize for value in values)
    if isinstance(module, SD3Transformer2DModel | FluxTransformer2DModel):
        few = any(map(is_quantised, module.modules()))
        return PartSize(weights, dtype.itemsize, tokens=module.inner_dim, packed=few, linear=numbers_within(module))
    channels = module.config["block_out_channels"] if isinstance(module, UNet2DConditionModel | AutoencoderKL) else (0,)
    return PartSize(weights, dtype.itemsize, channels[0], linear=numbers_within(module))


def load_part(part: Part, device: Device) -> nn.Module:
    """The module on the device, for whoever keeps it by themselves. Raises `ModelError`."""
    with OpenFiles() as opened:
        module = build_part(part)
        load_into(module, part, device, opened)
        return module


def load_into(module: nn.Module, part: Part, device: Device, opened: OpenFiles, residence: Residence = HERE) -> int:
    """Give a module of `build_part` its weights, in eval mode, without gradients: on the device, or in RAM when `residence` says that it comes there
    later. Returns the bytes that are not in a mapped file.

    On the CPU weights whose dtype is the one computed in stay in the mapped file, and so do large tables of words (docs/adr/0007). Raises
    `ModelError` when the file is gone, damaged, or lacks weights.
    """
    dtype, home = dtype_of(part, device), device.device if residence.mode == "high" else torch.device("cpu")
    weights, where, carry = part.read(opened.open(part.source.path)), f"{Path(part.source.path).name}: {part.name}", carrier(home)
    part.prepare(module, dtype)
    plain = not any(map(is_quantised, module.modules()))
    storage = residence.storage_of(part.name) if plain else None
    if storage in ("int8", "nf4"):
        weights = packed(with_low_bits(module, storage), weights, lambda weight: carry(weight, dtype))
    stay = _looked_up(module, weights, dtype) if plain and device.device.type == "cpu" and not residence.whole else frozenset()
    own = _fill(module, weights, carry, dtype, where, residence.whole, stay)
    part.finish(module, home)
    if storage == "fp8":
        store_in_8_bits(module, dtype)
    return own if storage is None else sum(value.nbytes for value in module.state_dict().values())


def same_content(part: Part, module: nn.Module, dtype: torch.dtype, opened: OpenFiles) -> bool:
    """Whether loading the part, to compute in this dtype, would give just this module. A few numbers of each weight are compared first, so that other
    weights cost little."""
    held, own = module.state_dict(), part.read(opened.open(part.source.path))
    if any(key not in own or own[key].shape != value.shape for key, value in held.items()):
        return False

    def agree(key: str, count: int | None) -> bool:
        there = held[key].flatten()[:count]
        if there.dtype.itemsize > 1:
            there = there.to(torch.promote_types(there.dtype, dtype))  # a table that stays in its file is not in the dtype computed in
        found = own[key].flatten()[:count].to(there.device, there.dtype)
        return torch.equal(found.view(torch.uint8), there.view(torch.uint8)) if there.dtype.itemsize == 1 else torch.equal(found, there)

    return all(agree(key, 16) for key in held) and all(agree(key, None) for key in held)


def _looked_up(module: nn.Module, weights: Mapping[str, Tensor], dtype: torch.dtype) -> frozenset[str]:
    """Large tables of words of 16 bits that would have to be cast, by the names of their weights. A prompt reads a few rows: from now on only those
    are cast, when they are read, to the same bits."""
    tables = {f"{path}.weight": layer for path, layer in module.named_modules() if isinstance(layer, nn.Embedding)}
    kinds = {torch.float16, torch.bfloat16} - {dtype}
    found = frozenset(key for key in tables if key in weights and weights[key].dtype in kinds and weights[key].nbytes >= TABLE)
    for key in found:
        tables[key].register_forward_hook(lambda table, words, rows: rows.to(dtype))
    return found


def _fill(
    module: nn.Module, weights: dict[str, Tensor], carry: Carry, dtype: torch.dtype, where: str, copy: bool, stay: Collection[str] = (),
) -> int:
    """Weights named in `stay` are taken as they are. Returns the bytes that were copied."""
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
    ready, own = dict[str, Tensor](), 0
    for key in expected:
        weight = weights.pop(key)
        if key in stay:
            there = weight
        else:
            there = _carry_bytes(weight, carry) if expected[key].dtype == torch.uint8 else carry(weight, dtype)
        same = there.data_ptr() == weight.data_ptr()
        if copy and same:
            there = there.clone()  # else one tensor would keep the whole file that was read in memory
        own += 0 if same and not copy else there.nbytes
        ready[key] = there
    module.load_state_dict(ready, strict=True, assign=True)
    module.requires_grad_(False).eval()
    return own


def _carry_bytes(weight: Any, carry: Carry) -> Tensor:
    """Quantised weights stay bytes; ggml's are of diffusers' class that says how they are packed."""
    if not hasattr(weight, "quant_type"):
        return weight if weight.device.type != "cpu" else carry(weight, torch.uint8)
    return type(weight)(carry(weight.as_tensor(), torch.uint8), quant_type=weight.quant_type)


def load_model(plan: ModelPlan, device: Device) -> Components:
    """All parts of a plan, put together; nobody keeps them."""
    return plan.assemble({part.name: load_part(part, device) for part in plan.parts}, device)
