"""The list of checkpoints on disk: found, named, identified, hashed. Knows no torch and loads no model.

Thread-safe. A file is read again only when its size or time changed. Hashes are remembered by whoever gives `hashes` (the database).
"""

from __future__ import annotations

import difflib
import errno
import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from webui.backend.checkpoint_index import CheckpointIndex, Remembered
from webui.backend.hashing import HashStore, hash_file, hash_files
from webui.backend.identify import identify
from webui.backend.layouts import State, files_of, find_checkpoints, real_folders, stamp, state_of
from webui.backend.support import RUNS, unsupported
from webui.schema.errors import ModelError, RequestError
from webui.schema.model import ENLARGES, Checkpoint

log = logging.getLogger(__name__)

FEW = 300
"""Files that nobody minds waiting for."""


class Catalog:
    """Checkpoints below `folders` (the first that has a name wins). Nothing is read before the first question; `refresh` looks again.

    What was recognised is remembered in the file `index`, when there is one.
    """

    def __init__(self, folders: Sequence[Path], hashes: HashStore, index: Path | None = None) -> None:
        self.folders = tuple(folders)
        self._hashes = hashes
        self._index = CheckpointIndex(index, f"{RUNS} {ENLARGES}")
        self._known_before: dict[str, Remembered] = {}
        self._lock = threading.Lock()
        self._entries: dict[str, Checkpoint] | None = None
        self._hashing: dict[str, threading.Lock] = {}

    @property
    def at_hand(self) -> bool:
        """Whether to ask for the list takes a moment only: it was made before, or there are few files to look at."""
        found = itertools.chain.from_iterable(find_checkpoints(folder) for folder in self.folders)
        return self._entries is not None or next(itertools.islice(found, FEW, None), None) is None

    def checkpoints(self) -> list[Checkpoint]:
        """Every file found, also those that cannot be used (with `error` set), sorted by name."""
        return list(self._known().values())

    def refresh(self) -> bool:
        """Look at the folders again. True when something changed."""
        with self._lock:
            before = self._entries or {}
            self._entries = self._scan()
            return self._entries != before

    def default(self) -> str | None:
        """The first checkpoint that can be used and is still there, or None."""
        return next((entry.name for entry in self._known().values() if entry.error is None and os.path.exists(entry.path)), None)

    def get(self, name: str, field: str = "checkpoint") -> Checkpoint:
        """A usable checkpoint, called as `find_named` says. Raises as `find` does, `ModelError` with the reason when it is unusable or gone."""
        current = self._current(self.find(name, field), field)
        if current.checkpoint.error is not None:
            raise ModelError(current.checkpoint.error, field=field, hint=current.hint)
        return current.checkpoint

    def find(self, name: str, field: str = "checkpoint") -> Checkpoint:
        """The entry of the list, usable or not. Raises `RequestError` at `field`: with near names when there is none, or several are called so."""
        found = find_named(self.checkpoints(), name, field)
        if found is None:
            self.refresh()  # it may have been put there a moment ago
            found = find_named(self.checkpoints(), name, field)
        if found is None:
            raise self._unknown(name, field)
        return found

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
                files = files_of(Path(checkpoint.path))
                several = len(files) > 1 or str(files[0]) != checkpoint.path
                known = hash_files(files, progress) if several else hash_file(checkpoint.path, checkpoint.size, progress)
                self._hashes.put(checkpoint.path, checkpoint.mtime, checkpoint.size, known)
        with self._lock:
            entry = (self._entries or {}).get(checkpoint.name)
            if self._entries is not None and entry is not None and (entry.mtime, entry.size) == (checkpoint.mtime, checkpoint.size):
                self._entries[entry.name] = entry = entry.revise(sha256=known)
                remembered = self._known_before[entry.path]
                self._known_before[entry.path] = remembered.model_copy(update={"checkpoint": entry})
                self._save()
        return known

    def _known(self) -> dict[str, Checkpoint]:
        with self._lock:
            if self._entries is None:
                self._entries = self._scan()
            return dict(self._entries)

    def _unknown(self, name: str, field: str) -> RequestError:
        entries = self.checkpoints()
        names = [entry.name for entry in entries if entry.error is None] or [entry.name for entry in entries if name]
        if not names:
            where = self.folders[0] if self.folders else "models/Stable-diffusion"
            return RequestError("There is no checkpoint yet.", field=field, hint=f"Put a .safetensors file into {where}.")
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:3]
        hint = f"Did you mean {' or '.join(f'“{item}”' for item in near)}?"
        return RequestError(f"There is no checkpoint “{name[:120]}”.", field=field, hint=hint)

    def _current(self, entry: Checkpoint, field: str) -> Remembered:
        """The entry as its files are right now: they may have been replaced or deleted since the scan."""
        try:
            state = state_of(Path(entry.path))
        except OSError as error:
            raise ModelError(f"{entry.name} is not there any more.", field=field, hint="Refresh the list of checkpoints.") from error
        with self._lock:
            known = self._known_before.get(entry.path)
        if known is not None and known.state == state and known.checkpoint.error is None:
            return known.model_copy(update={"checkpoint": entry})
        fresh = self._look(entry.name, Path(entry.path), state)
        with self._lock:
            self._known_before[entry.path] = fresh
            if self._entries is not None:
                self._entries[entry.name] = fresh.checkpoint
        return fresh

    def _scan(self) -> dict[str, Checkpoint]:
        before = self._index.load() if self._entries is None else self._known_before
        self._known_before = {}
        found: dict[str, Checkpoint] = {}
        for folder in self.folders:
            for path in find_checkpoints(folder):
                name = path.relative_to(folder).as_posix()
                if name in found:
                    continue
                remembered = self._remembered(name, path, before.get(str(path)))
                if remembered is not None:
                    found[name] = remembered.checkpoint
                    self._known_before[str(path)] = remembered
        if self._known_before != before:
            self._save()
        return dict(sorted(found.items(), key=lambda item: item[0].lower()))

    def _save(self) -> None:
        self._index.save({path: entry for path, entry in self._known_before.items() if entry.lasting})

    def _remembered(self, name: str, path: Path, old: Remembered | None) -> Remembered | None:
        """What lies there, looked at again only when it changed; None for a dangling link, or what was deleted this moment."""
        try:
            state = state_of(path)
        except OSError as error:
            return _unreachable(name, path, error) if error.errno == errno.ELOOP else None
        if old is None or old.state != state or old.checkpoint.name != name or not old.lasting:
            return self._look(name, path, state)
        return old

    def _look(self, name: str, path: Path, state: State) -> Remembered:
        try:
            mtime, size = stamp(path)
        except OSError:
            mtime, size = 0.0, 0
        entry = Checkpoint(name=name, path=str(path), size=size, mtime=mtime, sha256=self._hashes.get(str(path), mtime, size))
        try:
            identity = identify(path)
        except ModelError as reason:
            log.info("checkpoint %s: %s", name, reason.message)
            lasting = not isinstance(reason.__cause__, OSError)  # a disk that was not ready may be, the next time
            return Remembered(state=state, checkpoint=entry.revise(error=reason.message), hint=reason.hint, lasting=lasting)
        reason = unsupported(identity.family, identity.variant, identity.layout, identity.prediction, identity.parts)
        hint = "Choose another checkpoint." if reason else None
        return Remembered(state=state, hint=hint, checkpoint=entry.revise(
            error=f"{path.name} is {reason}." if reason else None, family=identity.family, variant=identity.variant, layout=identity.layout,
            prediction=identity.prediction, zero_snr=identity.zero_snr, parts=identity.parts, dtype=identity.dtype, ema=identity.ema,
            suggests=identity.suggests,
        ))


def find_named(entries: Sequence[Checkpoint], name: str, field: str = "checkpoint") -> Checkpoint | None:
    """The one that is called so: by its name, else without its ending, else without its folder too; each also with ` [hash]`. Of several the one with
    that hash, else the one that can be used. None when there is none; raises `RequestError` at `field` when several are left."""
    bare, _, rest = name.rpartition(" [")
    calls = [(name, ""), (bare, rest[:-1].lower())] if bare and name.endswith("]") else [(name, "")]
    for (call, short), key in itertools.product(calls, ("name", "bare_name", "stem")):
        alike = [entry for entry in entries if getattr(entry, key) == call]
        alike = [entry for entry in alike if short and (entry.sha256 or "").startswith(short)] or alike
        alike = [entry for entry in alike if entry.error is None] or alike
        if len(alike) > 1:
            hint = f"Say which: {' or '.join(entry.name for entry in alike[:5])}."
            raise RequestError(f"{len(alike)} checkpoints are called “{call[:120]}”.", field=field, hint=hint)
        if alike:
            return alike[0]
    return None


def _unreachable(name: str, path: Path, error: OSError) -> Remembered:
    checkpoint = Checkpoint(name=name, path=str(path), size=0, mtime=0.0, error=f"{path.name} cannot be read ({error.strerror}).")
    return Remembered(state=(), checkpoint=checkpoint, lasting=False)


def walk(folder: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Paths of files of these kinds below a folder, hidden ones left out; see `real_folders`. Strings: there may be thousands."""
    for parent, _, files in real_folders(folder):
        for name in sorted(files):
            if name.lower().endswith(suffixes) and not name.startswith("."):
                yield os.path.join(parent, name)
