"""A worker: one job at a time, stopped by its token, never ended by a failing job."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.services.conftest import Recorder
from webui.engine.cancel import CancelToken
from webui.schema.errors import ModelError, StorageError
from webui.schema.event import Event, JobChanged
from webui.schema.generation import Txt2Img
from webui.schema.job import Job, JobStatus
from webui.schema.settings import PictureSettings
from webui.services.library import Library
from webui.services.queue import JobQueue
from webui.services.worker import Worker

Work = Callable[[Job, CancelToken], object]


class Scripted:
    """An executor that does what the test says, and notices when two jobs run at once."""

    def __init__(self) -> None:
        self.work: Work = lambda job, token: None
        self.rest: dict[str, Callable[[], object]] = {}
        self.running = 0
        self.most = 0
        self.warmed = threading.Event()
        self.closed = False

    def warm_up(self) -> None:
        """Notice."""
        self.warmed.set()

    def run(self, job: Job, emit: Callable[[Event], None], cancel: CancelToken) -> Callable[[], object] | None:
        """Count and work; `rest` by job."""
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            self.work(job, cancel)
        finally:
            self.running -= 1
        return self.rest.get(job.id)

    def close(self) -> None:
        """Notice."""
        self.closed = True


@pytest.fixture
def executor() -> Scripted:
    """The scripted executor."""
    return Scripted()


@pytest.fixture
def worker(queue: JobQueue, executor: Scripted, events: Recorder) -> Iterator[Worker]:
    """A started worker."""
    worker = Worker("device:0", queue, executor, events.publish)
    worker.start()
    yield worker
    queue.close()
    worker.close()
    assert executor.closed


def put(queue: JobQueue, prompt: str = "") -> str:
    """Queue a job."""
    return queue.put(Txt2Img(prompt=prompt), PictureSettings()).id


def ended(events: Recorder, job_id: str) -> JobChanged:
    """Wait for the end of a job."""
    event = events.wait_for(lambda event: isinstance(event, JobChanged) and event.job.id == job_id and event.job.status.ended)
    assert isinstance(event, JobChanged)
    return event


def lasting(executor: Scripted) -> threading.Event:
    """Let every job last until it is interrupted. Set when the first one runs."""
    started = threading.Event()

    def work(job: Job, token: CancelToken) -> None:
        started.set()
        while not token.interrupted:
            threading.Event().wait(0.005)
        token.raise_if_interrupted()

    executor.work = work
    return started


def test_three_jobs_in_order_never_two_at_once(queue: JobQueue, executor: Scripted, worker: Worker, events: Recorder) -> None:
    order: list[str] = []
    executor.work = lambda job, token: order.append(job.id)
    ids = [put(queue, str(number)) for number in range(3)]
    assert ended(events, ids[-1]).job.status is JobStatus.DONE
    assert order == ids and executor.most == 1


def test_a_failing_job_tells_why_and_the_next_one_runs(queue: JobQueue, executor: Scripted, worker: Worker, events: Recorder) -> None:
    def work(job: Job, token: CancelToken) -> None:
        if isinstance(job.request, Txt2Img) and job.request.prompt == "bad":
            raise ModelError("The file is cut off.", field="checkpoint", hint="Get it again.")
        if isinstance(job.request, Txt2Img) and job.request.prompt == "broken":
            raise ZeroDivisionError("oops")

    executor.work = work
    bad, broken, good = put(queue, "bad"), put(queue, "broken"), put(queue, "good")
    assert ended(events, good).job.status is JobStatus.DONE
    errors = [queue.get(job_id).error for job_id in (bad, broken)]
    assert errors[0] and errors[0].message == "The file is cut off." and errors[0].field == "checkpoint"
    assert errors[1] and errors[1].message == "ZeroDivisionError: oops"


def test_interrupt_reaches_the_running_job_only(queue: JobQueue, executor: Scripted, worker: Worker, events: Recorder) -> None:
    started = lasting(executor)
    first, second = put(queue), put(queue)
    assert started.wait(5)
    assert worker.stop_job(second) is False
    assert worker.current() == first and worker.stop_job(first) is True
    assert ended(events, first).job.status is JobStatus.INTERRUPTED
    events.wait_for(lambda event: isinstance(event, JobChanged) and event.job.id == second and event.job.status is JobStatus.RUNNING)
    worker.stop_job(None)
    assert ended(events, second).job.status is JobStatus.INTERRUPTED
    assert worker.stop_job(None) is False


def test_closing_interrupts_and_leaves_the_waiting(queue: JobQueue, executor: Scripted, worker: Worker, events: Recorder) -> None:
    started = lasting(executor)
    first, second = put(queue), put(queue)
    assert started.wait(5)
    queue.close()
    worker.close()
    assert queue.get(first).status is JobStatus.INTERRUPTED and queue.get(second).status is JobStatus.QUEUED


def test_warm_up_happens_on_the_thread(executor: Scripted, worker: Worker) -> None:
    worker.warm_up()
    assert executor.warmed.wait(5)


def test_the_next_job_runs_while_pictures_are_saved_but_not_the_one_after_it(
    worker: Worker, executor: Scripted, queue: JobQueue, events: Recorder, library: Library
) -> None:
    began, saved, hold = {}, threading.Event(), threading.Event()
    executor.work = lambda job, token: hold.wait(5) and began.setdefault(job.id, threading.Event()).set()
    first, second, third = put(queue, "a"), put(queue, "b"), put(queue, "c")
    executor.rest = {first: lambda: saved.wait(5), second: lambda: None}
    for job_id in (first, second, third):
        began[job_id] = threading.Event()
    hold.set()
    assert began[second].wait(5)  # the first is made, not saved
    job = library.job(first)
    assert job is not None and job.status is JobStatus.RUNNING  # so it is interrupted, and can go on, if the server dies now
    assert worker.stop_job(first)  # nothing is left to stop, and that is no error
    assert not began[third].wait(0.3)
    saved.set()
    assert began[third].wait(5)
    assert [ended(events, job_id).job.status for job_id in (first, second, third)] == [JobStatus.DONE] * 3


def test_a_job_whose_pictures_cannot_be_saved_fails_and_the_next_goes_on(
    worker: Worker, executor: Scripted, queue: JobQueue, events: Recorder
) -> None:
    def full() -> None:
        raise StorageError("The disk is full.")

    hold = threading.Event()
    executor.work = lambda job, token: hold.wait(5)
    first, second = put(queue), put(queue)
    executor.rest = {first: full}
    hold.set()
    failed = ended(events, first).job
    assert failed.status is JobStatus.FAILED and failed.error is not None and failed.error.message == "The disk is full."
    assert ended(events, second).job.status is JobStatus.DONE


def test_generate_forever_does_not_wait_for_its_own_saving(worker: Worker, executor: Scripted, queue: JobQueue, events: Recorder) -> None:
    saved, rounds = threading.Event(), threading.Semaphore(0)
    ids: list[str] = []

    def work(job: Job, token: CancelToken) -> None:
        ids.append(job.id)
        executor.rest[job.id] = lambda: saved.wait(5)
        rounds.release()

    executor.work = work
    first = queue.put(Txt2Img(), PictureSettings(), repeat=True).id
    assert rounds.acquire(timeout=5) and rounds.acquire(timeout=5)  # the second round runs, and nothing is saved yet
    assert queue.get(first).status is JobStatus.RUNNING and not queue.get(first).repeat
    assert queue.stop_repeating() == 1
    saved.set()
    assert ended(events, ids[1]).job.status is JobStatus.DONE
    assert not queue.active("device:0")


def test_generate_forever_ends_when_pictures_cannot_be_saved(
    worker: Worker, executor: Scripted, queue: JobQueue, events: Recorder
) -> None:
    tried: list[str] = []

    def full() -> None:
        raise StorageError("The disk is full.")

    def work(job: Job, token: CancelToken) -> None:
        tried.append(job.id)
        executor.rest[job.id] = full

    executor.work = work
    first = queue.put(Txt2Img(), PictureSettings(), repeat=True).id
    assert ended(events, first).job.status is JobStatus.FAILED
    events.wait_for(lambda event: isinstance(event, JobChanged) and event.job.id != first and event.job.status.ended)
    threading.Event().wait(0.3)
    assert not queue.active("device:0") and len(tried) <= 3  # a round may have begun before it was known
