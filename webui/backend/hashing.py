"""SHA-256 of model files, whole or without their header. Knows no kinds of models; what is remembered, somebody else keeps."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from webui.schema.errors import ModelError

BLOCK = 4 * 2**20
"""Bytes read at once."""


class HashStore(Protocol):
    """Remembers the sha256 of a file as long as its time and size stay the same."""

    def get(self, path: str, mtime: float, size: int) -> str | None:
        """The remembered hash, or None."""
        ...

    def put(self, path: str, mtime: float, size: int, sha256: str) -> None:
        """Remember a hash."""
        ...


def hash_file(path: str, size: int, progress: Callable[[float], None] | None = None, skip_header: bool = False) -> str:
    """The sha256 of a file; with `skip_header` of what stands behind the header of a safetensors file, so that changed notes do not change it
    (kohya-ss's "addnet" hash). Raises `ModelError` when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            if skip_header:
                file.seek(struct.unpack("<Q", file.read(8))[0] + 8)
            while block := file.read(BLOCK):
                digest.update(block)
                if progress is not None and size:
                    progress(min(file.tell() / size, 1.0))
    except (OSError, struct.error, OverflowError) as error:
        raise ModelError(f"{Path(path).name} cannot be read ({error}).", hint="Is the file whole?") from error
    return digest.hexdigest()


def legacy_hash(path: str) -> str:
    """A1111's first kind of hash: eight digits of the sha256 of 64 kB from 1 MB on. "NOFILE" when it cannot be read, as there."""
    try:
        with open(path, "rb") as file:
            file.seek(0x100000)
            return hashlib.sha256(file.read(0x10000)).hexdigest()[:8]
    except OSError:
        return "NOFILE"
