"""PyTorch's own files: a zip archive with a pickle inside (since 2020), or pickles followed by raw storages. Read without running the pickle.

Formats: `torch/serialization.py` (`_save`, `_legacy_save`).
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from webui.backend.formats.contract import UNFINISHED, Header, refusal
from webui.backend.formats.pickle_machine import BYTES, Ended, Inert, Machine, Refused, TensorNote

MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of the older format."""

LIMIT = 4 * 2**20
"""Bytes of pickle that are read. A full Stable Diffusion file with its optimiser's state has a million."""

DEPTH = 4
COUNT = 100_000
"""How deep tensors may lie in dicts and lists, and how many there may be."""

_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, ValueError, KeyError, IndexError, EOFError, OverflowError, NotImplementedError, RuntimeError,
)


def read_zip(path: Path, file: BinaryIO) -> Header:
    """The header of the newer format; every storage must be there in its full size. Raises `ModelError`."""
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            place = next((name for name in sizes if name.endswith("/data.pkl") or name == "data.pkl"), None)
            root = (place or "").removesuffix("data.pkl")
            if place is None:
                raise refusal(path, "is a zip archive without a PyTorch pickle", "Unpack it: a model may be inside.")
            if f"{root}constants.pkl" in sizes:
                raise refusal(path, "is a TorchScript program, not weights", "Look for the same model as .safetensors.")
            if sizes[place] > LIMIT:
                raise refusal(path, "is a PyTorch pickle of unusual size", "Look for the same model as .safetensors.")
            with archive.open(place) as entry:
                data = entry.read(LIMIT)
    except _BROKEN as error:
        raise refusal(path, "is a PyTorch pickle that is cut short or damaged", UNFINISHED) from error
    machine = Machine(data)
    try:
        header = _header(machine.load(), machine)
    except Refused as reason:
        raise refusal(path, reason.what, reason.hint) from reason
    lost = [item.key for item in machine.storages.values() if sizes.get(f"{root}data/{item.key}", -1) < item.count * BYTES[item.dtype]]
    if lost:
        raise refusal(path, f"is a damaged PyTorch pickle: it lacks the data of {len(lost)} of its tensors", UNFINISHED)
    return header


def read_legacy(path: Path, file: BinaryIO, size: int) -> Header:
    """The header of the older format: magic number, version, system, the object, its storages' keys, then the storages. Raises `ModelError`."""
    piece = 2**20
    while True:
        file.seek(0)
        data = file.read(piece)
        try:
            return _legacy_header(path, data, size)
        except Ended as reason:
            if len(data) == size:
                raise refusal(path, "is a PyTorch pickle that is cut short", UNFINISHED) from reason
            if piece == LIMIT:
                raise refusal(path, "is a PyTorch pickle of unusual size", "Look for the same model as .safetensors.") from reason
            piece = min(4 * piece, LIMIT)
        except Refused as reason:
            raise refusal(path, reason.what, reason.hint) from reason


def _legacy_header(path: Path, data: bytes, size: int) -> Header:
    machine = Machine(data)
    if machine.load() != MAGIC:
        raise Refused("is a Python pickle, but no model", "Look for the same model as .safetensors.")
    machine.load()
    machine.load()
    header = _header(machine.load(), machine)
    machine.load()
    end = machine.position + sum(8 + storage.count * BYTES[storage.dtype] for storage in machine.storages.values())
    if end > size:
        raise refusal(path, f"is cut short: {size:,} of {end:,} bytes are there", UNFINISHED)
    return header


def _header(value: Any, machine: Machine) -> Header:
    """Its notes are the texts beside the tensors (`name`, `sd_checkpoint_name`)."""
    notes = tensors(value, TensorNote)
    shapes = {name: note.shape for name, note in notes.items()}
    texts = {key: item for key, item in value.items() if type(key) is str and type(item) is str} if isinstance(value, dict) else {}
    return Header(shapes, {name: note.dtype for name, note in notes.items()}, texts, tuple(machine.inert))


def tensors(value: Any, leaf: type) -> dict[str, Any]:
    """Every `leaf` of an unpickled value under a dotted name; of a training program's file only those below `state_dict`. Raises `Refused`."""
    for _ in range(DEPTH):
        if isinstance(value, Mapping) and isinstance(value.get("state_dict"), Mapping):
            value = value["state_dict"]
    if isinstance(value, leaf):
        return {"": value}
    return dict(_walk(value, "", DEPTH, _Budget(COUNT), leaf))


@dataclass
class _Budget:
    """One list may stand in many places, so what is walked altogether is limited."""

    left: int


def _walk(value: Any, name: str, depth: int, budget: _Budget, leaf: type) -> Iterator[tuple[str, Any]]:
    """What is a `leaf` below `value`."""
    if isinstance(value, Inert) and isinstance(value.state, Mapping):
        value = value.state.get("_parameters")  # of a torch.nn.ParameterDict
    if isinstance(value, Mapping):
        items: Any = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return
    for key, item in items if depth else ():
        budget.left -= 1
        if budget.left < 0:
            raise Refused("is a PyTorch pickle with too many entries", "Look for the same model as .safetensors.")
        path = f"{name}.{key}" if name else str(key)
        if isinstance(item, leaf):
            yield path, item
        else:
            yield from _walk(item, path, depth - 1, budget, leaf)
