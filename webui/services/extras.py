"""The Extras tab's one door: requests checked and put in line, then run picture by picture, each saved as soon as it is made.

Knows the engine by its contract only, and neither HTTP nor the page.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from webui.backend.network_files import NetworkFiles
from webui.engine.cancel import CancelToken
from webui.engine.captioners import find_captioner, lacks_clip
from webui.engine.extras.piece import Piece
from webui.engine.extras.restorers import check_restorer, restorers
from webui.engine.tools import RunTools, Step
from webui.plugins.registry import Registry
from webui.schema.errors import RequestError, WebuiError
from webui.schema.event import Described, Event, Notice, PictureSaved, Progress
from webui.schema.extras import OPERATIONS, Extras, Interrogate
from webui.schema.generation import ImageRef
from webui.schema.job import Job
from webui.schema.result import PictureRecord, PictureView
from webui.schema.sampling import UpscalerSpec
from webui.schema.sections import describe_fields
from webui.schema.settings import PictureSettings, Settings
from webui.services.extras_files import ExtrasFiles, Source
from webui.services.images import ImageStore
from webui.services.library import Library
from webui.services.picture_folders import PictureFolders, bytes_of, pictures_in
from webui.services.queue import JobQueue

log = logging.getLogger(__name__)

REPORT_SECONDS = 0.1
DESCRIPTIONS = 100
"""So many texts of `Interrogate` are remembered."""


class Engine(Protocol):
    """What is needed of `engine.runtime.Runtime`."""

    def process(self, image: Image.Image, request: Extras, tools: RunTools) -> list[Piece]:
        """What becomes of a picture."""
        ...

    def describe(self, image: Image.Image, kind: str, settings: PictureSettings) -> str:
        """A picture in words."""
        ...

    def tidy(self, keep_captioner: bool = False) -> None:
        """Let go of what is not to stay."""
        ...


@dataclass(frozen=True)
class Shop:
    """What Extras works with."""

    upscalers: Registry[UpscalerSpec]
    files: NetworkFiles
    images: ImageStore
    folders: PictureFolders
    library: Library
    outputs: Path
    models: Path


class ExtrasDesk:
    """Checks, queues and runs work on finished pictures."""

    def __init__(self, shop: Shop, queue: JobQueue, settings: Callable[[], Settings]) -> None:
        self._shop = shop
        self._queue = queue
        self._settings = settings
        self._files = ExtrasFiles(shop.outputs)
        self._texts: dict[str, str] = {}

    def form(self) -> dict[str, Any]:
        """The fields with what can be chosen now, and which of them belong to which operation."""
        upscalers = [spec.name for spec in self._shop.upscalers.values() if spec.latent_mode is None]
        restoring = ["", *(entry.name for entry in restorers(self._shop.files, "gfpgan"))]
        fields = describe_fields(Extras, {"image_upscalers": upscalers, "face_restorers": restoring})
        return {"fields": fields, "operations": OPERATIONS, "roots": [str(root) for root in self._shop.folders.roots]}

    def submit(self, request: Extras | Interrogate, owner: str = "") -> Job:
        """Check the request and put it in line. Raises `WebuiError` at the wrong field; then nothing is queued."""
        if isinstance(request, Interrogate):
            find_captioner(self._shop.models, "BLIP" if request.model == "CLIP" else request.model, "model")
            self._check_picture(request.image, "image")
        else:
            self._check(request)
        return self._queue.put(request, self._settings().snapshot({}), owner=owner)

    def description(self, job_id: str) -> str | None:
        """What an `Interrogate` gave, or None while (or because) there is nothing."""
        return self._texts.get(job_id)

    def run(self, job: Job, engine: Engine, emit: Callable[[Event], None], cancel: CancelToken) -> None:
        """Do the work. Raises `Cancelled`, `WebuiError`."""
        request = job.request
        try:
            if isinstance(request, Interrogate):
                if request.model == "CLIP" and (missing := lacks_clip(self._shop.models, job.settings)):
                    emit(_notice(job, missing))
                text = engine.describe(self._shop.images.open(request.image), request.model, job.settings)
                self._texts[job.id] = text
                while len(self._texts) > DESCRIPTIONS:
                    del self._texts[next(iter(self._texts))]
                emit(Described(job_id=job.id, text=text))
            elif isinstance(request, Extras):
                self._work_through(job, request, engine, emit, cancel)
        finally:
            engine.tidy(job.settings.interrogate_keep_models_in_memory)

    # Checks

    def _check(self, request: Extras) -> None:
        if not any(getattr(request, name) for name in OPERATIONS):
            raise RequestError("Nothing is to be done.", field="upscale", hint="Switch one of the operations on.")
        if request.upscale:
            self._upscaler(request.upscaler_1, "upscaler_1")
            self._upscaler(request.upscaler_2, "upscaler_2")
        if request.gfpgan:
            check_restorer(self._shop.files, "gfpgan", request.gfpgan_model, "gfpgan")
        if request.codeformer:
            check_restorer(self._shop.files, "codeformer", "", "codeformer")
        if request.autosized_crop and (request.mindim > request.maxdim or request.minarea > request.maxarea):
            field = "maxdim" if request.mindim > request.maxdim else "maxarea"
            raise RequestError("The upper limit is below the lower one.", field=field, hint="Make it larger.")
        for name in request.captions if request.caption else ():
            find_captioner(self._shop.models, name, "captions")
        if request.input_dir.strip():
            self._check_folders(request)
        elif not request.images:
            raise RequestError("There is no picture to work on.", field="images", hint="Drop one into the box, or choose a file.")
        for number, entry in enumerate(request.images):
            self._check_picture(entry.image, f"images.{number}")

    def _check_picture(self, ref: ImageRef, field: str) -> None:
        try:
            self._shop.images.check(ref)
        except WebuiError as error:
            raise RequestError(error.message, field=field, hint=error.hint) from error

    def _check_folders(self, request: Extras) -> None:
        folder = self._shop.folders.existing(request.input_dir, "input_dir")
        if request.images:
            raise RequestError("Either pictures or a folder of them, not both.", field="input_dir", hint="Empty one of the two.")
        if not pictures_in(folder):
            raise RequestError("There is no picture in this folder.", field="input_dir", hint="Pictures in folders below it are not taken.")
        if request.output_dir.strip() and self._shop.folders.writable(request.output_dir, "output_dir") == folder:
            raise RequestError("The pictures would be put among those that they are made of.", field="output_dir", hint="Take another folder.")

    def _upscaler(self, name: str, field: str) -> None:
        if self._shop.upscalers.get(name, field=field).latent_mode is not None:
            raise RequestError(f"{name} works on latents, not on pictures.", field=field, hint="Choose another upscaler.")

    # The work

    def _work_through(self, job: Job, request: Extras, engine: Engine, emit: Callable[[Event], None], cancel: CancelToken) -> None:
        sources = list(self._sources(request))
        done = {row.key.split("/")[0] for row in self._shop.library.pictures_of(job.id)}
        target = self._shop.folders.writable(request.output_dir, "output_dir") if request.output_dir.strip() else None
        lost: list[str] = []
        for number, source in enumerate(sources):
            cancel.begin_batch()
            if str(number) in done:
                continue  # an earlier run of this job finished it
            meter = _Meter(job.id, number, len(sources), emit)
            tools = RunTools(cancel, meter.report, settings=job.settings, tell=lambda text: emit(_notice(job, text)))
            try:
                image, texts = source.open()
            except WebuiError as error:
                if len(sources) == 1:
                    raise
                log.warning("%s: %s", source.name, error.message)
                lost.append(source.name)
                continue
            pieces = engine.process(image, request, tools)
            meter.report(Step("saving", 0, 1, 1, 1, 1.0))
            paths = self._files.save_all(pieces, source, texts, job.settings, target)
            for index, (piece, (path, line)) in enumerate(zip(pieces, paths, strict=True)):
                record = self._shop.library.add_picture(_record(job, f"{number}/{index}", piece, path, line))
                if not request.input_dir or request.show_extras_results:
                    emit(PictureSaved(picture=PictureView.of(record)))
        if lost:
            names = ", ".join(lost[:5]) + ("…" if len(lost) > 5 else "")
            emit(_notice(job, f"{len(lost)} of {len(sources)} files could not be read as pictures and were left out: {names}"))

    def _sources(self, request: Extras) -> Iterator[Source]:
        """The pictures in their order. One alone is numbered, several keep their names."""
        if request.input_dir.strip():
            for path in pictures_in(self._shop.folders.existing(request.input_dir, "input_dir")):
                yield Source(path.name, path.name, lambda path=path: bytes_of(path), _caption_of(path))
            return
        for entry in request.images:
            read = lambda entry=entry: self._shop.images.read(entry.image.sha256)  # noqa: E731
            yield Source(entry.name, entry.name if len(request.images) > 1 else "", read)


class _Meter:
    """Progress of the whole job: pictures done, and how far this one is."""

    def __init__(self, job_id: str, number: int, count: int, emit: Callable[[Event], None]) -> None:
        self._job_id = job_id
        self._number = number
        self._count = count
        self._emit = emit
        self._told = 0.0
        self._phase = ""

    def report(self, step: Step) -> None:
        """Tell the pages, at most every 0.1 s within a phase."""
        now = time.monotonic()
        if step.phase == self._phase and now - self._told < REPORT_SECONDS:
            return
        self._told, self._phase = now, step.phase
        self._emit(Progress(
            job_id=self._job_id, picture=self._number + 1, pictures=self._count, step=step.step, steps=step.steps, eta=None, phase=step.phase,
            fraction=(self._number + (step.share or 0.0)) / self._count,
        ))


def _record(job: Job, key: str, piece: Piece, path: Path, line: str) -> PictureRecord:
    return PictureRecord(
        id=0, job_id=job.id, key=key, path=str(path), width=piece.image.width, height=piece.image.height, seed=-1, infotext=line,
        created=time.time(),
    )


def _notice(job: Job, text: str) -> Notice:
    return Notice(id=f"job {job.id}", level="warning", message=text)


def _caption_of(path: Path) -> str:
    try:
        return path.with_suffix(".txt").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
