"""Our loader in a process of its own, for `bench/models.py`: `python bench/model_load.py FILE DTYPE REPEATS` prints JSON. diffusers' is
`diffusers_load`.

A process of its own, because what one loader leaves in memory would count for the other. Linux: private memory is read from /proc.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from webui.backend.device import Device
from webui.backend.identify import identify
from webui.backend.manager import ModelManager
from webui.backend.parts import ModelChoice
from webui.schema.model import Checkpoint

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class Peak:
    """The largest private (anonymous) memory of this process while the `with` lasts, in bytes, sampled every 5 ms."""

    def __enter__(self) -> Peak:
        self.bytes, self._stop, self._cpu = private(), threading.Event(), 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._stop.set()
        self._thread.join()

    def cpu(self) -> float:
        """CPU seconds that the watching itself took so far."""
        return self._cpu

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.bytes = max(self.bytes, private())
            self._cpu = time.thread_time()


def private() -> int:
    """Bytes of memory that belong to this process alone and are in no file."""
    return status("RssAnon")


def status(field: str) -> int:
    """A figure of /proc/self/status in bytes."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f"{field}:"))


def checkpoint_of(path: Path) -> Checkpoint:
    """The file as the catalog would have it."""
    stat, found = path.stat(), identify(path)
    return Checkpoint(
        name=path.name, path=str(path), size=stat.st_size, mtime=stat.st_mtime, family=found.family, layout=found.layout, prediction=found.prediction,
    )


def manager_for(dtype: torch.dtype) -> ModelManager:
    """Of this CPU, computing in `dtype`."""
    return ModelManager(Device(torch.device("cpu"), dtype, dtype, "sdpa"))


def ours(path: Path, dtype: torch.dtype) -> Callable[[], object]:
    """The components of a file by our manager."""

    def load() -> object:
        manager = manager_for(dtype)
        with manager.lease(ModelChoice(checkpoint_of(path))) as components:
            return manager, components

    return load


def measure(load: Callable[[], object], repeats: int) -> dict[str, float]:
    """Least CPU and wall seconds after a first round that brings the file into the page cache; the peak of all but that; what was there before."""
    found = {"cpu": float("inf"), "wall": float("inf"), "peak": 0.0, "before": 0.0}
    for turn in range(repeats + 1):
        gc.collect()
        before = private()
        with Peak() as seen:
            started, worked = time.perf_counter(), time.process_time() - seen.cpu()
            model = load()
            spent = time.process_time() - seen.cpu() - worked, time.perf_counter() - started
        del model
        if turn == 0:
            found |= {"first": float(seen.bytes), "before": float(before)}
        else:
            found["cpu"], found["wall"] = min(found["cpu"], spent[0]), min(found["wall"], spent[1])
        found["peak"] = max(found["peak"], float(seen.bytes))
    return found


if __name__ == "__main__":
    file, kind = Path(sys.argv[1]), DTYPES[sys.argv[2]]
    print(json.dumps(measure(ours(file, kind), int(sys.argv[3]))))
