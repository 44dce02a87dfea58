"""safetensors: eight bytes of length, a JSON table, then the data (https://github.com/huggingface/safetensors#format)."""

from __future__ import annotations

import json
import math
import re
import struct
from functools import lru_cache
from operator import index
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json

from webui.backend.formats.contract import AGAIN, LIMIT, UNFINISHED, Header, Shapes, Tensors, refusal

_BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "I64": 64, "U64": 64, "F64": 64,
}
_NOTES = re.compile(r'\{\s*"__metadata__"\s*:\s*')
_DECODER = json.JSONDecoder()
_DAMAGED = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


def read_table(path: Path, file: BinaryIO, start: bytes, size: int) -> tuple[dict[str, Any], int]:
    """The JSON table as it stands there (the notes under `__metadata__`), and where the data begins. `start` is the file's beginning."""
    text = _read_text(path, file, start, size)
    try:
        return json.loads(text), 8 + len(text)
    except _DAMAGED as error:
        raise refusal(path, "is not a safetensors file, or its header is damaged", AGAIN) from error


def _read_text(path: Path, file: BinaryIO, start: bytes, size: int) -> bytes:
    if size < 8:
        raise refusal(path, f"is cut short: it has only {size} bytes", UNFINISHED)
    (length,) = struct.unpack("<Q", start[:8])
    if length > LIMIT or start[8:9] != b"{":
        known = path.suffix.lower() == ".safetensors"
        raise refusal(path, "is not a safetensors file" if known else "is no model file of a format known to Easel", AGAIN)
    if 8 + length > size:
        raise refusal(path, f"is cut short: its header alone has {length:,} bytes, the file {size:,}", UNFINISHED)
    file.seek(8)
    return file.read(length)


def read_header(path: Path, file: BinaryIO, start: bytes, size: int) -> Header:
    """The header, checked against the file's size. Raises `ModelError`."""
    text = _read_text(path, file, start, size)
    try:
        notes, table = _split(text)
        tensors, end, more = _read_tensors(table)
        metadata = {str(key): str(value) for key, value in (notes | more).items()}
    except _DAMAGED as error:
        raise refusal(path, "is not a safetensors file, or its header is damaged", AGAIN) from error
    if end < 0:
        raise refusal(path, "has a damaged header: sizes and shapes of its tensors do not agree", AGAIN)
    if 8 + len(text) + end > size:
        raise refusal(path, f"is cut short: {size:,} of {8 + len(text) + end:,} bytes are there", UNFINISHED)
    return Header(tensors.shapes, tensors.dtypes, metadata, alike=tensors)


def _split(text: bytes) -> tuple[dict[str, Any], str]:
    """The notes, which are each file's own and mostly stand first, and the rest of the table. Raises one of `_DAMAGED`."""
    whole = text.decode().rstrip()
    first = _NOTES.match(whole)
    if first is None:
        return {}, whole
    notes, end = _DECODER.raw_decode(whole, first.end())
    return dict(notes or {}), "{" + whole[end:].lstrip().removeprefix(",")


@lru_cache(maxsize=4)
def _read_tensors(text: str) -> tuple[Tensors, int, dict[str, Any]]:
    """The tensors, where the last one ends (-1 when sizes and shapes do not agree), and notes that stood elsewhere. Models of one kind agree in this
    text mostly, so a few are kept. Raises one of `_DAMAGED`."""
    table = from_json(text, cache_strings="keys")
    more = table.pop("__metadata__", None) or {}
    shapes: Shapes = {}
    dtypes: dict[str, str] = {}
    known: dict[tuple[Any, ...], tuple[tuple[int, ...], int]] = {}
    end, consistent = 0, True
    for name, entry in table.items():
        dtype = entry["dtype"]
        look = dtype, *entry["shape"]
        if look not in known:
            known[look] = _measure(dtype, look[1:])
        shapes[name], bits = known[look]
        dtypes[name] = dtype
        first, last = entry["data_offsets"]
        if not 0 <= first <= last or bits < -1 or (bits >= 0 and (last - first) * 8 != bits):
            consistent = False
        if last > end:
            end = last
    return Tensors(shapes, dtypes), index(end) if consistent else -1, dict(more)


def _measure(dtype: str, sides: tuple[Any, ...]) -> tuple[tuple[int, ...], int]:
    """The shape, and the bits it takes; -1 for a dtype that nobody knows, -2 for a shape that cannot be. Raises one of `_DAMAGED`."""
    shape = tuple(map(index, sides))
    if shape and min(shape) < 0:
        return shape, -2
    return shape, math.prod(shape) * _BITS[dtype] if dtype in _BITS else -1
