"""Finished pictures to files: A1111's folders and numbering, infotext and request inside the PNG, off the generation thread.

A picture is announced only after temporary file, fsync, link under its final name and database commit, so what is shown is safe.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from webui import __version__
from webui.engine.tools import Picture
from webui.schema.errors import StorageError
from webui.schema.job import Job
from webui.schema.model import Checkpoint
from webui.schema.result import PictureRecord
from webui.services.infotext import write_infotext
from webui.services.library import Library

LINK_TRIES = 1000
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@dataclass(frozen=True)
class Saving:
    """What is to be saved as which child of which job."""

    job: Job
    key: str
    picture: Picture


class Outputs:
    """Saves pictures one after another on a thread of its own. `scratch` takes those that the settings say not to keep: pages still show them."""

    def __init__(self, folder: Path, scratch: Path, library: Library, hash_of: Callable[[Checkpoint], str | None]) -> None:
        self.folder = folder
        self.scratch = scratch
        self._library = library
        self._hash_of = hash_of
        self._next: dict[Path, int] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="save")

    def save(self, saving: Saving, saved: Callable[[PictureRecord], None]) -> Future[PictureRecord]:
        """Write the picture in the background; `saved` is called on that thread when it is safe. The future raises `StorageError`."""
        return self._thread.submit(self._save, saving, saved)

    def close(self) -> None:
        """Wait for what is being written."""
        self._thread.shutdown(wait=True)

    def _save(self, saving: Saving, saved: Callable[[PictureRecord], None]) -> PictureRecord:
        picture, settings = saving.picture, saving.job.settings
        infotext = write_infotext(picture.plan, picture.index, self._hash_of(picture.plan.checkpoint))
        info = PngInfo()
        if settings.enable_pnginfo:
            info.add_text("parameters", infotext)
        if settings.easel_request_in_png:
            info.add_text("easel", describe(saving))
        keep = settings.samples_save and (settings.save_incomplete_images or not picture.partial)
        folder = (self.folder if keep else self.scratch) / settings.outdir_txt2img_samples
        if settings.save_to_dirs:
            folder /= time.strftime("%Y-%m-%d")
        try:
            path = self._write(picture.image, info, folder, picture.seed)
        except OSError as error:
            raise StorageError(
                f"The picture could not be saved to {folder}: {error.strerror or error}.",
                hint="Free some space." if error.errno in FULL else "Make the folder writable or start with another --outputs-dir.",
            ) from error
        record = self._library.add_picture(
            PictureRecord(
                id=0, job_id=saving.job.id, key=saving.key, path=str(path), width=picture.image.width, height=picture.image.height,
                seed=picture.seed, infotext=infotext, created=time.time(), partial=picture.partial,
            )
        )
        saved(record)
        return record

    def _write(self, image: Image.Image, info: PngInfo, folder: Path, seed: int) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{os.getpid()}-{time.monotonic_ns()}.tmp"
        try:
            with open(temporary, "wb") as file:
                image.save(file, "PNG", pnginfo=info)
                file.flush()
                os.fsync(file.fileno())
            path = self._name(temporary, folder, seed)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(folder)
        return path

    def _name(self, temporary: Path, folder: Path, seed: int) -> Path:
        """Give the file the next number of its folder. A link fails when the name is taken, so nothing is ever overwritten."""
        number = self._next.get(folder)
        if number is None:
            number = next_number(folder)
        for _ in range(LINK_TRIES):
            path = folder / f"{number:05}-{seed}.png"
            number += 1
            try:
                _move_new(temporary, path)
            except FileExistsError:
                continue
            self._next[folder] = number
            return path
        raise FileExistsError(errno.EEXIST, f"{LINK_TRIES} file names in a row are taken", str(folder))


def describe(saving: Saving) -> str:
    """The JSON of the PNG chunk `easel`: everything needed to run this picture again."""
    picture = saving.picture
    content = {"version": __version__, "request": picture.plan.request.model_dump(mode="json"), "index": picture.index, "key": saving.key}
    return json.dumps(content)


def next_number(folder: Path) -> int:
    """One more than the largest number that a file name in the folder begins with; 0 in an empty folder (A1111's rule)."""
    numbers = (re.match(r"(\d+)", name) for name in os.listdir(folder))
    return max((int(match.group(1)) for match in numbers if match), default=-1) + 1


def _move_new(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links (exFAT): the check and the rename are two steps, good enough for one saving thread
        if target.exists():
            raise FileExistsError(errno.EEXIST, "exists", str(target)) from None
        os.rename(source, target)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # a folder cannot be opened there; NTFS journals the name
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def copy_to_log(record: PictureRecord, folder: Path) -> Path:
    """A1111's Save button: copy the file to `folder` and add a line to its log.csv. Raises `StorageError`."""
    source = Path(record.path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / source.name
        number = 1
        while target.exists() and target.read_bytes() != source.read_bytes():
            target = folder / f"{source.stem}-{number}{source.suffix}"
            number += 1
        shutil.copy2(source, target)
        log = folder / "log.csv"
        fresh = not log.exists()
        with open(log, "a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["filename", "seed", "width", "height", "infotext"])
            writer.writerow([target.name, record.seed, record.width, record.height, record.infotext])
    except OSError as error:
        raise StorageError(f"The picture could not be copied to {folder}: {error.strerror or error}.", hint="Is the folder writable?") from error
    return target
