"""Finished pictures to files: A1111's folders, names and formats, infotext and request inside, off the generation thread.

A picture is announced only after temporary file, fsync, link under its final name and database commit, so what is shown is safe.
"""

from __future__ import annotations

import csv
import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from PIL import Image

from webui import __version__
from webui.engine.tools import Picture
from webui.schema.errors import StorageError
from webui.schema.job import Job
from webui.schema.model import Checkpoint
from webui.schema.result import PictureRecord
from webui.schema.settings import PictureSettings
from webui.services.folders import write_atomically
from webui.services.formats import Notes, usable_format, write_picture
from webui.services.grids import grid_shape, make_grid
from webui.services.infotext.writer import prompts_of, write_infotext
from webui.services.library import Library
from webui.services.names import NameFacts, apply_pattern
from webui.services.placing import Name, Numbers, below, split_name

log = logging.getLogger(__name__)

FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
GRID = "grid"
"""The basename of grids: `grid-0000.png`."""


@dataclass(frozen=True)
class Saving:
    """What is to be saved as which child of which job."""

    job: Job
    key: str
    picture: Picture

    @property
    def settings(self) -> PictureSettings:
        """The job's settings with the overrides of this picture's request, which a script may have made."""
        return self.job.settings_for(self.picture.plan.request)


@dataclass(frozen=True)
class Place:
    """Where a file is to go: below `root`, under the name that a filled pattern gives, in this format."""

    root: Path
    text: str
    form: str
    basename: str = ""


class Outputs:
    """Saves pictures one after another on a thread of its own. `scratch` takes those that the settings say not to keep: pages still show them."""

    def __init__(self, folder: Path, scratch: Path, library: Library, hash_of: Callable[[Checkpoint], str | None]) -> None:
        self.folder = folder
        self.scratch = scratch
        self._library = library
        self._hash_of = hash_of
        self._numbers = Numbers()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="save")

    def save(self, saving: Saving, saved: Callable[[PictureRecord], None]) -> Future[PictureRecord]:
        """Write the picture in the background; `saved` is called on that thread when it is safe. The future raises `StorageError`."""
        return self._thread.submit(self._save, saving, saved)

    def save_grid(self, saving: Saving, records: Sequence[PictureRecord]) -> Future[Path | None]:
        """Write the grid of finished pictures in the background. `saving` is one of them, for names and settings. A grid is a file beside the
        pictures, no row of the library: it is not counted, shown or made again. None when the settings want none, when it would be too large,
        and when it could not be written (the log says why; the pictures are safe)."""
        return self._thread.submit(self._try_grid, saving, records)

    def close(self) -> None:
        """Wait for what is being written."""
        self._thread.shutdown(wait=True)

    def _save(self, saving: Saving, saved: Callable[[PictureRecord], None]) -> PictureRecord:
        picture, settings = saving.picture, saving.settings
        sha256 = self._hash_of(picture.plan.checkpoint)
        infotext = write_infotext(picture.plan, picture.index, sha256, settings, saving.job.owner)
        notes = Notes(infotext if settings.enable_pnginfo else None, describe(saving) if settings.easel_request_in_png else None)
        keep = settings.samples_save and (settings.save_incomplete_images or not picture.partial)
        facts = facts_of(saving, sha256)
        root = below(self.folder if keep else self.scratch, settings.outdir_samples or settings.outdir_txt2img_samples)
        if settings.save_to_dirs:
            root = below(root, apply_pattern(settings.directories_filename_pattern or "[prompt_words]", facts))
        pattern = settings.samples_filename_pattern or ("[seed]" if settings.save_to_dirs else "[seed]-[prompt_spaces]")
        place = Place(root, apply_pattern(pattern, facts), settings.samples_format)
        path = self._put(picture.image, place, notes, infotext, settings)
        record = self._library.add_picture(
            PictureRecord(
                id=0, job_id=saving.job.id, key=saving.key, path=str(path), width=picture.image.width, height=picture.image.height,
                seed=picture.seed, infotext=infotext, created=time.time(), partial=picture.partial,
            )
        )
        saved(record)
        return record

    def _try_grid(self, saving: Saving, records: Sequence[PictureRecord]) -> Path | None:
        try:
            return self._save_grid(saving, records)
        except StorageError as error:
            log.error("no grid: %s", error.message)
            return None

    def _save_grid(self, saving: Saving, records: Sequence[PictureRecord]) -> Path | None:
        settings, plan = saving.settings, saving.picture.plan
        if not settings.grid_save or (len(records) < 2 and settings.grid_only_if_multiple):
            return None
        shape = grid_shape(len(records), plan.request.batch_size, settings)
        try:
            grid = make_grid([Path(record.path) for record in records], shape, settings.img_max_size_mp * 1_000_000)
        except OSError as error:
            raise StorageError(f"The grid could not be made: a picture cannot be read any more ({error.strerror or error}).") from error
        if grid is None:
            log.info("no grid: %d×%d pictures are more than img_max_size_mp allows", *shape)
            return None
        first = Saving(saving.job, GRID, Picture(grid, plan, 0))
        sha256 = self._hash_of(plan.checkpoint)
        infotext = write_infotext(plan, 0, sha256, settings, saving.job.owner)
        notes = Notes(infotext if settings.enable_pnginfo else None, None)
        facts = facts_of(first, sha256)
        root = below(self.folder, settings.outdir_grids or settings.outdir_txt2img_grids)
        if settings.grid_save_to_dirs:
            root = below(root, apply_pattern(settings.directories_filename_pattern or "[prompt_words]", facts))
        pattern = (settings.samples_filename_pattern or "[seed]") if settings.grid_extended_filename else ""
        return self._put(grid, Place(root, apply_pattern(pattern, facts), settings.grid_format, GRID), notes, infotext, settings)

    def _put(self, image: Image.Image, place: Place, notes: Notes, infotext: str, settings: PictureSettings) -> Path:
        folders, text = split_name(place.text)
        folder = place.root.joinpath(*folders)
        form = usable_format(place.form, image.size)
        numbered = settings.save_images_add_number or bool(place.basename) or not text
        name = Name(text, form, place.basename, numbered, replace=settings.save_images_replace_action == "Replace")
        try:
            path, complete = self._write(image, notes, folder, name, settings)
            if settings.save_txt or not complete:
                write_atomically(path.with_suffix(".txt"), f"{infotext}\n".encode(errors="replace"))
            if settings.export_for_4chan and form != "jpg":
                copy_as_jpg(image, path, notes, settings)
        except OSError as error:
            raise StorageError(
                f"The picture could not be saved to {folder}: {error.strerror or error}.",
                hint="Free some space." if error.errno in FULL else "Make the folder writable or start with another --outputs-dir.",
            ) from error
        return path

    def _write(self, image: Image.Image, notes: Notes, folder: Path, name: Name, settings: PictureSettings) -> tuple[Path, bool]:
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


def facts_of(saving: Saving, sha256: str | None) -> NameFacts:
    """What the patterns can say of a picture."""
    job, picture, plan = saving.job, saving.picture, saving.picture.plan
    request, size = plan.request, plan.request.batch_size
    prompt, negative = prompts_of(plan, picture.index)
    return NameFacts(
        prompt=prompt, main_prompt=plan.batches[0].prompts[0], negative_prompt=negative, seed=picture.seed, seeds=plan.seeds,
        steps=plan.passes[0].steps, cfg_scale=plan.passes[0].cfg, image=picture.image, styles=request.style_texts, sampler=plan.sampler.name,
        scheduler=request.scheduler, sampler_schedule=plan.sampler.scheduler, model_hash=sha256[:10] if sha256 else "",
        model_name=plan.checkpoint.stem, batch_size=size, batch_count=request.batch_count, batch_index=picture.index % size,
        batch=picture.index // size, user=job.owner or None, max_words=saving.settings.directories_max_prompt_words,
        clip_skip=getattr(saving.settings, "CLIP_stop_at_last_layers", 1),
        begun=datetime.fromtimestamp(job.started or job.created or time.time()), basename=saving.key if saving.key == GRID else "",
    )


def describe(saving: Saving) -> str:
    """The JSON of the PNG chunk `easel`: everything needed to run this picture again."""
    picture = saving.picture
    content = {"version": __version__, "request": picture.plan.request.model_dump(mode="json"), "index": picture.index, "key": saving.key}
    return json.dumps(content)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # a folder cannot be opened there; NTFS journals the name
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def copy_to_log(record: PictureRecord, folder: Path, write_csv: bool = True) -> Path:
    """A1111's Save button: copy the file to `folder` and, if wanted, add a line to its log.csv. Raises `StorageError`."""
    source = Path(record.path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / source.name
        number = 1
        while target.exists() and target.read_bytes() != source.read_bytes():
            target = folder / f"{source.stem}-{number}{source.suffix}"
            number += 1
        shutil.copy2(source, target)
        if not write_csv:
            return target
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
