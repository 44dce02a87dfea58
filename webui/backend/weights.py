"""Tensors out of a file of weights, whatever its format. Knows no model: keys are the file's own.

Every file passes `headers.read_header` first, so that a damaged one is refused in words before torch sees it. safetensors and zip pickles are mapped:
a tensor is a view of the file, and whoever keeps one must copy it, because a process that reads a mapped file which somebody cut short dies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from webui.backend.formats import safetensors
from webui.backend.formats.contract import AGAIN, Header, reading, refusal
from webui.backend.headers import read_header, weight_files

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
        """The tensor on the CPU in the file's dtype. Raises `KeyError`, or `ModelError` when it cannot be read."""
        ...


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
            self._data = torch.empty(size - data, dtype=torch.uint8)
            if file.readinto(memoryview(self._data.numpy())) != size - data:
                raise refusal(path, "was cut short while it was read", AGAIN)
        self._table = table

    def get(self, key: str) -> Tensor:
        entry = self._table[key]
        first, last = entry["data_offsets"]
        dtype = DTYPES[entry["dtype"]]
        part = self._data[first:last]
        return (part.clone() if first % dtype.itemsize else part).view(dtype).view(entry["shape"])


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
        sources = [(header if len(files) == 1 else read_header(file), _open(file, whole, stack)) for file in files]
        yield _Files(header, sources)


def _open(path: Path, whole: bool, stack: ExitStack) -> _Source:
    with reading(path):
        return _Read(path) if whole else _Mapped(path, stack)
