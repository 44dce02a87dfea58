"""Telling the caller where a run is: phase, batch, pass and step of it become one `Step`. Needs no torch."""

from __future__ import annotations

from webui.engine.plan import Batch, Pass, Plan
from webui.engine.tools import RunTools, Step


class Reporter:
    """Turns "phase, batch, pass, step of it" into the `Step` that the caller gets: steps of all passes count, and a step is as dear as its pixels.
    Decoding comes when all is done."""

    def __init__(self, plan: Plan, tools: RunTools) -> None:
        self._pictures = len(plan.seeds)
        self._todo = plan.todo
        self._steps = [part.done for part in plan.todo]
        self._costs = [part.done * part.width * part.height for part in plan.todo]
        self._report = tools.report

    def __call__(self, phase: str, batch: Batch, part: Pass | None = None, step: int = 0) -> None:
        """Tell the caller."""
        over = self._todo.index(part) if part else 0
        if phase == "decoding":
            over, step = len(self._todo), 0
        done = sum(self._costs[:over]) + (step * part.width * part.height if part else 0)
        self._report(Step(phase, batch.first, self._pictures, sum(self._steps[:over]) + step, sum(self._steps), done / sum(self._costs)))
