"""A torch-free stand-in for the engine: pictures of one colour per seed, so that services are tested without a model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from webui.engine.cancel import CancelToken
from webui.engine.plan import Plan, make_plan
from webui.engine.tables import register_tables
from webui.engine.tools import Picture, RunTools, Step
from webui.plugins.registry import Registries
from webui.schema.event import Event
from webui.schema.generation import Txt2Img
from webui.schema.job import Job, JobStatus
from webui.schema.model import Checkpoint
from webui.schema.settings import PictureSettings
from webui.services.library import Library
from webui.services.outputs import Outputs
from webui.services.queue import JobQueue

CHECKPOINT = Checkpoint(name="folder/some model.safetensors", path="/nowhere", size=1, mtime=1.0, family="sd1", sha256="ab" * 32)


class PaintEngine:
    """Implements `services.run.Engine`. `gate` lets a test hold it at a step; `made` lists the seeds it really made."""

    def __init__(self) -> None:
        self.registries = Registries()
        register_tables(self.registries)
        self.made: list[int] = []
        self.at_step: Callable[[int], None] = lambda step: None

    def plan(self, request: Txt2Img, settings: PictureSettings) -> Plan:
        """As the real one."""
        return make_plan(request, CHECKPOINT, self.registries, settings=settings)

    def generate(self, request: Txt2Img, tools: RunTools) -> Iterator[Picture]:
        """Like the real one: batches, steps, partial pictures after a stop, finished batches left out."""
        plan = make_plan(request, CHECKPOINT, self.registries)
        total = len(plan.seeds)
        for batch in plan.batches:
            numbers = range(batch.first, batch.first + len(batch.seeds))
            if tools.finished.issuperset(numbers):
                continue
            tools.cancel.begin_batch()
            for step in range(1, request.steps + 1):
                self.at_step(step)
                tools.report(Step("sampling", batch.first, total, step, request.steps))
                if tools.cancel.stop:
                    break
            for number in numbers:
                self.made.append(plan.seeds[number])
                yield Picture(Image.new("RGB", (request.width, request.height), _colour(plan.seeds[number])), plan, number, tools.cancel.stop)
            if tools.cancel.interrupted:
                return


def _colour(seed: int) -> tuple[int, int, int]:
    return seed * 37 % 256, seed * 91 % 256, seed * 53 % 256


class Recorder(list[Event]):
    """Events in the order they were published; `wait_for` blocks until one fits."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    def publish(self, event: Event) -> None:
        """Write an event down."""
        with self.changed:
            self.append(event)
            self.changed.notify_all()

    def wait_for(self, fits: Callable[[Event], bool], timeout: float = 10.0) -> Event:
        """The first event that fits."""
        with self.changed:
            assert self.changed.wait_for(lambda: any(map(fits, self)), timeout), f"no such event among {self}"
            return next(event for event in self if fits(event))


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """A database in a folder of its own."""
    library = Library.open(tmp_path / "library.db")
    yield library
    library.close()


@pytest.fixture
def events() -> Recorder:
    """Everything published."""
    return Recorder()


@pytest.fixture
def queue(library: Library, events: Recorder) -> JobQueue:
    """A queue on that database."""
    return JobQueue(library, events.publish)


@pytest.fixture
def outputs(tmp_path: Path, library: Library) -> Iterator[Outputs]:
    """Saving below the test's folder."""
    outputs = Outputs(tmp_path / "outputs", tmp_path / "unsaved", library, lambda checkpoint: checkpoint.sha256)
    yield outputs
    outputs.close()


@pytest.fixture
def engine() -> PaintEngine:
    """The stand-in engine."""
    return PaintEngine()


@pytest.fixture
def job(library: Library) -> Job:
    """A running job of two batches of two, written to the database."""
    request = Txt2Img(prompt="a house", width=64, height=64, steps=3, batch_count=2, batch_size=2, seed=10)
    job = Job(id="job1", lane="device:0", status=JobStatus.RUNNING, request=request, settings=PictureSettings(), created=1.0, started=2.0)
    library.add_job(job)
    return job


@pytest.fixture
def token() -> CancelToken:
    """A token nobody has pulled."""
    return CancelToken()
