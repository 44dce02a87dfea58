"""img2img over a folder of the server (A1111's "Batch from directory"): one job, a run of the engine for each picture.

Knows how neither runs nor files are made. A picture that cannot be worked on is left out and named at the end.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import ValidationError

from webui.schema.errors import RequestError, WebuiError, field_errors
from webui.schema.generation import ImageRef
from webui.schema.img2img import FolderBatch, Img2Img
from webui.schema.job import Job
from webui.schema.metadata import Metadata
from webui.schema.result import PictureRecord
from webui.services.images import HeldPictures, decode
from webui.services.picture_folders import PictureFolders, bytes_of, pictures_in
from webui.services.run import JobRun
from webui.services.sheets import Place

NAMED = 5
"""So many of the pictures that were left out are named."""

Rest = Callable[[], object]


@dataclass
class _Work:
    """A batch under way: where its files are, and what is to be said at its end."""

    request: Img2Img
    batch: FolderBatch
    held: HeldPictures
    masks: Sequence[Path]
    told_in: Path | None
    place: Path | None
    lost: list[str] = field(default_factory=list)
    silent: int = 0
    stretched: int = 0


class FolderBatches:
    """`read` gives what the bytes of a picture file say of it."""

    def __init__(self, folders: PictureFolders, read: Callable[[bytes], Metadata]) -> None:
        self._folders = folders
        self._read = read

    def check(self, request: Img2Img, batch: FolderBatch) -> None:
        """Raises `RequestError` at the field that makes the job impossible. Looks into no picture."""
        if request.script:
            raise RequestError("A script cannot run over a folder.", field="script", hint="Choose none, or upload the pictures instead.")
        if request.image or request.mask or request.colour:
            raise RequestError("Either a picture or a folder of them, not both.", field="batch.input_dir", hint="Leave out one of the two.")
        if request.mode not in ("img2img", "inpaint_upload"):
            hint = "Take img2img; a folder of masks makes it inpainting."
            raise RequestError("Nobody can paint on the pictures of a folder.", field="mode", hint=hint)
        source = self._folders.existing(batch.input_dir, "batch.input_dir")
        if not pictures_in(source, deep=True):
            raise RequestError("There is no picture in this folder.", field="batch.input_dir", hint="Name another one.")
        masks = self._masks(batch)
        if batch.inpaint_mask_dir.strip() and not masks:
            raise RequestError("There is no mask in this folder.", field="batch.inpaint_mask_dir", hint="Leave it empty to work on whole pictures.")
        if request.mode == "inpaint_upload" and not masks:
            raise RequestError("There are no masks.", field="batch.inpaint_mask_dir", hint="Name their folder, or take the mode img2img.")
        self._told_in(batch)
        target = self._target(batch)
        if target is not None and target.is_relative_to(source):
            raise RequestError("The pictures would be put among those that they are made of.", field="batch.output_dir", hint="Take another folder.")

    def run(self, run: JobRun, request: Img2Img, batch: FolderBatch, held: HeldPictures) -> Rest:
        """Make the pictures. What it gives waits for the last ones to be saved, says what was left out, and raises as `JobRun.begin` does.

        Raises `Cancelled`, and `RequestError` when no picture could be worked on."""
        source = self._folders.existing(batch.input_dir, "batch.input_dir")
        before = run.finished()
        work = _Work(request, batch, held, self._masks(batch), self._told_in(batch), self._target(batch))
        pictures = _without(pictures_in(source, deep=True), before)
        run.plan([request] * len(pictures))
        if (limit := run.job.settings.img2img_batch_show_results_limit) >= 0:
            run.show_at_most(limit - len(before))
        done, wanted = Counter(row.key.rpartition("/")[0] for row in before), request.batch_count * request.batch_size
        rest: Rest = list
        for path in pictures:
            key, last = path.relative_to(source).as_posix(), rest
            if done[key] >= wanted:
                run.pass_over(request)  # an earlier run of this job finished it
                continue
            try:
                rest = self._begin(run, work, path, key)
            finally:
                last()  # its pictures were saved beside this run
        if pictures and len(work.lost) == len(pictures):
            raise RequestError(f"None of the {len(pictures)} pictures could be worked on: {work.lost[0]}", field="batch.input_dir")

        def finish() -> None:
            rest()
            _tell(run, work, len(pictures))

        return finish

    def _begin(self, run: JobRun, work: _Work, path: Path, key: str) -> Rest:
        """One picture. What is wrong with it ends only its own run."""
        work.held.forget()
        place = Place(work.place, path.stem.replace("\\", "_") if run.job.settings.img2img_batch_use_original_name else "")
        try:
            child = self._child(work, path)
        except WebuiError as error:
            run.pass_over(work.request)
            work.lost.append(f"{key} ({error.message})")
            return list
        try:
            return run.begin(child, key, place)
        except RequestError as error:
            run.pass_over(child)
            work.lost.append(f"{key} ({error.message})")
            return list

    def _child(self, work: _Work, path: Path) -> Img2Img:
        """The request of one picture. Raises `WebuiError`."""
        content = bytes_of(path)
        image = work.held.take(content)
        changes: dict[str, Any] = {"batch": None, "image": image, "mode": "img2img"}
        if work.masks:
            changes |= {"mode": "inpaint_upload", "mask": _mask(work, path, image)}
        if work.batch.use_png_info:
            changes |= self._told(work, path, content)
        try:
            return work.request.revise(**changes)
        except ValidationError as error:
            info = field_errors(error)[0]
            raise RequestError(f"{info.field}: {info.message}") from error

    def _told(self, work: _Work, path: Path, content: bytes) -> dict[str, Any]:
        """What the picture, or the file of its name, says of itself, of what is wanted."""
        try:
            values = self._read(bytes_of(work.told_in / path.name) if work.told_in else content).values
        except WebuiError:
            values = {}
        found = {name: values[name] for name in work.batch.png_info_props if name in values}
        work.silent += not found
        for name in ("prompt", "negative_prompt"):
            if name in found:
                found[name] = " ".join(text for text in (getattr(work.request, name), str(found[name])) if text)
        return found

    def _masks(self, batch: FolderBatch) -> list[Path]:
        name = batch.inpaint_mask_dir.strip()
        return pictures_in(self._folders.existing(name, "batch.inpaint_mask_dir")) if name else []

    def _told_in(self, batch: FolderBatch) -> Path | None:
        named = batch.use_png_info and batch.png_info_dir.strip()
        return self._folders.existing(batch.png_info_dir, "batch.png_info_dir") if named else None

    def _target(self, batch: FolderBatch) -> Path | None:
        return self._folders.writable(batch.output_dir, "batch.output_dir") if batch.output_dir.strip() else None


def shown_of(job: Job, pictures: Sequence[PictureRecord]) -> Sequence[PictureRecord]:
    """What pages show of a job's pictures: of a folder's results the first so many."""
    limit = job.settings.img2img_batch_show_results_limit
    return pictures[:limit] if isinstance(job.request, Img2Img) and job.request.batch is not None and limit >= 0 else pictures


def _without(pictures: Sequence[Path], made: Sequence[PictureRecord]) -> list[Path]:
    """The pictures of the folder that are none of what this job has made: its results may lie below the folder."""
    own = {Path(row.path) for row in made}
    return [path for path in pictures if path not in own]


def _mask(work: _Work, picture: Path, image: ImageRef) -> ImageRef:
    """The mask of the picture's name, or the only one there is, in the picture's size. Raises `WebuiError`."""
    same = [mask for mask in work.masks if mask.stem.casefold() == picture.stem.casefold()]
    if not same and len(work.masks) > 1:
        raise RequestError("there is no mask of its name")
    content = bytes_of((same or work.masks)[0])
    ref = work.held.take(content)
    if (ref.width, ref.height) == (image.width, image.height):
        return ref
    work.stretched += 1
    buffer = io.BytesIO()
    decode(content).resize((image.width, image.height), Image.Resampling.BILINEAR).save(buffer, "PNG")
    return work.held.take(buffer.getvalue())


def _tell(run: JobRun, work: _Work, count: int) -> None:
    """What the person would not expect."""
    said = []
    if work.lost:
        names = ", ".join(work.lost[:NAMED]) + (", …" if len(work.lost) > NAMED else "")
        said.append(f"{len(work.lost)} of {count} pictures were left out: {names}.")
    if work.silent:
        said.append(f"{work.silent} pictures say nothing of themselves that was wanted; the form's values were used.")
    if work.stretched:
        said.append(f"{work.stretched} masks had another size than their picture and were stretched.")
    if said:
        run.tell(" ".join(said))
