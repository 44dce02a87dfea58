"""SHA-256 of model files, whole or without their header. Knows no kinds of models; what is remembered, somebody else keeps."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
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


def hash_files(paths: Sequence[Path], progress: Callable[[float], None] | None = None) -> str:
    """The sha256 of several files read one after another as if they were one. Raises `ModelError` when one cannot be read."""
    digest = hashlib.sha256()
    try:
        total = sum(path.stat().st_size for path in paths)
        done = 0
        for path in paths:
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    digest.update(block)
                    done += len(block)
                    if progress is not None:
                        progress(min(done / total, 1.0))
    except OSError as error:
        raise ModelError(f"{Path(error.filename or paths[0]).name} cannot be read ({error}).", hint="Is the model whole?") from error
    return digest.hexdigest()


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
