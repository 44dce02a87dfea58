"""GGUF: ggml's format, with quantised weights (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). The header, and where each tensor lies."""

from __future__ import annotations

import math
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from webui.backend.formats.contract import AGAIN, LIMIT, UNFINISHED, Header, refusal

TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2),
    26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}
"""ggml's number of a type → name, elements in a block, bytes of a block (`ggml.c`, `type_traits`)."""

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_TEXTS = 500_000
"""Texts in one array; the largest vocabulary of a text encoder has half of it."""

_LONGEST = 10_000_000
"""Entries of a list that is read."""

_SHAPE = "comfy.gguf.orig_shape."
"""A note under which converters keep a shape that ggml cannot have."""


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: its type's number, its first byte in the file, its length in bytes."""

    type: int
    start: int
    length: int


@dataclass
class _Reader:
    file: BinaryIO

    def number(self, form: str) -> Any:
        size = struct.calcsize(form)
        return struct.unpack(form, self.file.read(size))[0]

    def text(self) -> str:
        length = self.number("<Q")
        if length > LIMIT:
            raise ValueError("a text of that length")
        data = self.file.read(length)
        if len(data) != length:
            raise EOFError
        return data.decode(errors="replace")

    def value(self, kind: int) -> str | None:
        """A note as text, or None for a long list, which is passed over."""
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return str(self.number(_SCALARS[kind]))
        inner, count = self.number("<I"), self.number("<Q")
        if inner == _STRING and count <= _TEXTS:
            for _ in range(count):
                self.text()
            return None
        size = struct.calcsize(_SCALARS[inner])
        if count <= 8:
            return ",".join(str(self.number(_SCALARS[inner])) for _ in range(count))
        self.file.seek(count * size, 1)
        return None

    def list(self) -> list[Any]:
        """What stands behind the mark of an array."""
        inner, count = self.number("<I"), self.number("<Q")
        if count > _LONGEST:
            raise ValueError("a list of that length")
        if inner == _STRING:
            return [self.text() for _ in range(count)]
        form = f"<{count}{_SCALARS[inner][1]}"
        return [*struct.unpack(form, self.file.read(struct.calcsize(form)))]


def read_header(path: Path, file: BinaryIO, size: int) -> Header:
    """The header, checked against the file's size. Shapes are torch's (ggml counts sides from the other end). Raises `ModelError`."""
    return read_places(path, file, size)[0]


def read_places(path: Path, file: BinaryIO, size: int) -> tuple[Header, dict[str, Place]]:
    """The header, and where each tensor lies."""
    try:
        header, places = _read(_Reader(file))
    except (struct.error, EOFError) as error:
        raise refusal(path, "is cut short: its header does not end", UNFINISHED) from error
    except (ValueError, KeyError, OverflowError, OSError) as error:
        raise refusal(path, "is a GGUF file with a damaged header, or of a form that Easel does not know", AGAIN) from error
    end = max((place.start + place.length for place in places.values()), default=0)
    if end > size:
        raise refusal(path, f"is cut short: {size:,} of {end:,} bytes are there", UNFINISHED)
    return header, places


def read_lists(path: Path, names: Collection[str]) -> dict[str, list[Any]]:
    """Those notes that are long lists, of texts or of numbers; empty for one that is not there. Raises `ValueError` when they are damaged."""
    found: dict[str, list[Any]] = {name: [] for name in names}
    try:
        with path.open("rb") as file:
            reader = _Reader(file)
            file.seek(16)
            for _ in range(reader.number("<Q")):
                name, kind = reader.text(), reader.number("<I")
                if name in found and kind == _ARRAY:
                    found[name] = reader.list()
                else:
                    reader.value(kind)
    except (struct.error, EOFError, KeyError, OverflowError) as error:
        raise ValueError("its notes are damaged") from error
    return found


def _read(reader: _Reader) -> tuple[Header, dict[str, Place]]:
    file = reader.file
    file.seek(4)
    if reader.number("<I") not in (2, 3):
        raise ValueError("version")
    tensors, notes = reader.number("<Q"), reader.number("<Q")
    metadata: dict[str, str] = {}
    for _ in range(notes):
        name, kind = reader.text(), reader.number("<I")
        value = reader.value(kind)
        if value is not None:
            metadata[name] = value
        if file.tell() > LIMIT:
            raise ValueError("notes of that length")
    shapes: dict[str, tuple[int, ...]] = {}
    offsets: dict[str, tuple[int, int]] = {}
    for _ in range(tensors):
        name, count = reader.text(), reader.number("<I")
        if count > 8:
            raise ValueError("sides")
        shapes[name] = tuple(reader.number("<Q") for _ in range(count))[::-1]
        offsets[name] = reader.number("<I"), reader.number("<Q")
        if file.tell() > LIMIT:
            raise ValueError("a header of that length")
    align = int(metadata.get("general.alignment", "32"))
    if not 1 <= align <= 2**20:
        raise ValueError("alignment")
    data = -(-file.tell() // align) * align
    places = {name: _place(shapes[name], kind, data + offset) for name, (kind, offset) in offsets.items()}
    for name in shapes:
        noted = tuple(int(side) for side in metadata.get(_SHAPE + name, "").split(",") if side)
        if noted and math.prod(noted) == math.prod(shapes[name]):
            shapes[name] = noted
    return Header(shapes, {name: TYPES[place.type][0] for name, place in places.items()}, metadata), places


def _place(shape: tuple[int, ...], kind: int, start: int) -> Place:
    _, block, length = TYPES[kind]
    if shape and shape[-1] % block:
        raise ValueError("a row that is no whole number of blocks")
    return Place(kind, start, math.prod(shape) // block * length)
