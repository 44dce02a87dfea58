"""The workers: one thread a lane, one job at a time. The device's worker is the only place that enters the engine, and so torch.

A worker speaks `Executor.run(job, emit, cancel)`. Here the executor is the thread itself; beyond one machine it is another that runs the same
self-contained job elsewhere.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from webui.backend.catalog import Catalog
from webui.backend.network_files import NetworkFiles
from webui.engine.cancel import CancelToken
from webui.engine.plan import RANDOM_SEEDS, draw_seed
from webui.plugins.host import PluginHost
from webui.plugins.registry import Registries
from webui.schema.errors import Cancelled, ErrorInfo, WebuiError
from webui.schema.event import CatalogChanged, Event, Hashing, Working
from webui.schema.extras import Extras, Interrogate
from webui.schema.generation import GenerationRequest, HashCheckpoint
from webui.schema.img2img import Img2Img
from webui.schema.job import Job, JobStatus
from webui.schema.machine import DeviceOptions
from webui.schema.model_work import Convert, Merge
from webui.schema.request import PictureRequest, Replay
from webui.schema.settings import MachineSettings
from webui.services.extras import ExtrasDesk
from webui.services.folder_batch import FolderBatches
from webui.services.images import HeldPictures, ImageStore
from webui.services.library import Library
from webui.services.model_work import ModelWorkshop
from webui.services.outputs import Outputs
from webui.services.queue import JobQueue
from webui.services.replay import Replays
from webui.services.run import JobRun

if TYPE_CHECKING:
    from webui.engine.runtime import Runtime

log = logging.getLogger(__name__)

REPORT_SECONDS = 0.25
"""Least time between two reports on a file."""


Rest = Callable[[], object]


class Executor(Protocol):
    """Runs jobs of one lane."""

    def warm_up(self) -> None:
        """Do now what the first job would have to wait for."""
        ...

    def run(self, job: Job, emit: Callable[[Event], None], cancel: CancelToken) -> Rest | None:
        """Run the job as long as it needs the lane. Raises `Cancelled` when `cancel` was set, `WebuiError` when it cannot be done. What it gives
        waits for the rest (pictures being saved) beside the next job, and raises the same."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class Worker:
    """The thread of a lane: claim, run, mark ended. A failing job never ends the thread.

    While the pictures of a job are still being saved the next one runs, but not the one after it: memory is for the pictures of two jobs.
    """

    def __init__(self, lane: str, queue: JobQueue, executor: Executor, emit: Callable[[Event], None]) -> None:
        self.lane = lane
        self._queue = queue
        self._executor = executor
        self._emit = emit
        self._lock = threading.Lock()
        self._current: tuple[str, CancelToken] | None = None
        self._ender = ThreadPoolExecutor(1, thread_name_prefix=f"end {lane}")
        self._ending: tuple[str, Future[None]] | None = None
        self._stopping = False
        self._warm = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=f"worker {lane}", daemon=True)

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def warm_up(self) -> None:
        """Ask the thread to warm up as soon as it has nothing else to do."""
        self._warm.set()

    def current(self) -> str | None:
        """Id of the running job."""
        with self._lock:
            return self._current[0] if self._current else None

    def stop_job(self, job_id: str | None, skip: bool = False) -> bool:
        """Interrupt (or skip the batch of) the running job; with an id only if it is that one. False when it does not run."""
        with self._lock:
            if self._ending and job_id == self._ending[0] and not self._ending[1].done():
                return True  # all that could be stopped is over
            if self._current is None or job_id not in (None, self._current[0]):
                return False
            token = self._current[1]
        if skip:
            token.skip()
        else:
            token.interrupt()
        return True

    def close(self, timeout: float = 30.0) -> None:
        """Interrupt what runs, keep its partial picture, end the thread. The queue must be closed first."""
        self._stopping = True
        self.stop_job(None)
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._ender.shutdown(wait=True)
        self._executor.close()

    def _loop(self) -> None:
        while not self._stopping:
            if self._warm.is_set():
                self._warm.clear()
                self._guard(self._executor.warm_up)
            try:
                job = self._queue.claim(self.lane, 0.25, self._begin)
            except WebuiError:
                log.exception("the queue cannot be read")
                with self._lock:
                    self._current = None  # nothing began
                self._warm.wait(5.0)
                continue
            if job is not None and self._current is not None:
                self._run(job, self._current[1])

    def _begin(self, job: Job) -> None:
        token = CancelToken()
        with self._lock:
            self._current = (job.id, token)
        if self._stopping:
            token.interrupt()

    def _run(self, job: Job, token: CancelToken) -> None:
        rest: list[Rest] = []

        def work() -> None:
            more = self._executor.run(job, self._emit, token)
            if more is not None:
                rest.append(more)

        status, error = self._guard(work)
        if self._ending:
            self._ending[1].result()
        with self._lock:
            self._current = None
            if rest:
                self._ending = job.id, self._ender.submit(self._finish, job, token, rest[0])
        if not rest:
            self._end(job, status, error)

    def _finish(self, job: Job, token: CancelToken, rest: Rest) -> None:
        """What of a job goes on beside the next one. The next round of one that repeats does not wait for it."""
        followers: list[Job] = []

        def follow() -> None:
            follower = None if token.interrupted else self._queue.follow(job.id)
            if follower is not None:
                followers.append(follower)

        self._guard(follow)
        status, error = self._guard(rest)
        self._end(job, status, error)
        if followers and status is not JobStatus.DONE:
            self._guard(lambda: self._queue.unfollow(followers[0].id))

    def _end(self, job: Job, status: JobStatus, error: ErrorInfo | None) -> None:
        try:
            self._queue.end(job.id, status, error)
        except WebuiError:
            log.exception("the end of job %s could not be written", job.id)

    def _guard(self, work: Callable[[], object]) -> tuple[JobStatus, ErrorInfo | None]:
        try:
            work()
        except Cancelled:
            return JobStatus.INTERRUPTED, None
        except WebuiError as error:
            log.warning("job failed: %s", error.message)
            return JobStatus.FAILED, error.info
        except Exception as error:  # the worker is one of the three places that may catch everything: a job fails, the server goes on
            log.exception("job failed")
            return JobStatus.FAILED, ErrorInfo(type=type(error).__name__, message=f"{type(error).__name__}: {error}", hint="The log tells more.")
        return JobStatus.DONE, None


class DeviceExecutor:
    """Pictures, on the device of this process."""

    def __init__(
        self, options: DeviceOptions, *, catalog: Catalog, registries: Registries, host: PluginHost, outputs: Outputs, library: Library,
        queue: JobQueue, machine: Callable[[], MachineSettings], default: Callable[[], str | None], images: ImageStore,
        files: NetworkFiles | None = None, replays: Replays, extras: ExtrasDesk, batches: FolderBatches, models: Path | None = None,
    ) -> None:
        self._options = options
        self._images = images
        self._files = files
        self._replays = replays
        self._extras = extras
        self._batches = batches
        self._models = models
        self._catalog = catalog
        self._registries = registries
        self._host = host
        self._outputs = outputs
        self._library = library
        self._queue = queue
        self._machine = machine
        self._default = default
        self._runtime: Runtime | None = None

    def warm_up(self) -> None:
        """Import torch and load the default checkpoint."""
        runtime = self._engine()
        name = self._default()
        if name is not None:
            runtime.preload(self._catalog.get(name), self._machine())

    def run(self, job: Job, emit: Callable[[Event], None], cancel: CancelToken) -> Rest | None:
        """Run a picture job, or the script it names, or a replay. The rest of a picture job is the saving of its pictures."""
        request = job.request
        if isinstance(request, Extras | Interrogate):
            self._extras.run(job, self._engine(), emit, cancel)
            return None
        if not isinstance(request, GenerationRequest | Replay):
            raise WebuiError(f"A job of kind {request.kind} cannot run on the device.")
        held = HeldPictures(self._images)
        run = JobRun(job, self._engine(), self._outputs, self._library, emit, cancel, self._machine(), open_image=held.open)
        if isinstance(request, Replay):
            self._replays.run(run, request)
            return None
        request = request.revise(seed=self._seed(job, request), subseed=_subseed(job, request))
        if isinstance(request, Img2Img) and request.batch is not None:
            return self._batches.run(run, request, request.batch, held)
        if request.script:
            script = self._registries.scripts.get(request.script, field="script")
            params = script.Params.model_validate(request.ext.get(script.id, {}))
            script.run(run, request, params)
            return None
        run.plan([request])
        return run.begin(request)

    def close(self) -> None:
        """Give the device back."""
        if self._runtime:
            self._runtime.close()

    def _seed(self, job: Job, request: PictureRequest) -> int:
        if request.seed >= 0:
            return request.seed
        seed = job.seed if job.seed is not None else draw_seed()
        if job.seed is None:
            self._queue.keep_seed(job.id, seed)
        return seed

    def _engine(self) -> Runtime:
        if self._runtime is None:
            from webui.engine.runtime import Runtime  # the one door to torch: the page is served before it is imported

            self._runtime = Runtime(self._options, self._catalog, self._registries, self._host, self._files, self._models)
        return self._runtime


def _subseed(job: Job, request: PictureRequest) -> int:
    """A random variation seed comes from the job's id, so that a requeued job goes on with the same pictures."""
    if request.subseed >= 0 or not request.subseed_strength:
        return request.subseed
    return random.Random(job.id).randrange(RANDOM_SEEDS)


class FileExecutor:
    """Work on files that needs no device and holds no lease: hashing, merging, converting. `hashed` hears the name of a checkpoint whose hash is
    known, or which cannot be read."""

    def __init__(self, catalog: Catalog, hashed: Callable[[str], object], workshop: ModelWorkshop) -> None:
        self._catalog = catalog
        self._hashed = hashed
        self._workshop = workshop

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def run(self, job: Job, emit: Callable[[Event], None], cancel: CancelToken) -> None:
        """Hash a checkpoint, or make a new one."""
        request = job.request
        told = 0.0

        def progress(done: float) -> None:
            nonlocal told
            cancel.raise_if_interrupted()
            now = time.monotonic()
            if now - told >= REPORT_SECONDS:
                told = now
                if isinstance(request, HashCheckpoint):
                    emit(Hashing(job_id=job.id, name=request.checkpoint, fraction=done))
                else:
                    emit(Working(job_id=job.id, fraction=done))

        if isinstance(request, Merge | Convert):
            self._workshop.run(request, progress)
            emit(CatalogChanged())
            return
        if not isinstance(request, HashCheckpoint):
            raise WebuiError(f"A job of kind {request.kind} needs the device.")
        try:
            self._catalog.sha256(self._catalog.get(request.checkpoint), progress)
        except WebuiError:
            self._hashed(request.checkpoint)
            raise
        self._hashed(request.checkpoint)

    def close(self) -> None:
        """Nothing to give back."""
