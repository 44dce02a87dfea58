"""One job being run: counts the work, tells progress, saves pictures, and is the `Run` that scripts get. Knows the engine only by its contract."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Protocol

from PIL import Image
from pydantic import ValidationError

from webui.engine.cancel import CancelToken
from webui.engine.plan import Plan, steps_of
from webui.engine.tools import Picture, RunTools, Step
from webui.schema.errors import Cancelled, RequestError, field_errors
from webui.schema.event import Event, Notice, PictureSaved, Preview, Progress
from webui.schema.generation import ImageRef
from webui.schema.job import Job
from webui.schema.request import PictureRequest
from webui.schema.result import Caption, PictureRecord, PictureView
from webui.schema.settings import MachineSettings, PictureSettings
from webui.services.grids import Captioned
from webui.services.library import Library
from webui.services.outputs import Outputs
from webui.services.sheets import Place, Saving

log = logging.getLogger(__name__)

REPORT_SECONDS = 0.1
"""Least time between two progress events; the last step of a picture is always told."""


class Engine(Protocol):
    """What a run needs of `engine.runtime.Runtime`."""

    def generate(self, request: PictureRequest, tools: RunTools) -> Iterator[Picture]:
        """Pictures one by one."""
        ...

    def plan(self, request: PictureRequest, settings: PictureSettings) -> Plan:
        """The request with everything resolved."""
        ...


class JobRun:
    """Implements `plugins.script.Run` for one job."""

    def __init__(
        self, job: Job, engine: Engine, outputs: Outputs, library: Library, emit: Callable[[Event], None], token: CancelToken,
        machine: MachineSettings, *, open_image: Callable[[ImageRef], Image.Image] | None = None,
    ) -> None:
        self.job = job
        self._stores: dict[str, Any] = {"open_image": open_image} if open_image else {}
        self.token = token
        self.machine = machine
        self._engine = engine
        self._outputs = outputs
        self._library = library
        self._emit = emit
        self._meter = Meter(job.id, emit)
        self._seq = 0
        self._left: int | None = None

    def plan(self, requests: Sequence[PictureRequest]) -> None:
        """Declare the cost of everything that will be generated."""
        self._meter.plan(sum(work_of(request) for request in requests), sum(request.batch_count * request.batch_size for request in requests))

    def generate(self, request: PictureRequest, key: str = "") -> list[PictureRecord]:
        """Run the engine and save every picture as `key/0`, `key/1`, … (`0`, `1`, … without a key). Returns them in order, those that an
        earlier run of the job finished included. Raises `Cancelled`, `WebuiError`."""
        return self.begin(request, key)()

    def begin(self, request: PictureRequest, key: str = "", place: Place | None = None) -> Callable[[], list[PictureRecord]]:
        """As `generate`, but back as soon as the pictures are made: what it gives waits until they are saved (at `place`), on any thread, and then
        returns or raises as `generate` does."""
        self.token.raise_if_interrupted()
        count = request.batch_count * request.batch_size
        names = [f"{key}/{index}" if key else str(index) for index in range(count)]
        done = {row.key: row for row in self._library.pictures_of(self.job.id, key) if not row.partial}
        finished = frozenset(index for index, name in enumerate(names) if name in done)
        self._meter.begin(request)
        last: Picture | None = None
        futures: list[Future[PictureRecord]] = []
        if len(finished) < count:
            tools = RunTools(
                self.token, self._meter.report, self._preview, self.machine, settings=self._settings(request), finished=finished,
                tell=self.tell, **self._stores,
            )
            for picture in self._engine.generate(request, tools):
                last = picture
                futures.append(self._save(picture, names[picture.index], place))
                if len(futures) == 1:
                    self._outputs.note_params(Saving(self.job, "", picture))
                failed = next((future for future in futures if future.done() and future.exception()), None)
                if failed:
                    break  # the disk is full or gone: hours of pictures that cannot be kept help nobody
        self._meter.phase("saving")
        self._meter.end(request)

        def finish() -> list[PictureRecord]:
            for future in futures:
                record = future.result()
                if not record.partial:
                    done[record.key] = record
            self.token.raise_if_interrupted()
            records = [done[name] for name in names if name in done]
            if records and last and not key:  # a script lays out grids of its own
                self._outputs.save_grid(Saving(self.job, "", last), records)  # nobody waits for it
            return records

        return finish

    def save_grid(
        self, request: PictureRequest, records: Sequence[PictureRecord | None], columns: Sequence[Sequence[Caption]] = (),
        rows: Sequence[Sequence[Caption]] = (), margin: int = 0,
    ) -> None:
        """Write a grid of pictures of this job in the background, row by row, as large as its captions say; see `Outputs.save_grid`. Raises
        `RequestError` when the pictures do not fill it."""
        captions = Captioned(columns, rows, margin)
        wide, high = captions.shape
        if len(records) != wide * high:
            raise RequestError(f"A grid of {wide} × {high} pictures needs {wide * high} of them, not {len(records)}.")
        if any(records):
            plan = self._engine.plan(request, self._settings(request))
            self._outputs.save_grid(Saving(self.job, "", Picture(Image.new("RGB", (1, 1)), plan, 0)), records, captions)

    def make_again(self, request: PictureRequest, index: int) -> Picture:
        """Run the batch that picture `index` of the request is in and give that picture; nothing is saved. Raises `Cancelled`, `WebuiError`."""
        self.token.raise_if_interrupted()
        first = index - index % request.batch_size
        others = frozenset(range(request.batch_count * request.batch_size)) - {index}
        self._meter.begin(request.revise(batch_count=1))
        report = lambda step: self._meter.report(replace(step, picture=step.picture - first, pictures=request.batch_size))  # noqa: E731
        tools = RunTools(
            self.token, report, self._preview, self.machine, settings=self._settings(request), finished=others, tell=self.tell, **self._stores,
        )
        made = [picture for picture in self._engine.generate(request, tools) if picture.index == index and not picture.partial]
        self.token.raise_if_interrupted()
        if not made:
            raise Cancelled("The picture was skipped.")
        return made[0]

    def _settings(self, request: PictureRequest) -> PictureSettings:
        """The job's settings with the overrides of this request, which a script may have made. Raises `RequestError`."""
        try:
            return self.job.settings_for(request)
        except ValidationError as error:
            info = field_errors(error)[0]
            raise RequestError(info.message, field=f"settings.{info.field}") from error

    def finished(self) -> list[PictureRecord]:
        """The pictures of this job that are whole, of this run and of earlier ones."""
        return [row for row in self._library.pictures_of(self.job.id) if not row.partial]

    def pass_over(self, request: PictureRequest) -> None:
        """One of the planned runs is not needed, or cannot be done."""
        self._meter.end(request)

    def show_at_most(self, count: int) -> None:
        """Pages hear of so many more pictures of this job; the rest is only saved."""
        self._left = max(count, 0)

    def tell(self, text: str) -> None:
        """Say something to the person that they would not expect: a sentence."""
        log.warning("job %s: %s", self.job.id, text)
        self._emit(Notice(id=f"job {self.job.id}", level="warning", message=text))

    def _save(self, picture: Picture, name: str, place: Place | None) -> Future[PictureRecord]:
        if picture.partial:
            name = f"{name}.partial-{time.time_ns()}"
        return self._outputs.save(Saving(self.job, name, picture, place), self._saved)

    def _saved(self, record: PictureRecord) -> None:
        if self._left == 0:
            return
        if self._left is not None:
            self._left -= 1
        self._emit(PictureSaved(picture=PictureView.of(record)))

    def _preview(self, width: int, height: int, jpeg: bytes) -> None:
        self._seq += 1
        url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
        self._emit(Preview(job_id=self.job.id, seq=self._seq, width=width, height=height, url=url))


def work_of(request: PictureRequest) -> float:
    """The cost of a request in sampling steps of one picture."""
    return steps_of(request) * request.batch_count * request.batch_size


class Meter:
    """Turns the engine's steps into progress of the whole job with an estimate of the time left."""

    def __init__(self, job_id: str, emit: Callable[[Event], None]) -> None:
        self._job_id = job_id
        self._emit = emit
        self._total = 0.0
        self._pictures = 0
        self._before = 0.0
        self._pictures_before = 0
        self._request: PictureRequest | None = None
        self._began: tuple[float, float] | None = None
        self._told = 0.0
        self._last = Step("loading", 0, 0, 0, 0)

    def plan(self, work: float, pictures: int) -> None:
        """So much is ahead in all."""
        self._total, self._pictures = work, pictures

    def begin(self, request: PictureRequest) -> None:
        """A run begins. Without a plan the run is the whole."""
        self._request = request
        self._total = max(self._total, self._before + work_of(request))
        self._pictures = max(self._pictures, self._pictures_before + request.batch_count * request.batch_size)

    def end(self, request: PictureRequest) -> None:
        """A run ended."""
        self._before += work_of(request)
        self._pictures_before += request.batch_count * request.batch_size

    def phase(self, name: str) -> None:
        """Something else than sampling goes on."""
        self.report(replace(self._last, phase=name))

    def report(self, step: Step) -> None:
        """The engine's report; told to the pages at most every 0.1 s, but never later than the end of a picture."""
        now = time.monotonic()
        same = step.phase == self._last.phase
        self._last = step
        if same and step.step < step.steps and now - self._told < REPORT_SECONDS:
            return
        self._told = now
        fraction = self._fraction(step)
        self._emit(
            Progress(
                job_id=self._job_id, picture=min(self._pictures_before + step.picture + 1, self._pictures), pictures=self._pictures, step=step.step,
                steps=step.steps, fraction=fraction, eta=self._eta(now, step, fraction), phase=step.phase, note=step.note,
            )
        )

    def _fraction(self, step: Step) -> float:
        if not self._request or not self._total:
            return 0.0
        share = step.share if step.share is not None else min(step.step / step.steps, 1.0) if step.steps else 0.0
        inside = share * self._request.batch_size
        return min((self._before + (step.picture + inside) * steps_of(self._request)) / self._total, 1.0)

    def _eta(self, now: float, step: Step, fraction: float) -> float | None:
        """Seconds left at the pace since the first step was done; the first step itself often warms something up."""
        if self._began is None:
            if step.step:
                self._began = (now, fraction)
            return None
        since, done = now - self._began[0], fraction - self._began[1]
        return since / done * (1 - fraction) if done > 0 and since > 0.2 else None
