"""safetensors: eight bytes of length, a JSON table, then the data (https://github.com/huggingface/safetensors#format)."""

from __future__ import annotations

import json
import math
import struct
from operator import index
from pathlib import Path
from typing import Any, BinaryIO

from webui.backend.formats.contract import AGAIN, LIMIT, UNFINISHED, Header, Shapes, refusal

_BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "I64": 64, "U64": 64, "F64": 64,
}
_DAMAGED = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


def read_table(path: Path, file: BinaryIO, start: bytes, size: int) -> tuple[dict[str, Any], int]:
    """The JSON table as it stands there (the notes under `__metadata__`), and where the data begins. `start` is the file's beginning."""
    if size < 8:
        raise refusal(path, f"is cut short: it has only {size} bytes", UNFINISHED)
    (length,) = struct.unpack("<Q", start[:8])
    if length > LIMIT or start[8:9] != b"{":
        known = path.suffix.lower() == ".safetensors"
        raise refusal(path, "is not a safetensors file" if known else "is no model file of a format known to Easel", AGAIN)
    if 8 + length > size:
        raise refusal(path, f"is cut short: its header alone has {length:,} bytes, the file {size:,}", UNFINISHED)
    file.seek(8)
    try:
        return json.loads(file.read(length)), 8 + length
    except _DAMAGED as error:
        raise refusal(path, "is not a safetensors file, or its header is damaged", AGAIN) from error


def read_header(path: Path, file: BinaryIO, start: bytes, size: int) -> Header:
    """The header, checked against the file's size. Raises `ModelError`."""
    table, data = read_table(path, file, start, size)
    shapes: Shapes = {}
    dtypes: dict[str, str] = {}
    end = 0
    consistent = True
    try:
        metadata = {str(key): str(value) for key, value in (table.pop("__metadata__", None) or {}).items()}
        for name, entry in table.items():
            shapes[name] = shape = tuple(map(index, entry["shape"]))
            dtypes[name] = dtype = entry["dtype"]
            first, last = entry["data_offsets"]
            sound = 0 <= first <= last and (not shape or min(shape) >= 0)
            if not sound or (dtype in _BITS and (last - first) * 8 != math.prod(shape) * _BITS[dtype]):
                consistent = False
            if last > end:
                end = last
        end = index(end)
    except _DAMAGED as error:
        raise refusal(path, "is not a safetensors file, or its header is damaged", AGAIN) from error
    if not consistent:
        raise refusal(path, "has a damaged header: sizes and shapes of its tensors do not agree", AGAIN)
    if data + end > size:
        raise refusal(path, f"is cut short: {size:,} of {data + end:,} bytes are there", UNFINISHED)
    return Header(shapes, dtypes, metadata)
