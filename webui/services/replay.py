"""Making a picture of the library again and saying whether it is the same: what to run, how to compare, how to keep it. Knows no routes, no engine.

Matrix kernels are not the same to the bit for every batch size, so the batch that was recorded is run, and only the wanted picture of it compared.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageChops
from pydantic import ValidationError

import webui
from webui.schema.errors import ConflictError, NotFoundError, RequestError
from webui.schema.event import Event, PictureSaved, ReplayDone
from webui.schema.img2img import Img2Img
from webui.schema.metadata import Metadata
from webui.schema.request import Replay
from webui.schema.result import PictureRecord, PictureView, ReplayReport
from webui.services.folders import write_atomically
from webui.services.library import Library
from webui.services.outputs import Outputs
from webui.services.run import JobRun
from webui.services.sheets import Aside, Saving

LOSSY = {".jpg", ".jpeg", ".webp", ".avif", ".jxl"}
"""Formats that (may) change pixels when they are saved."""


def plan_replay(record: PictureRecord, found: Metadata) -> Replay:
    """What to run for a picture whose file says `found`. Raises `ConflictError` when it cannot be made again, `RequestError` at `checkpoint` when
    that is not here."""
    if record.partial:
        raise ConflictError("This picture was interrupted, so there is nothing to compare.", hint="Replay a finished picture.")
    if not record.key.rsplit("/", 1)[-1].isdecimal():
        raise ConflictError("This picture came beside another one.", hint="Replay that one.")
    if found.request is None:
        raise ConflictError("The file does not say how this picture was made.", hint="Turn on enable_pnginfo or easel_request_in_png for new ones.")
    if isinstance(found.request, Img2Img) and found.request.image is None:
        raise ConflictError("The file does not say which picture this one began with.", hint="Turn on easel_request_in_png for new ones.")
    named = str(found.fields.get("Model") or found.request.checkpoint)
    checkpoint = str(found.values.get("checkpoint", ""))
    if named and not checkpoint:
        short = found.fields.get("Model hash")
        raise RequestError(
            f"The checkpoint “{named[:200]}”{f' [{short}]' if short else ''} is not here.", field="checkpoint",
            hint="Put the file into models/Stable-diffusion and replay again.",
        )
    request = found.request.without_script().revise(checkpoint=checkpoint)
    unmatched = list(found.comments)
    if found.index is None:
        unmatched.insert(0, "The file has no request of Easel's in it; A1111's line was used.")
    version, here = found.fields.get("Version"), f"Easel-{webui.__version__}"
    if version and version != here:
        unmatched.append(f"It was made by {version}; this is {here}.")
    if Path(record.path).suffix.lower() in LOSSY:
        unmatched.append("The file is not a PNG: saving it may have changed its pixels.")
    return Replay(picture=record.id, index=found.index or 0, request=request, unmatched=tuple(unmatched))


class Replays:
    """Makes pictures again. The last try of each lies in `folder` (a PNG, and JSON saying how it would be filed) until it is kept or a week old."""

    def __init__(self, folder: Path, library: Library, outputs: Outputs, emit: Callable[[Event], None]) -> None:
        self.folder = folder
        self._library = library
        self._outputs = outputs
        self._emit = emit
        self._keeping = threading.Lock()

    def run(self, run: JobRun, replay: Replay) -> ReplayReport:
        """Make the picture, compare it with the file, keep the report and tell it; outputs and library stay as they are. Raises `NotFoundError`,
        `Cancelled`, `StorageError`."""
        made = run.make_again(replay.request, replay.index)
        record = self._library.picture(replay.picture)
        try:
            with Image.open(record.path if record else "") as file:
                kept = file.convert("RGB")
        except OSError:
            raise NotFoundError(f"Picture {replay.picture} is not on the disk any more.") from None
        unmatched = list(replay.unmatched)
        if made.image.size != kept.size:
            unmatched.append(f"The file has {kept.width}×{kept.height} pixels, the picture {made.image.width}×{made.image.height}.")
        largest, share = difference(made.image, kept)
        report = ReplayReport(
            picture_id=replay.picture, job_id=run.job.id, identical=largest == 0, max_difference=largest, differing=share,
            unmatched=tuple(unmatched), created=time.time(),
        )
        self._set_aside(replay.picture, self._outputs.set_aside(Saving(run.job, str(replay.index), made), self.folder))
        self._library.put_replay(report)
        self._emit(ReplayDone(report=report))
        return report

    def report(self, picture_id: int) -> ReplayReport:
        """How the last replay of a picture went. Raises `NotFoundError` when there was none."""
        report = self._library.replay(picture_id)
        if report is None:
            raise NotFoundError(f"Picture {picture_id} was never replayed.")
        return report

    def keep(self, picture_id: int) -> ReplayReport:
        """File what the last replay made, like any picture; the report then says as which. A second time changes nothing. Raises `NotFoundError`
        when it was tidied away, `StorageError`."""
        with self._keeping:
            report = self.report(picture_id)
            return report if report.kept is not None else self._keep(report)

    def tidy(self, older_than: float) -> None:
        """Delete what nobody kept for so many seconds. Raises `OSError`."""
        limit = time.time() - older_than
        for path in self.folder.glob("*"):
            if path.stat().st_mtime < limit:
                path.unlink(missing_ok=True)

    def _keep(self, report: ReplayReport) -> ReplayReport:
        picture_id = report.picture_id
        try:
            aside = Aside.model_validate_json(self._note(picture_id).read_bytes())
        except (OSError, ValidationError):
            raise NotFoundError("What the replay made is not there any more.", hint="Replay the picture again.") from None
        record = self._outputs.keep(aside, lambda record: self._emit(PictureSaved(picture=PictureView.of(record)))).result()
        report = report.revise(kept=record.id)
        self._library.put_replay(report)
        self._forget(picture_id)
        return report

    def _set_aside(self, picture_id: int, aside: Aside) -> None:
        self._forget(picture_id)
        write_atomically(self._note(picture_id), aside.model_dump_json().encode())

    def _forget(self, picture_id: int) -> None:
        note = self._note(picture_id)
        try:
            Path(Aside.model_validate_json(note.read_bytes()).record.path).unlink(missing_ok=True)
            note.unlink(missing_ok=True)
        except (OSError, ValidationError):
            return  # nothing lies there; what cannot be read is tidied away by its age

    def _note(self, picture_id: int) -> Path:
        return self.folder / f"{picture_id}.json"


def difference(one: Image.Image, other: Image.Image) -> tuple[int, float]:
    """The largest difference of any channel (0 to 255) and the share of pixels that differ at all (0 to 1). Other sizes: all of it differs."""
    if one.size != other.size:
        return 255, 1.0
    channels = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).split()
    worst = channels[0]
    for channel in channels[1:]:
        worst = ImageChops.lighter(worst, channel)
    largest = worst.getextrema()[1]
    same = worst.histogram()[0]
    return int(largest), 1.0 - same / (one.width * one.height)  # pyright: ignore[reportArgumentType]
