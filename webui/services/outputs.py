"""Finished pictures to files: A1111's folders, names and formats, infotext and request inside, off the generation thread.

A picture is announced only after temporary file, fsync, link and database commit, so what is shown is safe. While the hash of its checkpoint is being
computed it is a draft: pixels, request and the sheet of its file on disk, the row in the library. `finish` makes the file.
"""

from __future__ import annotations

import csv
import logging
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from pydantic import ValidationError

from webui.engine.img2img import INIT_HASH
from webui.engine.tools import Companion, Picture
from webui.schema.errors import ModelError, StorageError
from webui.schema.event import Event, Notice, PictureFiled
from webui.schema.model import Checkpoint, ModelFile
from webui.schema.result import PictureRecord, PictureView
from webui.services.folders import write_atomically
from webui.services.formats import Notes, copy_as_jpg, usable_format
from webui.services.grids import Captioned, GridLook, grid_shape, make_grid
from webui.services.infotext.writer import write_infotext
from webui.services.library import Draft, Library
from webui.services.picture_files import PictureFiles, in_words
from webui.services.placing import Name, below, split_name
from webui.services.sheets import GRID, Aside, Saving, Sheet, make_sheet, wants_hash

log = logging.getLogger(__name__)



@dataclass(frozen=True)
class Waiting:
    """What happens to pictures whose checkpoint has no known hash yet."""
    folder: Path
    """Where their pixels lie meanwhile."""

    ask: Callable[[Checkpoint], None]
    """Begin to compute the hash, unless that goes on already. Must return at once; `Outputs.finish` is called when it is done."""


def _nobody(event: Event) -> None:
    """No page is open."""


class Outputs:
    """Saves pictures one after another on a thread of its own. `scratch` takes those that the settings say not to keep: pages still show them.

    `hash_of` says what is known of a checkpoint's hash and computes nothing; without `waiting` (hashing is off) a file is written without it.
    `vae_hash_of` computes that of a VAE's file. `params` is where A1111's `params.txt` goes; None = it is not written."""

    def __init__(
        self, folder: Path, scratch: Path, library: Library, hash_of: Callable[[Checkpoint], str | None], *, waiting: Waiting | None = None,
        emit: Callable[[Event], None] = _nobody, vae_hash_of: Callable[[ModelFile], str] | None = None, params: Path | None = None,
    ) -> None:
        self.folder = folder
        self.scratch = scratch
        self._library = library
        self._hash_of = hash_of
        self._waiting = waiting
        self._vae_hash_of = vae_hash_of
        self._emit = emit
        self._params = params
        self._files = PictureFiles()
        self._done: list[Path] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="save")

    def save(self, saving: Saving, saved: Callable[[PictureRecord], None]) -> Future[PictureRecord]:
        """Write the picture in the background; `saved` is called on that thread when it is safe. The future raises `StorageError`."""
        return self._thread.submit(self._save, saving, saved)

    def set_aside(self, saving: Saving, folder: Path) -> Aside:
        """Write a picture into `folder`, as it would be saved now, and no row of the library. Raises `StorageError`."""
        sheet = self._sheet(saving, self._samples(saving))
        image = saving.picture.image
        try:
            path, _ = self._files.write(image, sheet.notes, folder, Name(secrets.token_hex(8), "png", numbered=False), sheet.settings)
        except OSError as error:
            raise in_words(folder, error) from error
        return Aside(sheet=sheet, record=_record(saving, sheet, str(path)))

    def keep(self, aside: Aside, saved: Callable[[PictureRecord], None]) -> Future[PictureRecord]:
        """File a picture that was set aside as if it had just been made. The future raises `StorageError`."""
        return self._thread.submit(self._keep, aside, saved)

    def note_params(self, saving: Saving) -> Future[None]:
        """Write A1111's `params.txt`, the line of the first picture of this one's run, in the background."""
        return self._thread.submit(self._note_params, saving)

    def save_grid(self, saving: Saving, records: Sequence[PictureRecord | None], captions: Captioned | None = None) -> Future[Path | None]:
        """Write the grid of finished pictures in the background; with captions it has their shape, and None leaves a place empty. `saving` is one of
        them, for names and settings. A grid is a file beside the
        pictures, no row of the library: it is not counted, shown or made again. None when the settings want none, when it would be too large,
        when it waits for a hash, and when it could not be written (the log says why; the pictures are safe)."""
        return self._thread.submit(self._try_grid, saving, records, captions)

    def finish(self, checkpoint: str) -> Future[None]:
        """The hash of a checkpoint (by name) is known, or never will be: write the files that waited for it, in the background."""
        return self._thread.submit(self._finish_all, checkpoint)

    def resume(self) -> Future[None]:
        """Go on, in the background, with what the last server had not written when it ended."""
        return self._thread.submit(self._resume)

    def close(self) -> None:
        """Wait for what is being written."""
        self._thread.shutdown(wait=True)
        self._sweep()

    def _save(self, saving: Saving, saved: Callable[[PictureRecord], None]) -> PictureRecord:
        picture, settings = saving.picture, saving.settings
        keep = settings.samples_save and (settings.save_incomplete_images or not picture.partial)
        sheet = self._sheet(saving, self._samples(saving, None if keep else self.scratch))
        aside = None if all(one.kept for one in picture.companions) else self._sheet(saving, self._samples(saving, self.scratch))
        if picture.original is not None:
            self._put_original(picture.original, saving)
        beside = [(one, (sheet if one.kept or aside is None else aside).named(one.ending)) for one in picture.companions]
        return self._file(picture.image, sheet, _record(saving, sheet), saved, beside)

    def _put_original(self, image: Image.Image, saving: Saving) -> None:
        """The picture that img2img began with, once, under its hash."""
        name, folder = str(dict(saving.picture.plan.extras)[INIT_HASH]), below(self.folder, saving.settings.outdir_init_images)
        if not (folder / f"{name}.png").exists():
            try:
                self._files.write(image, Notes(None, None), folder, Name(name, "png", numbered=False, replace=True), saving.settings)
            except OSError as error:
                raise in_words(folder, error) from error

    def _keep(self, aside: Aside, saved: Callable[[PictureRecord], None]) -> PictureRecord:
        sha256 = self._hash_of(aside.sheet.checkpoint)
        sheet = aside.sheet.with_hash(sha256) if sha256 or self._waiting is None else aside.sheet
        try:
            with Image.open(aside.record.path) as file:
                image = file.convert("RGBA" if file.mode == "RGBA" else "RGB")
        except OSError as error:
            raise StorageError(f"{aside.record.path} cannot be read: {error.strerror or error}.") from error
        return self._file(image, sheet, aside.record.revise(infotext=sheet.label.infotext, created=time.time()), saved)

    def _file(
        self, image: Image.Image, sheet: Sheet, record: PictureRecord, saved: Callable[[PictureRecord], None],
        companions: Sequence[tuple[Companion, Sheet]] = (),
    ) -> PictureRecord:
        """The files or the drafts of a picture and of its companions, then its row and those of companions that are shown."""
        made = [(one, self._safe(one.image, of, str(record.seed))) for one, of in companions]
        path, draft = self._safe(image, sheet, str(record.seed))
        unseen = [of for one, (_, of) in made if of is not None and not one.shown]
        record = self._library.add_picture(record.revise(path=path), *unseen, *([draft] if draft else []))
        rows = [record]
        for one, (path, draft) in made:
            if one.shown:
                row = record.revise(key=f"{record.key}.{one.ending}", path=path, width=one.image.width, height=one.image.height)
                rows.append(self._library.add_picture(row, *([draft] if draft else [])))
        for row in rows:
            saved(row)
        self._ask(sheet)
        return record

    def _safe(self, image: Image.Image, sheet: Sheet, name: str) -> tuple[str, Draft | None]:
        """Where the picture is safe: its file, or the draft that becomes one."""
        if not sheet.marked:
            return str(self._put(image, sheet)), None
        draft = self._draft(image, sheet, name)
        return draft.path, draft

    def _samples(self, saving: Saving, root: Path | None = None) -> Path:
        if root is None and saving.place and saving.place.folder:
            return saving.place.folder
        return below(root or self.folder, saving.settings.outdir_samples or saving.folders.samples)

    def _note_params(self, saving: Saving) -> None:
        if self._params is None:
            return
        plan = saving.picture.plan
        line = write_infotext(plan, 0, self._hash_of(plan.checkpoint), saving.settings, saving.job.owner)
        try:
            write_atomically(self._params, line.encode(errors="replace"))
        except OSError as error:
            log.warning("%s was not written: %s", self._params, error)

    def _sheet(self, saving: Saving, root: Path) -> Sheet:
        checkpoint = saving.picture.plan.checkpoint
        sha256 = self._hash_of(checkpoint)
        wait = sha256 is None and self._waiting is not None and wants_hash(saving.settings)
        return make_sheet(saving, root, sha256, wait, self._vae_hash(saving))

    def _vae_hash(self, saving: Saving) -> str | None:
        """Computed right here, once for a file: a VAE is a third of a gigabyte at most, and this thread is nobody's but the pictures'."""
        vae = saving.picture.plan.vae
        if vae is None or self._vae_hash_of is None or not saving.settings.add_vae_hash_to_info:
            return None
        try:
            return self._vae_hash_of(vae)
        except ModelError as error:
            log.warning("no VAE hash: %s", error.message)
            return None

    def _ask(self, sheet: Sheet) -> None:
        if sheet.marked and self._waiting:
            self._waiting.ask(sheet.checkpoint)

    def _try_grid(self, saving: Saving, records: Sequence[PictureRecord | None], captions: Captioned | None) -> Path | None:
        try:
            return self._save_grid(saving, records, captions)
        except StorageError as error:
            log.error("no grid: %s", error.message)
            return None

    def _save_grid(self, saving: Saving, records: Sequence[PictureRecord | None], captions: Captioned | None) -> Path | None:
        settings, plan = saving.settings, saving.picture.plan
        if not settings.grid_save or (len(records) < 2 and settings.grid_only_if_multiple):
            return None
        # a draft may have become a file since
        now = [self._library.picture(record.id) if record and record.pending else record for record in records]
        if captions is None:
            now = [record for record in now if record is not None]
        shape = captions.shape if captions else grid_shape(len(records), plan.request.batch_size, settings)
        paths = [Path(record.path) if record else None for record in now]
        look = GridLook.of(settings, captions.columns, captions.rows, captions.margin) if captions else GridLook.of(settings)
        try:
            grid = make_grid(paths, shape, settings.img_max_size_mp * 1_000_000, look)
        except OSError as error:
            raise StorageError(f"The grid could not be made: a picture cannot be read any more ({error.strerror or error}).") from error
        if grid is None:
            log.info("no grid: %d×%d pictures are more than img_max_size_mp allows", *shape)
            return None
        root = below(self.folder, settings.outdir_grids or saving.folders.grids)
        sheet = self._sheet(Saving(saving.job, GRID, Picture(grid, plan, 0)), root)
        if not sheet.marked:
            return self._put(grid, sheet)
        self._library.add_draft(self._draft(grid, sheet, GRID))
        self._ask(sheet)
        return None

    # Drafts: pictures that wait for a hash

    def _draft(self, image: Image.Image, sheet: Sheet, name: str) -> Draft:
        """Put the pixels away, with what is known of them inside: whoever finds the file later can read it."""
        assert self._waiting is not None
        called = Name(f"{name}-{secrets.token_hex(8)}", "png", numbered=False)
        try:
            path, _ = self._files.write(image, sheet.notes, self._waiting.folder, called, sheet.settings)
        except OSError as error:
            raise in_words(self._waiting.folder, error) from error
        return Draft(str(path), sheet.checkpoint.name, sheet.model_dump_json())

    def _finish_all(self, checkpoint: str) -> None:
        self._sweep()
        for draft in self._library.drafts(checkpoint):
            self._try_finish(draft)

    def _try_finish(self, draft: Draft) -> None:
        try:
            self._finish(draft)
        except (StorageError, ValidationError) as error:
            reason = error.message if isinstance(error, StorageError) else "Another version of Easel wrote its notes."
            log.error("%s stays a draft: %s", draft.path, reason)
            self._emit(Notice(
                id="drafts", level="error", message=f"A finished picture could not be put into its folder; it is safe in {draft.path}. {reason}",
            ))

    def _finish(self, draft: Draft) -> None:
        sheet = Sheet.read(draft.sheet)
        sheet = sheet.with_hash(self._hash_of(sheet.checkpoint))
        try:
            with Image.open(draft.path) as file:
                image = file.convert("RGBA" if file.mode == "RGBA" else "RGB")
        except FileNotFoundError:
            log.error("the draft %s is gone", draft.path)
            self._library.drop_draft(draft)
            return
        except (OSError, SyntaxError, ValueError) as error:
            raise StorageError(f"It cannot be read: {error}.") from error
        path = self._put(image, sheet)
        record = self._library.finish_draft(draft, str(path), sheet.label.infotext)
        if record is not None:
            self._emit(PictureFiled(picture=PictureView.of(record)))
        self._done.append(Path(draft.path))

    def _sweep(self) -> None:
        """Delete drafts that have become files, not at once: somebody may be about to read one."""
        while self._done:
            self._done.pop().unlink(missing_ok=True)

    def _resume(self) -> None:
        drafts = self._library.drafts()
        if self._waiting is None:
            for draft in drafts:
                self._try_finish(draft)
            return
        for draft in drafts:
            checkpoint = _checkpoint_of(draft)
            if checkpoint is None or self._hash_of(checkpoint):
                self._try_finish(draft)
            else:
                self._waiting.ask(checkpoint)
        named = {Path(draft.path).name for draft in drafts}
        for path in self._waiting.folder.glob("*"):
            if path.name not in named:  # written, but neither announced nor in the library when the server died: its job makes it again
                path.unlink(missing_ok=True)

    # Files

    def _put(self, image: Image.Image, sheet: Sheet) -> Path:
        settings, notes, infotext = sheet.settings, sheet.notes, sheet.label.infotext
        folders, text = split_name(sheet.label.name)
        folder = Path(sheet.label.folder).joinpath(*folders)
        form = usable_format(sheet.form, image.size)
        numbered = settings.save_images_add_number or bool(sheet.basename) or not text
        name = Name(text, form, sheet.basename, numbered, replace=settings.save_images_replace_action == "Replace")
        try:
            path, complete = self._files.write(image, notes, folder, name, settings)
            if settings.save_txt or not complete:
                write_atomically(path.with_suffix(".txt"), f"{infotext}\n".encode(errors="replace"))
            if settings.export_for_4chan and form != "jpg":
                copy_as_jpg(image, path, notes, settings)
        except OSError as error:
            raise in_words(folder, error) from error
        return path


def _record(saving: Saving, sheet: Sheet, path: str = "") -> PictureRecord:
    """The row that a picture will have."""
    picture = saving.picture
    return PictureRecord(
        id=0, job_id=saving.job.id, key=saving.key, path=path, width=picture.image.width, height=picture.image.height, seed=picture.seed,
        infotext=sheet.label.infotext, created=time.time(), partial=picture.partial,
    )


def _checkpoint_of(draft: Draft) -> Checkpoint | None:
    try:
        return Sheet.read(draft.sheet).checkpoint
    except ValidationError:
        return None


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
