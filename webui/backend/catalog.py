"""The list of checkpoints on disk: found, named, identified, hashed. Knows no torch and loads no model.

Thread-safe. A file is read again only when its size or time changed. Hashes are remembered by whoever gives `hashes` (the database).
"""

from __future__ import annotations

import difflib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from webui.backend.hashing import HashStore, hash_file
from webui.backend.identify import identify
from webui.schema.errors import ModelError, RequestError
from webui.schema.model import Checkpoint

log = logging.getLogger(__name__)

SUFFIXES = (".safetensors", ".ckpt")

class Catalog:
    """Checkpoints below `folders` (the first that has a name wins). Nothing is read before the first question; `refresh` looks again."""

    def __init__(self, folders: Sequence[Path], hashes: HashStore) -> None:
        self.folders = tuple(folders)
        self._hashes = hashes
        self._lock = threading.Lock()
        self._entries: dict[str, Checkpoint] | None = None
        self._hashing: dict[str, threading.Lock] = {}

    def checkpoints(self) -> list[Checkpoint]:
        """Every file found, also those that cannot be used (with `error` set), sorted by name."""
        return list(self._known().values())

    def refresh(self) -> bool:
        """Look at the folders again. True when something changed."""
        with self._lock:
            before = self._entries or {}
            self._entries = self._scan(before)
            return self._entries != before

    def default(self) -> str | None:
        """The first checkpoint that can be used and is still there, or None."""
        return next((entry.name for entry in self._known().values() if entry.error is None and os.path.exists(entry.path)), None)

    def get(self, name: str) -> Checkpoint:
        """A usable checkpoint by name, by `name [hash]` or by file name without folder and suffix.

        Raises `RequestError` at `checkpoint` with near names when there is none, `ModelError` with the reason when the file is unusable or gone.
        """
        entry = self._find(name)
        if entry is None:
            self.refresh()  # it may have been put there a moment ago
            entry = self._find(name)
        if entry is None:
            raise self._unknown(name)
        current = self._current(entry)
        if current.error is not None:
            identify(Path(current.path))  # raises with the hint, which the list does not keep
            raise ModelError(current.error, field="checkpoint")
        return current

    def known_sha256(self, checkpoint: Checkpoint) -> str | None:
        """The hash, if it was computed before for the file as it was when the checkpoint was looked up."""
        return self._hashes.get(checkpoint.path, checkpoint.mtime, checkpoint.size)

    def sha256(self, checkpoint: Checkpoint, progress: Callable[[float], None] | None = None) -> str:
        """The hash of the whole file; two callers at once compute it once. `progress` gets 0..1. Raises `ModelError` when it cannot be read."""
        with self._lock:
            lock = self._hashing.setdefault(checkpoint.path, threading.Lock())
        with lock:
            known = self._hashes.get(checkpoint.path, checkpoint.mtime, checkpoint.size)
            if known is None:
                known = hash_file(checkpoint.path, checkpoint.size, progress)
                self._hashes.put(checkpoint.path, checkpoint.mtime, checkpoint.size, known)
        with self._lock:
            entry = (self._entries or {}).get(checkpoint.name)
            if self._entries is not None and entry is not None and (entry.mtime, entry.size) == (checkpoint.mtime, checkpoint.size):
                self._entries[entry.name] = entry.revise(sha256=known)
        return known

    def _known(self) -> dict[str, Checkpoint]:
        with self._lock:
            if self._entries is None:
                self._entries = self._scan({})
            return dict(self._entries)

    def _find(self, name: str) -> Checkpoint | None:
        entries = self._known()
        if name in entries:
            return entries[name]
        bare = name.rsplit(" [", 1)[0] if name.endswith("]") else name
        if bare in entries:
            return entries[bare]
        return next((entry for entry in entries.values() if bare and entry.stem == bare), None)

    def _unknown(self, name: str) -> RequestError:
        names = [entry.name for entry in self._known().values() if entry.error is None]
        if not names:
            where = self.folders[0] if self.folders else "models/Stable-diffusion"
            return RequestError("There is no checkpoint yet.", field="checkpoint", hint=f"Put a .safetensors file into {where}.")
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:3]
        hint = f"Did you mean {' or '.join(f'“{item}”' for item in near)}?"
        return RequestError(f"There is no checkpoint “{name[:120]}”.", field="checkpoint", hint=hint)

    def _current(self, entry: Checkpoint) -> Checkpoint:
        """The entry as the file is right now: it may have been replaced or deleted since the scan."""
        try:
            stat = os.stat(entry.path)
        except OSError as error:
            raise ModelError(f"{entry.name} is not there any more.", field="checkpoint", hint="Refresh the list of checkpoints.") from error
        if (stat.st_mtime, stat.st_size) == (entry.mtime, entry.size):
            return entry
        fresh = self._entry(entry.name, Path(entry.path), stat)
        with self._lock:
            if self._entries is not None:
                self._entries[fresh.name] = fresh
        return fresh

    def _scan(self, before: dict[str, Checkpoint]) -> dict[str, Checkpoint]:
        found: dict[str, Checkpoint] = {}
        for folder in self.folders:
            for path in walk(folder, SUFFIXES):
                name = path.relative_to(folder).as_posix()
                if name in found:
                    continue
                try:
                    stat = path.stat()
                except OSError:
                    continue  # a dangling link, or deleted this moment
                old = before.get(name)
                same = old is not None and (old.path, old.mtime, old.size) == (str(path), stat.st_mtime, stat.st_size)
                found[name] = old if old is not None and same else self._entry(name, path, stat)
        return dict(sorted(found.items(), key=lambda item: item[0].lower()))

    def _entry(self, name: str, path: Path, stat: os.stat_result) -> Checkpoint:
        identity = error = None
        try:
            identity = identify(path)
        except ModelError as reason:
            error = reason.message
            log.info("checkpoint %s: %s", name, reason.message)
        known = self._hashes.get(str(path), stat.st_mtime, stat.st_size)
        return Checkpoint(
            name=name, path=str(path), size=stat.st_size, mtime=stat.st_mtime, error=error, sha256=known,
            family=identity.family if identity else None, suggests=identity.suggests if identity else None,
        )


def walk(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Files of these kinds below a folder, links followed, each real folder once (so a loop of links ends); what cannot be read is passed over."""
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(suffixes) and not name.startswith("."):
                yield Path(parent, name)
