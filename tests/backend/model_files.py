"""Files of weights in every format, written byte by byte or by torch."""

from __future__ import annotations

import json
import math
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

GGML = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34), "Q4_K": (12, 256, 144), "BF16": (30, 1, 2)}
"""Type → number, elements a block, bytes a block."""


FORMATS = ("zip", "legacy", "shards")
"""Of a checkpoint beside the one safetensors file: PyTorch's two kinds of pickle, several files behind an index."""


def rewritten(file: Path, form: str, folder: Path) -> Path:
    """The weights and notes of a safetensors file in another format."""
    weights = load_file(file)
    with safe_open(file, framework="pt") as source:
        notes = source.metadata() or {}
    if form in ("zip", "legacy"):
        target = folder / f"{file.stem}.ckpt"
        torch.save({"state_dict": weights, "epoch": 1, **notes}, target, _use_new_zipfile_serialization=form == "zip")
        return target
    names, places = list(weights), dict[str, str]()
    for number in range(2):
        shard = f"{file.stem}-{number + 1:05}-of-00002.safetensors"
        places |= dict.fromkeys(names[number::2], shard)
        save_file({name: weights[name] for name in names[number::2]}, folder / shard, notes)
    target = folder / f"{file.stem}.safetensors.index.json"
    target.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return target


class Runs:
    """Pickles as a call of `function(*arguments)`: what a malicious file is made of."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


Tensors = Mapping[str, tuple[str, tuple[int, ...], bytes]]
Notes = Mapping[str, str | int | list[int]]


def write_gguf(path: Path, tensors: Tensors, notes: Notes | None = None) -> Path:
    """GGUF version 3 with these tensors: name → type, torch's shape, data."""
    path.write_bytes(gguf_bytes(tensors, notes or {}))
    return path


def gguf_bytes(tensors: Tensors, notes: Notes) -> bytes:
    """The file's bytes."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(notes))
    for name, value in notes.items():
        head += _text(name)
        if isinstance(value, str):
            head += struct.pack("<I", 8) + _text(value)
        elif isinstance(value, int):
            head += struct.pack("<II", 4, value)
        else:
            head += struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)
    data = b""
    for name, (kind, shape, content) in tensors.items():
        number, block, length = GGML[kind]
        assert len(content) == math.prod(shape) // block * length
        data += b"\0" * (-len(data) % 32)
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], number, len(data))
        data += content
    return head + b"\0" * (-len(head) % 32) + data


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def legacy_bytes(value: Any) -> bytes:
    """A pickle in the frame of PyTorch's older format, without storages."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, value, [])
    return b"".join(pickle.dumps(part, 2) for part in parts)
