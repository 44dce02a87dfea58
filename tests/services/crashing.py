"""The processes that `test_kill` kills: the real queue, worker, library and outputs around the stand-in engine, telling what they promised.

All modules are imported once, by the process that is started; for each line on its standard input, a seed and a folder, it forks one that works, and
says `gone` when that was killed. Another line on standard output is a promise: `ready PID` when the work begins, `job ID` once `put` returned,
`picture ID` once it was announced, `ended ID STATUS`, `filed ID` once a picture that waited for its checkpoint's hash has its file. The hash is
forgotten at every start and takes a random while, so kills hit every state.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.services.conftest import PaintEngine
from webui.engine.cancel import CancelToken
from webui.schema.event import Event, JobChanged, PictureFiled, PictureSaved
from webui.schema.generation import Txt2Img
from webui.schema.job import Job
from webui.schema.model import Checkpoint
from webui.schema.settings import MachineSettings, PictureSettings
from webui.services.library import Library
from webui.services.outputs import Outputs, Waiting
from webui.services.queue import JobQueue
from webui.services.run import JobRun
from webui.services.worker import Worker

HASH = "0123456789abcdef" * 4


def promise(line: str) -> None:
    """Say it in one piece, whatever other threads say."""
    os.write(1, f"{line}\n".encode())


def tell(event: Event) -> None:
    """Print what pages would hear."""
    if isinstance(event, PictureSaved):
        promise(f"picture {event.picture.id}")
    elif isinstance(event, PictureFiled):
        promise(f"filed {event.picture.id}")
    elif isinstance(event, JobChanged) and event.job.status.ended:
        promise(f"ended {event.job.id} {event.job.status}")


class Executor:
    """The device's executor with the stand-in engine."""

    def __init__(self, library: Library, outputs: Outputs) -> None:
        self._library, self._outputs = library, outputs

    def warm_up(self) -> None:
        """Nothing."""

    def run(self, job: Job, emit: Callable[[Event], None], cancel: CancelToken) -> Callable[[], object]:
        """Run the job slowly enough to be killed in it; the last pictures are saved beside the next one."""
        assert isinstance(job.request, Txt2Img)
        engine = PaintEngine()
        engine.at_step = lambda step: time.sleep(0.002)
        return JobRun(job, engine, self._outputs, self._library, emit, cancel, MachineSettings()).begin(job.request)

    def close(self) -> None:
        """Nothing."""


class SlowHash:
    """A hash that is known some time after it was first asked for."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._asked = threading.Event()
        self._known = threading.Event()
        self.known: Callable[[str], object] = lambda name: None

    def of(self, checkpoint: Checkpoint) -> str | None:
        """What is known."""
        return HASH if self._known.is_set() else None

    def ask(self, checkpoint: Checkpoint) -> None:
        """Begin, the first time."""
        if not self._asked.is_set():
            self._asked.set()
            threading.Thread(target=self._compute, args=(checkpoint.name,), daemon=True).start()

    def _compute(self, name: str) -> None:
        time.sleep(self._seconds)
        self._known.set()
        self.known(name)


def work(folder: Path, seed: int) -> None:
    """Work through the queue and put ever more jobs into it."""
    library = Library.open(folder / "library.db")
    slow = SlowHash(random.Random(seed).uniform(0, 0.3))
    outputs = Outputs(
        folder / "outputs", folder / "unsaved", library, slow.of, waiting=Waiting(folder / "drafts", slow.ask), emit=tell,
    )
    slow.known = outputs.finish
    outputs.resume()
    queue = JobQueue(library, tell)
    Worker("device:0", queue, Executor(library, outputs), tell).start()
    promise(f"ready {os.getpid()}")
    while True:
        job = queue.put(Txt2Img(prompt="x", width=64, height=64, steps=4, batch_count=3, batch_size=2, seed=seed), PictureSettings())
        promise(f"job {job.id}")
        seed += 100
        time.sleep(0.03)


def main() -> None:
    """One process after the other."""
    for line in sys.stdin:
        seed, folder = line.rstrip("\n").split(" ", 1)
        child = os.fork()
        if child == 0:
            work(Path(folder), int(seed))
        os.waitpid(child, 0)
        promise("gone")


if __name__ == "__main__":
    main()
