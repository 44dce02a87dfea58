"""Which files make up one checkpoint: a file, an index with its shards, a diffusers folder. Finds them, and tells when one has changed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from webui.backend.diffusers_folder import INDEX as FOLDER_INDEX
from webui.backend.diffusers_folder import MODULES
from webui.backend.headers import weight_files
from webui.schema.errors import ModelError
from webui.schema.model import SUFFIXES

SHARDS = ".index.json"
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.\w+$")
_PARTS = tuple(f".vae{suffix}" for suffix in SUFFIXES)
"""Ends of files that lie beside a checkpoint and belong to it."""

State = tuple[tuple[str, float, int], ...]
"""Path, time and size of files; equal states mean that nothing has changed."""


def real_folders(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` over links too, each real folder once (so a loop of links ends), in order and without hidden folders; what cannot be read is passed
    over."""
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield parent, folders, files


def find_checkpoints(folder: Path) -> Iterator[Path]:
    """Everything below a folder that may be a checkpoint. Links are followed, each real folder once, so a loop of links ends.

    What lies inside a diffusers folder, and shards that an index names, are no checkpoints of their own.
    """
    for parent, folders, files in real_folders(folder):
        if FOLDER_INDEX in files and parent != str(folder):
            folders.clear()
            yield Path(parent)
            continue
        indexes = [name for name in files if name.endswith(SHARDS) and not name.startswith(".")]
        for name in sorted(files):
            low = name.lower()
            whole = low.endswith(SUFFIXES) and not low.endswith(_PARTS) and not (indexes and _SHARD.search(name))
            if (whole and not name.startswith(".")) or name in indexes:
                yield Path(parent, name)


def trunk_of(path: Path) -> Path:
    """A model's path without its ending: what lies beside a model begins with it (`name.yaml`, `name.json`, `name.preview.png`)."""
    return path if path.is_dir() else path.with_name(trunk_name(path.name))


def trunk_name(name: str) -> str:
    """The same of a file's name. An index of shards has two endings."""
    return os.path.splitext(name.removesuffix(SHARDS))[0]


def beside(path: Path, ending: str) -> Path:
    """The file of this ending that belongs to a model."""
    trunk = trunk_of(path)
    return trunk.with_name(trunk.name + ending)


def files_of(path: Path) -> list[Path]:
    """The files with weights of a checkpoint, in the order they are hashed. Raises `ModelError` when some are missing."""
    if not path.is_dir():
        return weight_files(path)
    return [file for name in MODULES if (path / name).is_dir() for file in weight_files(path / name)]


def stamp(path: Path) -> tuple[float, int]:
    """Time and size of a checkpoint: a file's own; of several files the newest time and the sum. Raises `OSError` when it is not there."""
    stat = os.stat(path)
    if not path.is_dir() and not path.name.endswith(SHARDS):
        return stat.st_mtime, stat.st_size
    try:
        stats = [os.stat(file) for file in files_of(path)]
    except ModelError:
        stats = []
    return max((item.st_mtime for item in stats), default=stat.st_mtime), sum(item.st_size for item in stats)


def state_of(path: Path) -> State:
    """Everything that recognition depends on. Raises `OSError` when the checkpoint is not there."""
    os.stat(path)
    said = [beside(path, ".yaml"), beside(path, ".json")]
    if path.is_dir():
        said += [path / FOLDER_INDEX, path / "scheduler" / "scheduler_config.json", *(path / name / "config.json" for name in MODULES)]
    try:
        files = files_of(path)
    except ModelError:
        files = []
    return tuple(entry for file in dict.fromkeys([path, *files, *said]) if (entry := _entry(file)))


def _entry(path: Path) -> tuple[str, float, int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return str(path), stat.st_mtime, stat.st_size
