"""The queue: order, states, what survives."""

from __future__ import annotations

import threading

import pytest

from tests.services.conftest import Recorder
from webui.schema.errors import ConflictError, ErrorInfo, NotFoundError
from webui.schema.event import Event, JobChanged, QueueChanged
from webui.schema.generation import HashCheckpoint, Txt2Img
from webui.schema.job import Job, JobStatus
from webui.schema.settings import PictureSettings
from webui.services.library import Library
from webui.services.queue import JobQueue

SETTINGS = PictureSettings()
DEVICE = "device:0"


def put(queue: JobQueue, *prompts: str, repeat: bool = False) -> list[str]:
    """Queue one job a prompt."""
    return [queue.put(Txt2Img(prompt=prompt), SETTINGS, repeat=repeat).id for prompt in prompts]


def test_jobs_come_out_in_order(queue: JobQueue) -> None:
    first, second, third = put(queue, "a", "b", "c")
    claimed = [queue.claim(DEVICE, 1) for _ in range(3)]
    assert [job and job.id for job in claimed] == [first, second, third]
    assert queue.get(first).status is JobStatus.RUNNING
    assert queue.claim(DEVICE, 0.01) is None


def test_lanes_do_not_wait_for_each_other(queue: JobQueue) -> None:
    put(queue, "a")
    hashing = queue.put(HashCheckpoint(checkpoint="m"), SETTINGS)
    job = queue.claim("cpu", 1)
    assert job is not None and job.id == hashing.id


def test_a_job_is_in_the_database_before_put_returns(queue: JobQueue, library: Library) -> None:
    (job_id,) = put(queue, "a")
    again = JobQueue(library, lambda event: None)
    assert [job.id for job in again.waiting()] == [job_id]


def test_move(queue: JobQueue, events: Recorder) -> None:
    first, second, third = put(queue, "a", "b", "c")
    queue.move(third, first)
    assert [job.id for job in queue.waiting(DEVICE)] == [third, first, second]
    queue.move(third, None)
    assert [job.id for job in queue.waiting(DEVICE)] == [first, second, third]
    assert events[-1] == QueueChanged(waiting=(first, second, third))
    late = put(queue, "d")[0]
    assert queue.waiting(DEVICE)[-1].id == late
    queue.claim(DEVICE, 1)
    with pytest.raises(ConflictError):
        queue.move(first, None)
    with pytest.raises(ConflictError):
        queue.move(second, first)


def test_cancel_and_requeue(queue: JobQueue) -> None:
    (job_id,) = put(queue, "a")
    with pytest.raises(ConflictError):
        queue.requeue(job_id)
    queue.cancel(job_id)
    assert queue.get(job_id).status is JobStatus.CANCELLED
    with pytest.raises(ConflictError):
        queue.cancel(job_id)
    queue.requeue(job_id)
    job = queue.claim(DEVICE, 1)
    assert job is not None and job.id == job_id and job.error is None
    with pytest.raises(NotFoundError):
        queue.get("nothing")


def test_a_crash_interrupts_what_ran_and_keeps_what_waited(queue: JobQueue, library: Library) -> None:
    running, waiting = put(queue, "a", "b")
    queue.claim(DEVICE, 1)
    after = JobQueue(library, lambda event: None)
    job = after.get(running)
    assert job.status is JobStatus.INTERRUPTED and job.error is not None and "Requeue" in (job.error.hint or "")
    assert [item.id for item in after.waiting()] == [waiting]


def test_forever_puts_the_request_in_line_again_as_it_was_asked(queue: JobQueue) -> None:
    (job_id,) = put(queue, "a", repeat=True)
    other = put(queue, "b")[0]
    queue.claim(DEVICE, 1)
    queue.keep_seed(job_id, 77)
    queue.end(job_id, JobStatus.DONE)
    waiting = queue.waiting(DEVICE)
    assert [job.id == other for job in waiting] == [True, False]
    assert waiting[1].repeat and waiting[1].seed is None and isinstance(waiting[1].request, Txt2Img) and waiting[1].request.seed == -1
    assert queue.stop_repeating() == 1
    assert [job.id for job in queue.waiting(DEVICE)] == [other]


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.INTERRUPTED])
def test_forever_ends_when_the_job_does_not_end_well(queue: JobQueue, status: JobStatus) -> None:
    (job_id,) = put(queue, "a", repeat=True)
    queue.claim(DEVICE, 1)
    queue.end(job_id, status, ErrorInfo(type="X", message="no"))
    assert queue.waiting() == []


def test_stop_repeating_lets_the_running_one_finish(queue: JobQueue) -> None:
    (job_id,) = put(queue, "a", repeat=True)
    queue.claim(DEVICE, 1)
    queue.stop_repeating()
    assert queue.get(job_id).status is JobStatus.RUNNING
    queue.end(job_id, JobStatus.DONE)
    assert queue.waiting() == []


def test_a_round_that_would_begin_while_forever_is_stopped_does_not(queue: JobQueue, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    (job_id,) = put(queue, "a", repeat=True)
    begun: list[Job | None] = []
    worker = threading.Thread(target=lambda: begun.append(queue.claim(DEVICE, 1)))
    change = library.change_job

    def change_late(*about: object, **values: object) -> None:
        monkeypatch.setattr(library, "change_job", change)
        worker.start()
        worker.join(0.3)
        change(*about, **values)

    monkeypatch.setattr(library, "change_job", change_late)
    assert queue.stop_repeating() == 1
    worker.join()
    assert begun == [None] and queue.get(job_id).status is JobStatus.CANCELLED


def test_two_claims_never_get_the_same_job(queue: JobQueue) -> None:
    put(queue, *"abcdefgh")
    got: list[str] = []

    def take() -> None:
        while (job := queue.claim(DEVICE, 0.05)) is not None:
            got.append(job.id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == len(set(got)) == 8


def test_news_keep_the_order_of_the_changes(library: Library) -> None:
    """A worker may claim a job while it is still being told that it waits. Heard the other way round, it would wait on every page until it ends."""
    heard: list[JobStatus] = []
    telling, go_on = threading.Event(), threading.Event()

    def publish(event: Event) -> None:
        if isinstance(event, JobChanged):
            telling.set()
            assert go_on.wait(10)
            heard.append(event.job.status)

    queue = JobQueue(library, publish)
    putting = threading.Thread(target=lambda: put(queue, "a"))
    putting.start()
    assert telling.wait(10)
    claiming = threading.Thread(target=lambda: queue.claim(DEVICE, 1))
    claiming.start()
    claiming.join(1)  # it waits for no listener
    assert not claiming.is_alive()
    go_on.set()
    putting.join(10)
    assert heard == [JobStatus.QUEUED, JobStatus.RUNNING]


def test_close_wakes_a_waiting_worker(queue: JobQueue) -> None:
    result: list[object] = []
    thread = threading.Thread(target=lambda: result.append(queue.claim(DEVICE)))
    thread.start()
    queue.close()
    thread.join(5)
    assert result == [None]
