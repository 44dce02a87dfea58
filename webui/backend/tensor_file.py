"""Writes a safetensors file tensor by tensor, in pieces: no more than one piece is in memory, and a broken write leaves nothing behind.

Format: https://github.com/huggingface/safetensors#format. Knows no models: where the pieces come from, the caller says.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from webui.backend.weights import DTYPES, Weights
from webui.schema.errors import ModelError, StorageError

PIECE = 4 * 2**20
"""Elements of a piece: 16 MB in float32."""

HEADER_LIMIT = 100_000_000
"""Bytes; the safetensors library reads no longer header."""

KINDS = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Stream:
    """A tensor that is made while it is written: its dtype, its shape, and its elements in order, as flat pieces of that dtype."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    pieces: Callable[[], Iterable[Tensor]]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.dtype.itemsize * math.prod(self.shape)

    def cast(self, dtype: torch.dtype) -> Stream:
        """The same in another dtype, unless it holds no floating-point numbers."""
        if dtype == self.dtype or not self.dtype.is_floating_point:
            return self
        return Stream(dtype, self.shape, lambda: (piece.to(dtype) for piece in self.pieces()))

    def reshape(self, *shape: int) -> Stream:
        """The same elements in another shape."""
        return Stream(self.dtype, shape, self.pieces)


def stored(weights: Weights, key: str) -> Stream:
    """A tensor of an open file as it is. Raises `ModelError` for a quantised one, which has no elements to speak of."""
    tensor = weights.get(key)
    if tensor.dtype not in KINDS or tuple(tensor.shape) != tuple(weights.shape(key)):
        raise ModelError(f"{key} is quantised and cannot be rewritten.", hint="Use the 16-bit file of the same model.")
    return Stream(tensor.dtype, tuple(tensor.shape), lambda: flat_pieces(weights.get(key)))


def flat_pieces(tensor: Tensor) -> Iterator[Tensor]:
    """The elements of a tensor in order, at most `PIECE` at a time, without a copy where they lie in order."""
    flat = tensor.reshape(-1)
    for start in range(0, flat.numel(), PIECE):
        yield flat[start:start + PIECE]


def write_tensors(
    path: Path, tensors: Mapping[str, Stream], metadata: Mapping[str, str], *, replace: bool = False,
    progress: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Write a safetensors file: temporary file, fsync, rename. `progress` hears 0..1; what it raises ends the write, and nothing is left.

    Wide tensors come first, so that every one is aligned; else the given order stays. Raises `StorageError` when the disk is full or the folder
    cannot be written, or when `path` is there and `replace` is not set.
    """
    order = sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize)
    header = _header({name: tensors[name] for name in order}, metadata)
    total = sum(stream.size for stream in tensors.values())
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        _check_space(path, len(header) + total)
        with temporary.open("xb") as file:
            file.write(header)
            done = 0
            for name in order:
                for size in _write(file, name, tensors[name]):
                    done += size
                    progress(done / total)
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, path, replace)
    except OSError as error:
        hint = "Free some space and try again." if error.errno == 28 else "Check the folder's permissions."
        raise StorageError(f"{path.name} cannot be written: {error.strerror or error}.", hint=hint) from error
    finally:
        temporary.unlink(missing_ok=True)


def publish(temporary: Path, path: Path, replace: bool) -> None:
    """Give a finished file or folder its name. Without `replace` a file that is there meanwhile wins: raises `StorageError`. Raises `OSError`."""
    if not replace and path.exists():
        raise StorageError(f"{path.name} is there already.", field="custom_name", hint="Choose another name, or allow to replace it.")
    if replace or temporary.is_dir():
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)  # fails when the name was taken this moment, which a rename would not
    except FileExistsError as error:
        raise StorageError(f"{path.name} is there already.", field="custom_name", hint="Choose another name, or allow to replace it.") from error
    except OSError:  # a disk without hard links
        os.replace(temporary, path)


def _header(tensors: Mapping[str, Stream], metadata: Mapping[str, str]) -> bytes:
    table: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, stream in tensors.items():
        table[name] = {"dtype": KINDS[stream.dtype], "shape": list(stream.shape), "data_offsets": [offset, offset + stream.size]}
        offset += stream.size
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > HEADER_LIMIT:
        raise StorageError("The notes in this file would be longer than the format allows.", hint="Save it without copied metadata.")
    return struct.pack("<Q", len(text)) + text


def _write(file: IO[bytes], name: str, stream: Stream) -> Iterator[int]:
    """Write one tensor; gives the bytes of each piece as it is written."""
    written = 0
    for piece in stream.pieces():
        if piece.dtype != stream.dtype:
            raise ValueError(f"{name} was announced as {stream.dtype} and came as {piece.dtype}.")
        content = piece.contiguous().view(-1).view(torch.uint8).numpy()
        file.write(content.data)
        written += content.nbytes
        yield content.nbytes
    if written != stream.size:
        raise ValueError(f"{name} was announced with {stream.size} bytes and came with {written}.")


def _sweep(folder: Path) -> None:
    """Remove what a killed process left: parts that nobody has written to for a day."""
    for part in folder.glob(".*.part"):
        if len(part.name) == len(".part") + 33 and time.time() - part.stat().st_mtime > 24 * 3600:
            shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)


def _check_space(path: Path, need: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < need:
        raise StorageError(
            f"{path.name} needs {need / 1e9:.2f} GB; {free / 1e9:.2f} GB are free.", hint="Free some space, or write a smaller dtype."
        )
