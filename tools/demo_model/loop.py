"""The training loop that all three parts share: time and step limits, a clean end on SIGTERM, saving, a log of JSON lines. Knows no model.

A run resumes exactly: what step n draws at random comes from a generator seeded with n, so weights, optimizer and the number of the step are all
there is to save. SIGSTOP and SIGCONT pause a run; the pause does not count as time.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch


@dataclass(frozen=True)
class Limits:
    """When a run ends: after so many steps in all (this and earlier runs together), or so many minutes of this run, whichever comes first."""

    steps: int
    minutes: float = 1e9
    save_minutes: float = 2.0
    log_every: int = 20


def generator_of_step(step: int, salt: int = 0) -> torch.Generator:
    """The randomness of one step."""
    return torch.Generator().manual_seed(step * 7919 + salt)


def train_loop(first: int, limits: Limits, step: Callable[[int], dict[str, float]], save: Callable[[int], None], log: Path) -> int:
    """Run `step(number)` from `first` on until a limit or SIGTERM, save at the end and between; gives the number of the step that comes next.

    `step` gives figures; their means are written to the log every `log_every` steps as a JSON line with `step` and `seconds`.
    """
    number, since, spent, figures = first, 0.0, 0.0, list[dict[str, float]]()
    with _asked_to_end() as ended:
        while number < limits.steps and spent < limits.minutes * 60 and not ended():
            begun = time.process_time(), time.monotonic()
            figures.append(step(number))
            number += 1
            elapsed = _without_pause(time.process_time() - begun[0], time.monotonic() - begun[1])
            spent, since = spent + elapsed, since + elapsed
            if number % limits.log_every == 0 or number == limits.steps:
                _write(log, number, spent, figures)
                figures = []
            if since > limits.save_minutes * 60:
                save(number)
                since = 0.0
        save(number)
    return number


def save_atomically(path: Path, state: dict[str, Any]) -> None:
    """Write with torch.save to a temporary file and rename, so that a kill leaves the old file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    torch.save(state, temporary)
    os.replace(temporary, path)


def load_state(path: Path) -> dict[str, Any] | None:
    """What `save_atomically` wrote, or None when there is nothing yet."""
    return torch.load(path, weights_only=True) if path.exists() else None


def need_state(path: Path) -> dict[str, Any]:
    """The same. Raises `FileNotFoundError` when there is nothing yet."""
    state = load_state(path)
    if state is None:
        raise FileNotFoundError(f"{path} is not there yet.")
    return state


def _without_pause(cpu: float, wall: float) -> float:
    """Seconds of a step. A step whose wall time is far beyond its computing time was stopped meanwhile."""
    return cpu if wall > 20 * max(cpu, 0.05) else wall


def _write(log: Path, number: int, spent: float, figures: list[dict[str, float]]) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    means = {key: round(sum(entry[key] for entry in figures) / len(figures), 5) for key in figures[0]}
    with log.open("a") as file:
        file.write(json.dumps({"step": number, "seconds": round(spent, 1), **means}) + "\n")


@contextmanager
def _asked_to_end() -> Iterator[Callable[[], bool]]:
    """SIGTERM and Ctrl+C only raise a flag meanwhile."""
    asked: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        asked.append(number)

    before = {kind: signal.signal(kind, note) for kind in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(asked)
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
