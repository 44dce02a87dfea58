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


def copy_as_jpg(image: Image.Image, path: Path, notes: Notes, settings: PictureSettings) -> Path | None:
    """A1111's JPG copy of a large picture, beside it, sides at most `target_side_length`. None when the picture is not large. Raises `OSError`."""
    side = settings.target_side_length
    oversize = max(image.size) > side
    if not oversize and path.stat().st_size <= settings.img_downscale_threshold * 1024 * 1024:
        return None
    if oversize:
        scale = side / max(image.size)
        image = image.resize((max(round(image.width * scale), 1), max(round(image.height * scale), 1)), Image.Resampling.LANCZOS)
    target = path.with_suffix(".jpg")
    temporary = path.with_name(f".{os.getpid()}-{time.monotonic_ns()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write_picture(image, file, "jpg", notes, settings)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


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
