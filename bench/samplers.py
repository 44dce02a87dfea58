"""A sampler's own arithmetic a step, at 512 × 512 pixels (4 × 64 × 64 latents): the network answers at once and noise is drawn beforehand."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.table import Table, run
from webui.backend.families.sd_modules import scaled_linear_alphas
from webui.engine.course import load_function, make_course, make_table, sampler_options
from webui.engine.plan import Pass
from webui.engine.samplers.contract import Guided
from webui.engine.tables import SAMPLERS, SCHEDULES
from webui.schema.sampling import SamplerSpec
from webui.schema.settings import PictureSettings

BAR_MS = 0.3
STEPS = 40


class Instant:
    """A network whose answer costs one multiplication by nothing: what is left of the time is the sampler's."""

    def __init__(self) -> None:
        self.calls = 0

    def x0(self, x: Tensor, sigma: Tensor, *, ahead: bool = False) -> Guided:
        """See `Network.x0`. Half of x, so that DPM adaptive finds an end."""
        return self._answer(x * 0.5)

    def eps(self, x: Tensor, t: Tensor, *, ahead: bool = False) -> Guided:
        """See `Network.eps`."""
        return self._answer(x * 0.5)

    def _answer(self, value: Tensor) -> Guided:
        self.calls += 1
        return Guided(value, value, value, self.calls)


def seconds_a_step(spec: SamplerSpec, repeats: int) -> float:
    """The best of some runs, over the steps that the sampler itself counts."""
    settings = PictureSettings()
    schedule = next((entry for entry in SCHEDULES if entry.name == spec.scheduler), None)
    part = Pass(STEPS, 7.0, 512, 512, spec, schedule)
    table = make_table(scaled_linear_alphas(0.00085, 0.012, 1000), part, settings)
    course, options = make_course(part, table, settings), sampler_options(part, table, settings)
    drawn, sample, best = torch.randn(1, 4, 64, 64), load_function(spec.function), float("inf")
    for _ in range(repeats):
        network, steps, x = Instant(), 0, drawn * course.spread

        def step(number: int, *seen: object) -> None:
            nonlocal steps
            steps = number + 1

        begin = time.thread_time()
        with torch.inference_mode():
            sample(network, x, course.levels, lambda *between: drawn, options, step)
        best = min(best, (time.thread_time() - begin) / max(steps, 1))
    return best


def measure(table: Table) -> None:
    """All built-in samplers."""
    torch.set_num_threads(1)
    for spec in SAMPLERS:
        table.add(f"{spec.name}: own arithmetic a step", 1000 * seconds_a_step(spec, 3 if table.quick else 15), BAR_MS, "ms")
    table.note(f"{STEPS} steps, one picture of 512 × 512, float32, CPU time of one thread; the network's answer is half of x, included")


if __name__ == "__main__":
    run("samplers", measure)
