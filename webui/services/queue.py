"""The job queue: order, states, and what waits for whom. Every change is in the database before anybody hears of it."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable

from webui.schema.errors import ConflictError, ErrorInfo, NotFoundError
from webui.schema.event import Event, JobChanged, QueueChanged
from webui.schema.generation import HashCheckpoint
from webui.schema.job import Job, JobRequest, JobStatus, JobView, lane_of
from webui.schema.settings import PictureSettings
from webui.services.library import Library

INTERRUPTED_BY_CRASH = ErrorInfo(
    type="Interrupted", message="Easel stopped while this job was running. Its finished pictures are kept.", hint="Requeue it to go on."
)


class JobQueue:
    """First come, first served in each lane, until somebody moves a job."""

    def __init__(self, library: Library, publish: Callable[[Event], None]) -> None:
        self._library = library
        self._publish = publish
        self._changed = threading.Condition()
        self._closed = False
        self._news: deque[Event] = deque()
        self._telling = threading.Lock()
        self._recover()

    def _recover(self) -> None:
        """A job that was running when the last server died is interrupted; what waited still waits."""
        now = time.time()
        for job in self._library.jobs_with(JobStatus.RUNNING):
            self._library.change_job(job.id, status=JobStatus.INTERRUPTED, ended=now, error=INTERRUPTED_BY_CRASH, repeat=False)

    def put(self, request: JobRequest, settings: PictureSettings, repeat: bool = False, owner: str = "") -> Job:
        """Write a job at the end of its lane and return it. Raises `StorageError`; then nothing is queued."""
        with self._changed:
            job = Job(
                id=uuid.uuid4().hex, lane=lane_of(request), status=JobStatus.QUEUED, request=request, settings=settings, repeat=repeat, owner=owner,
                position=self._last_position() + 1, created=time.time(),
            )
            self._library.add_job(job)
            self._changed.notify_all()
            self._note(job)
        self._tell()
        return job

    def claim(self, lane: str, timeout: float | None = None, claimed: Callable[[Job], None] = lambda job: None) -> Job | None:
        """Wait for the next job of a lane and mark it running. None after `timeout` seconds, or when the queue was closed.

        `claimed` is called before it is written that it runs, so that whoever reads or hears it can stop it.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._closed:
                waiting = self.waiting(lane)
                if waiting:
                    job = waiting[0].revise(status=JobStatus.RUNNING, started=time.time(), error=None)
                    claimed(job)
                    self._library.change_job(job.id, status=job.status, started=job.started, error=None)
                    self._note(job)
                    break
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)
            else:
                return None
        self._tell()
        return job

    def end(self, job_id: str, status: JobStatus, error: ErrorInfo | None = None) -> Job:
        """Mark a running job ended. A repeating one that ended well is put in line again as it was asked for."""
        with self._changed:
            self._library.change_job(job_id, status=status, ended=time.time(), error=error)
            job = self.get(job_id)
            self._note(job)
        self._tell()
        if job.repeat and status is JobStatus.DONE and not self._closed:
            self.put(job.request, job.settings, repeat=True, owner=job.owner)
        return job

    def follow(self, job_id: str) -> Job | None:
        """The lane is free of a job that may still be saving: when it repeats, its next round is put in line now, and repeats in its place."""
        with self._changed:
            job = self.get(job_id)
            if not job.repeat or self._closed:
                return None
            self._library.change_job(job_id, repeat=False)
            return self.put(job.request, job.settings, repeat=True, owner=job.owner)

    def unfollow(self, job_id: str) -> None:
        """The job before it ended badly, so nothing repeats: a waiting round is taken out, one that runs is the last."""
        with self._changed:
            self._library.change_job(job_id, repeat=False)
            if self.get(job_id).status is JobStatus.QUEUED:
                self.cancel(job_id)

    def cancel(self, job_id: str) -> Job:
        """Take a waiting job out. Raises `ConflictError` when it already runs or ended."""
        with self._changed:
            self._expect(job_id, JobStatus.QUEUED)
            self._library.change_job(job_id, status=JobStatus.CANCELLED, ended=time.time(), repeat=False)
            job = self.get(job_id)
            self._note(job)
        self._tell()
        return job

    def requeue(self, job_id: str) -> Job:
        """Put an ended job in line again, under its own id: what it finished is not made twice. Raises `ConflictError` when it has not ended."""
        with self._changed:
            if not self.get(job_id).status.ended:
                raise ConflictError("This job is still in the queue.")
            self._library.change_job(job_id, status=JobStatus.QUEUED, started=None, ended=None, error=None, position=self._last_position() + 1)
            job = self.get(job_id)
            self._changed.notify_all()
            self._note(job)
        self._tell()
        return job

    def move(self, job_id: str, before: str | None) -> None:
        """Put a waiting job before another waiting one, or last. Raises `ConflictError` when one of them does not wait (any more)."""
        with self._changed:
            job = self._expect(job_id, JobStatus.QUEUED)
            order = [item.id for item in self.waiting(job.lane) if item.id != job_id]
            if before is not None and before not in order:
                raise ConflictError("The job to go before does not wait any more.")
            order.insert(len(order) if before is None else order.index(before), job_id)
            self._library.move_jobs({name: float(index) for index, name in enumerate(order, start=1)})
            self._news.append(self._order())
        self._tell()

    def stop_repeating(self) -> int:
        """End "generate forever": running jobs finish, waiting copies are taken out. Returns how many jobs repeated."""
        with self._changed:  # none begins meanwhile, and no next round is put in line
            repeating = [job for job in self._library.jobs_with(JobStatus.RUNNING, JobStatus.QUEUED) if job.repeat]
            for job in repeating:
                self._library.change_job(job.id, repeat=False)
                if job.status is JobStatus.QUEUED:
                    self.cancel(job.id)
                else:
                    self._note(self.get(job.id))
        self._tell()
        return len(repeating)

    def keep_seed(self, job_id: str, seed: int) -> None:
        """Write down the seed a job runs with."""
        self._library.change_job(job_id, seed=seed)

    def get(self, job_id: str) -> Job:
        """The job. Raises `NotFoundError`."""
        job = self._library.job(job_id)
        if job is None:
            raise NotFoundError(f"There is no job {job_id[:40]}.")
        return job

    def waiting(self, lane: str | None = None) -> list[Job]:
        """The waiting jobs in order, of one lane or of all."""
        return [job for job in self._library.jobs_with(JobStatus.QUEUED) if lane in (None, job.lane)]

    def active(self, lane: str) -> list[Job]:
        """The running and waiting jobs of a lane."""
        return [job for job in self._library.jobs_with(JobStatus.RUNNING, JobStatus.QUEUED) if job.lane == lane]

    def close(self) -> None:
        """Wake every worker with nothing: the server stops. Waiting jobs stay in the database."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def view(self, job: Job) -> JobView:
        """The job as pages see it."""
        return JobView.of(job, self._library.count_pictures([job.id]).get(job.id, 0))

    def _expect(self, job_id: str, status: JobStatus) -> Job:
        job = self.get(job_id)
        if job.status is not status:
            raise ConflictError(f"This job is {job.status}, not {status}.")
        return job

    def _last_position(self) -> float:
        return max((job.position for job in self._library.jobs_with(JobStatus.QUEUED)), default=0.0)

    def _note(self, job: Job) -> None:
        """Say that it changed, once the change is made. Called while nobody else can change anything: news keep the order of the changes."""
        self._news += (JobChanged(job=self.view(job)), self._order())

    def _tell(self) -> None:
        """Publish the news, one thread at a time and without keeping anybody from the queue, however long a listener takes. A page that heard
        “running” before “waiting” would show a waiting job to its end."""
        while self._news:
            if not self._telling.acquire(blocking=False):
                return  # who is at it tells this, too
            try:
                while self._news:
                    self._publish(self._news.popleft())
            finally:
                self._telling.release()

    def _order(self) -> QueueChanged:
        return QueueChanged(waiting=tuple(job.id for job in self.waiting() if not isinstance(job.request, HashCheckpoint)))
