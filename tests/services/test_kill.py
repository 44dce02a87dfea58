"""kill -9 at twenty random moments: what was promised is there, what waited still waits, and an interrupted job goes on where it stopped."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from tests.services.conftest import PaintEngine
from tests.services.crashing import HASH
from webui.engine.cancel import CancelToken
from webui.schema.generation import Txt2Img
from webui.schema.job import JobStatus
from webui.schema.result import PictureRecord
from webui.schema.settings import MachineSettings
from webui.services.library import Library
from webui.services.outputs import Outputs, Waiting
from webui.services.queue import JobQueue
from webui.services.run import JobRun

ROOT = Path(__file__).parents[2]
KILLS = 20


@pytest.fixture
def crashing() -> Iterator[subprocess.Popen[str]]:
    """The process that forks those that are killed."""
    command = [sys.executable, "-m", "tests.services.crashing"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def run_and_kill(crashing: subprocess.Popen[str], folder: Path, seed: int, seconds: float, until: str = "") -> list[list[str]]:
    """Start a process, let it work for so long, or until it promises something of this kind; kill it. The promises it made."""
    assert crashing.stdin is not None and crashing.stdout is not None
    crashing.stdin.write(f"{seed} {folder}\n")
    crashing.stdin.flush()
    ready, number = crashing.stdout.readline().split()
    assert ready == "ready"

    def kill() -> None:
        with suppress(ProcessLookupError):  # both reasons may come at once
            os.kill(int(number), signal.SIGKILL)

    timer = threading.Timer(seconds, kill)
    timer.start()
    lines = []
    for line in iter(crashing.stdout.readline, "gone\n"):
        assert line, "the process that forks has ended"
        lines.append(line)
        if until and line.startswith(until):
            kill()
    timer.cancel()
    return [line.split() for line in lines]


def test_twenty_kills_lose_nothing(tmp_path: Path, crashing: subprocess.Popen[str]) -> None:
    moments = random.Random(20)
    jobs: set[str] = set()
    pictures: set[int] = set()
    filed: set[int] = set()
    ended: dict[str, str] = {}
    interrupted = 0
    for number in range(KILLS):
        seconds, until = (60.0, "filed") if number == KILLS // 2 else (moments.uniform(0.02, 0.5), "")  # one on a slow machine too
        for kind, name, *rest in run_and_kill(crashing, tmp_path, number * 100_000, seconds, until):
            if kind == "job":
                jobs.add(name)
            elif kind == "picture":
                pictures.add(int(name))
            elif kind == "filed":
                filed.add(int(name))
            else:
                ended[name] = rest[0]
        library = Library.open(tmp_path / "library.db")
        assert library.set_aside is None
        running = library.jobs_with(JobStatus.RUNNING)
        waiting = [job.id for job in library.jobs_with(JobStatus.QUEUED)]
        queue = JobQueue(library, lambda event: None)
        assert len(running) <= 2  # one runs, one is being saved
        assert all(queue.get(job.id).status is JobStatus.INTERRUPTED for job in running)
        assert [job.id for job in queue.waiting()] == waiting
        for job_id in jobs:
            job = library.job(job_id)
            assert job is not None, "a job whose id was given out is gone"
            assert job_id not in ended or job.status == ended[job_id]
        interrupted += len(running)
        library.close()
    assert interrupted > 0 and pictures and len(jobs) > KILLS
    library = Library.open(tmp_path / "library.db")
    waiting = {picture for picture in pictures if _readable(library, picture).pending}
    assert filed and not filed & waiting
    outputs = Outputs(
        tmp_path / "outputs", tmp_path / "unsaved", library, lambda checkpoint: HASH, waiting=Waiting(tmp_path / "drafts", lambda checkpoint: None),
    )
    outputs.resume().result(60)
    outputs.close()
    for picture in pictures:
        record = _readable(library, picture)
        assert not record.pending and "Model hash: 0123456789" in record.infotext
    assert library.drafts() == [] and not list((tmp_path / "drafts").iterdir())
    _goes_on(library, tmp_path)
    library.close()


def _readable(library: Library, picture: int) -> PictureRecord:
    """The row of an announced picture, whose file is whole and says what the row says."""
    record = library.picture(picture)
    assert record is not None, "an announced picture is gone"
    with Image.open(record.path) as image:
        image.load()
        assert image.text["parameters"] == record.infotext  # type: ignore[attr-defined]
        assert "easel" in image.text  # type: ignore[attr-defined]
    return record


def _goes_on(library: Library, folder: Path) -> None:
    """Requeue every interrupted job: only what was missing is made."""
    queue = JobQueue(library, lambda event: None)
    outputs = Outputs(folder / "outputs", folder / "unsaved", library, lambda checkpoint: None)
    for job in [job for job in library.last_ended(1000) if job.status is JobStatus.INTERRUPTED]:
        request = job.request
        assert isinstance(request, Txt2Img)
        before = {record.key for record in library.pictures_of(job.id)}
        engine = PaintEngine()
        job = queue.requeue(job.id)
        records = JobRun(job, engine, outputs, library, lambda event: None, CancelToken(), MachineSettings()).generate(request)
        assert [record.key for record in records] == [str(index) for index in range(6)]
        assert len(engine.made) <= 6 - len(before) // 2 * 2
    outputs.close()
