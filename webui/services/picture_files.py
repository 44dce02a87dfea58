"""A finished picture becomes a file: written aside, on the disk, then given its name. Knows no jobs and no database."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from PIL import Image

from webui.schema.errors import StorageError
from webui.schema.settings import PictureSettings
from webui.services.formats import Notes, write_picture
from webui.services.placing import Name, Numbers

FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


class PictureFiles:
    """Writes files one after another; remembers the numbers of their folders."""

    def __init__(self) -> None:
        self._numbers = Numbers()

    def write(self, image: Image.Image, notes: Notes, folder: Path, name: Name, settings: PictureSettings) -> tuple[Path, bool]:
        """The file, safe on the disk, and whether its notes fitted into it. Raises `OSError`."""
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{os.getpid()}-{time.monotonic_ns()}.tmp"
        try:
            with open(temporary, "wb") as file:
                complete = write_picture(image, file, name.extension, notes, settings)
                file.flush()
                os.fsync(file.fileno())
            path = self._numbers.place(temporary, folder, name)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(folder)
        return path, complete


def in_words(folder: Path, error: OSError) -> StorageError:
    """The error for a picture that could not be written."""
    return StorageError(
        f"The picture could not be saved to {folder}: {error.strerror or error}.",
        hint="Free some space." if error.errno in FULL else "Make the folder writable or start with another --outputs-dir.",
    )


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # a folder cannot be opened there; NTFS journals the name
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
