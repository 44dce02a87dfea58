"""Tensors out of a file of weights, whatever its format. Knows no model: keys are the file's own.

Every file passes `headers.read_header` first, so that a damaged one is refused in words before torch sees it. safetensors and zip pickles are mapped:
a tensor is a view of the file, and whoever keeps one must copy it, because a process that reads a mapped file which somebody cut short dies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import numpy
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from webui.backend.formats import gguf, pickles, safetensors
from webui.backend.formats.contract import AGAIN, Header, reading, refusal
from webui.backend.formats.pickle_machine import Inert, Refused
from webui.backend.headers import file_format, read_header, weight_files

DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "U16": torch.uint16, "I32": torch.int32, "U32": torch.uint32,
    "I64": torch.int64, "U64": torch.uint64, "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu, "C64": torch.complex64,
}


class Weights(Protocol):
    """The tensors of a model, by the names in its file."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's own notes."""
        ...

    def keys(self) -> list[str]:
        """All names, in the file's order."""
        ...

    def shape(self, key: str) -> tuple[int, ...]:
        """Without reading the tensor. Raises `KeyError`."""
        ...

    def get(self, key: str) -> Tensor:
        """The tensor on the CPU in the file's dtype; a quantised one of a GGUF file as diffusers' `GGUFParameter`, which holds blocks of bytes.

        Raises `KeyError`, or `ModelError` when it cannot be read.
        """
        ...


class Wrapped:
    """Opened weights as they are; what is made of this changes what is read."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    @property
    def metadata(self) -> Mapping[str, str]:
        """See `Weights`; so with the others."""
        return self._weights.metadata

    def keys(self) -> list[str]:
        """All names."""
        return self._weights.keys()

    def shape(self, key: str) -> tuple[int, ...]:
        """Without reading."""
        return self._weights.shape(key)

    def get(self, key: str) -> Tensor:
        """The tensor."""
        return self._weights.get(key)


class _Source(Protocol):
    def get(self, key: str) -> Tensor: ...


class _Mapped:
    """A safetensors file through its own library: views of the mapped file."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        try:
            self._file: Any = stack.enter_context(safe_open(path, framework="pt"))
        except SafetensorError as error:
            raise refusal(path, f"cannot be read: {error}", AGAIN) from error

    def get(self, key: str) -> Tensor:
        return self._file.get_tensor(key)


class _Read:
    """A safetensors file read in one go: for disks where a mapping is slow."""

    def __init__(self, path: Path) -> None:
        with reading(path), path.open("rb") as file:
            size = path.stat().st_size
            table, data = safetensors.read_table(path, file, file.read(1024), size)
            file.seek(data)
            self._data = torch.from_numpy(numpy.fromfile(file, numpy.uint8))
        if len(self._data) != size - data:
            raise refusal(path, "was changed while it was read", "Try again.")
        self._table = table

    def get(self, key: str) -> Tensor:
        entry = self._table[key]
        first, last = entry["data_offsets"]
        dtype = DTYPES[entry["dtype"]]
        part = self._data[first:last]
        return (part.clone() if first % dtype.itemsize else part).view(dtype).view(entry["shape"])


class _Pickled:
    """A pickle through torch's restricted reader. What `read_header` found to be inert is inert here too; otherwise torch's own allow-list holds."""

    def __init__(self, path: Path, header: Header, mapped: bool) -> None:
        inert: list[Any] = [(Inert, name) for name in header.inert]
        try:
            with reading(path), torch.serialization.safe_globals(inert):
                value = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
            self._tensors: dict[str, Tensor] = pickles.tensors(value, Tensor)
        except Refused as reason:
            raise refusal(path, reason.what, reason.hint) from reason
        except (UnpicklingError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, EOFError, AssertionError) as error:
            raise refusal(path, f"cannot be read as a PyTorch file: {str(error)[:300]}", "Look for the same model as .safetensors.") from error

    def get(self, key: str) -> Tensor:
        return self._tensors[key].detach()


class _Quantised:
    """A GGUF file. Plain tensors are views of it; quantised ones are diffusers' `GGUFParameter`: the blocks as bytes, with their type."""

    def __init__(self, path: Path, header: Header, whole: bool) -> None:
        quantised = next((f"{kind} of {name}" for name, kind in header.dtypes.items() if kind not in DTYPES), None)
        if quantised and find_spec("gguf") is None:
            raise refusal(path, f"is quantised ({quantised}), which needs the package gguf", "Install it: pip install gguf")
        with reading(path), path.open("rb") as file:
            size = path.stat().st_size
            _, self._places = gguf.read_places(path, file, size)
            data = numpy.fromfile(path, numpy.uint8) if whole else numpy.memmap(path, numpy.uint8, "c")
        self._path, self._header, self._data = path, header, torch.from_numpy(data)

    def get(self, key: str) -> Tensor:
        place, kind = self._places[key], self._header.dtypes[key]
        part, shape = self._data[place.start:place.start + place.length], self._header.shapes[key]
        if kind in DTYPES:
            return (part.clone() if place.start % DTYPES[kind].itemsize else part).view(DTYPES[kind]).view(shape)
        from diffusers.quantizers.gguf.utils import SUPPORTED_GGUF_QUANT_TYPES, GGUFParameter

        known = next((item for item in SUPPORTED_GGUF_QUANT_TYPES if int(item) == place.type), None)
        if known is None:
            raise refusal(self._path, f"holds {key} as {kind}, which diffusers cannot unpack", "Choose a file quantised as Q8_0, Q6_K, Q5_K or Q4_K.")
        blocks = part.view(*shape[:-1], -1) if len(shape) > 1 else part
        return GGUFParameter(blocks, quant_type=known)  # pyright: ignore[reportCallIssue]


class _Files:
    """`Weights` over one file or several."""

    def __init__(self, header: Header, sources: list[tuple[Header, _Source]]) -> None:
        self._header = header
        self._sources = {key: source for own, source in sources for key in own.shapes}

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._header.metadata

    def keys(self) -> list[str]:
        return list(self._header.shapes)

    def shape(self, key: str) -> tuple[int, ...]:
        return self._header.shapes[key]

    def get(self, key: str) -> Tensor:
        return self._sources[key].get(key)


@contextmanager
def open_weights(path: Path, *, whole: bool = False) -> Iterator[Weights]:
    """The weights of a file, of an index of shards, or of a module's folder.

    `whole` reads each file in one go instead of mapping it. Raises `ModelError` for everything that `read_header` refuses.
    """
    header = read_header(path)
    files = weight_files(path)
    with ExitStack() as stack:
        headers = [header] if len(files) == 1 else [read_header(file) for file in files]
        yield _Files(header, [(own, _open(file, own, whole, stack)) for own, file in zip(headers, files, strict=True)])


def _open(path: Path, header: Header, whole: bool, stack: ExitStack) -> _Source:
    with reading(path), path.open("rb") as file:
        kind = file_format(file.read(1024))
    if kind in ("zip", "pickle"):
        return _Pickled(path, header, mapped=kind == "zip" and not whole)
    if kind == "gguf":
        return _Quantised(path, header, whole)
    return _Read(path) if whole else _Mapped(path, stack)
