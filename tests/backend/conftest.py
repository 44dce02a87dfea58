"""Model files of every wrong kind."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

Fake = Callable[..., Path]


@pytest.fixture
def fake() -> Fake:
    """Write a safetensors file of zeros with these tensors: `fake(path, {"name": (2, 3)})`."""

    def write(path: Path, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None) -> Path:
        header, offset = {"__metadata__": metadata or {}}, 0
        for name, shape in shapes.items():
            size = 2 * math.prod(shape)
            header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, offset + size]}
            offset += size
        text = json.dumps(header).encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * offset)
        return path

    return write


class Hashes:
    """Implements `catalog.HashStore` in memory."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, float, int], str] = {}

    def get(self, path: str, mtime: float, size: int) -> str | None:
        return self.known.get((path, mtime, size))

    def put(self, path: str, mtime: float, size: int, sha256: str) -> None:
        self.known[path, mtime, size] = sha256


@pytest.fixture
def hashes() -> Hashes:
    return Hashes()
