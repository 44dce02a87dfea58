"""Where things live. A1111's layout: models/ and outputs/ below the data folder; what is Easel's own is in its hidden folder `.easel/`."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from webui.schema.errors import StorageError

if os.name == "nt":
    import msvcrt
else:
    import fcntl


@dataclass(frozen=True)
class Folders:
    """The folders of one server. `create` makes those that are missing."""

    data: Path
    models: Path
    outputs: Path
    extensions: Path
    scripts: Path

    @property
    def own(self) -> Path:
        """Easel's own files: library.db, images/, plugins/, secret, lock."""
        return self.data / ".easel"

    def create(self) -> None:
        """Make the folders. Raises `StorageError` naming the one that cannot be made. A read-only outputs folder is found when a picture is saved."""
        for folder in (self.data, self.own):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(
                    f"The data folder {folder} cannot be made: {error.strerror or error}.", hint="Choose another one with --data-dir."
                ) from error
        for name in ("Stable-diffusion", "VAE", "Lora", "ControlNet", "ESRGAN"):
            try:
                (self.models / name).mkdir(parents=True, exist_ok=True)
            except OSError:
                break  # a read-only models folder (a mounted A1111 installation) is fine: it is only read


class DataLock:
    """One server per data folder: an operating-system lock that goes away with the process, however it ends."""

    def __init__(self, folders: Folders) -> None:
        self.path = folders.own / "lock"
        self._file: IO[str] | None = None

    def __enter__(self) -> DataLock:
        try:
            file = open(self.path, "a+", encoding="utf-8")
        except OSError as error:
            raise StorageError(
                f"The data folder {self.path.parent.parent} cannot be written: {error.strerror or error}.", hint="Choose another one with --data-dir."
            ) from error
        try:
            _lock(file)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise StorageError(
                f"Another Easel already uses the data folder {self.path.parent.parent}{f' (process {holder})' if holder else ''}.",
                hint="Use that one, stop it, or start this one with another --data-dir.",
            ) from error
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        self._file = file
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file:
            self._file.close()
            self._file = None


def _lock(file: IO[str]) -> None:
    if os.name == "nt":
        file.seek(1 << 20)  # a byte far behind the text, so that the other server can still read who holds it
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file as a whole: temporary file, fsync, rename. A crash leaves the old one or the new one. Raises `OSError`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")  # two may write the same at once
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
