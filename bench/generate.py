"""Whole runs against what they are made of: the bare module calls, the calls of a batch, and diffusers' own pipeline around the same modules.

`python bench/generate.py [--quick]`. Full-size SD 1.5 and a model of the demo model's sizes, random weights. Everything that is compared is taken in
turns within one run, and the least of n counts. On a machine that others use take `OMP_NUM_THREADS=1`: two threads that wait for each other measure
the neighbours, and a single one is measured by its own CPU time.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.engine import Bare, clock, measure_overhead, plan_full_model, runtime_of
from bench.samplers import BAR_MS, seconds_a_step
from bench.table import Table, run
from tools.demo_model.sizes import DEMO
from tools.random_checkpoint import write_checkpoint
from webui.backend.components import Components
from webui.backend.manager import ModelManager
from webui.backend.parts import ModelChoice
from webui.engine.runtime import Runtime
from webui.engine.step_hooks import POINTS
from webui.engine.tables import SAMPLERS
from webui.plugins.hookspecs import hookimpl
from webui.plugins.host import PluginHost
from webui.plugins.registry import Registries
from webui.schema.generation import Txt2Img

SMALL = Txt2Img(prompt="a red house", negative_prompt="grey", sampler="Euler", seed=1, steps=20, width=256, height=256)


@dataclass(frozen=True)
class Spent:
    """Seconds of one run, and of it inside the modules, in so many calls."""

    whole: float
    modules: float
    calls: int

    @property
    def outside(self) -> float:
        """Seconds that are not the modules'."""
        return self.whole - self.modules


def least(spent: list[Spent]) -> Spent:
    """Whole and inside are the least of all runs, each by itself; outside them the least too, as `whole` minus `modules` of the result."""
    modules, outside = min(one.modules for one in spent), min(one.outside for one in spent)
    return Spent(modules + outside, modules, spent[0].calls)


def spend(bare: Bare, work: Callable[[], object]) -> Spent:
    """Run once."""
    with bare.counting():
        started = clock()
        work()
        return Spent(clock() - started, bare.seconds, bare.calls)


def model_of(runtime: Runtime, request: Txt2Img) -> AbstractContextManager[Components]:
    """A lease of the runtime's model."""
    return runtime.shop.manager.lease(ModelChoice(runtime.plan(request).checkpoint))


def pictures(runtime: Runtime, request: Txt2Img) -> Callable[[], object]:
    """Our run."""
    return lambda: list(runtime.generate(request))


def pipeline(components: Components, request: Txt2Img) -> Callable[[], object]:
    """diffusers' run: the same modules, prompts encoded beforehand, as ours are remembered after the first picture."""
    modules: dict[str, Any] = dict(components.modules)  # typed Any: diffusers declares its optional parts as never None
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading", steps_offset=1,
    )
    rest: dict[str, Any] = dict.fromkeys(("tokenizer", "safety_checker", "feature_extractor")) | {"scheduler": scheduler}
    pipe = StableDiffusionPipeline(
        **modules, **rest, requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    with torch.inference_mode():
        cond, uncond = (components.text_encoders[0].encode(torch.full((1, 77), token), 1).states for token in (320, 321))

    def make() -> object:
        with torch.inference_mode():
            return pipe(
                prompt_embeds=cond, negative_prompt_embeds=uncond, num_inference_steps=request.steps, guidance_scale=request.cfg_scale,
                width=request.width, height=request.height, generator=torch.Generator().manual_seed(request.seed),
            )

    return make


def measure_side_by_side(table: Table, runtime: Runtime, request: Txt2Img, repeats: int, name: str, over: float | None = None) -> None:
    """Our run and diffusers', in turns. Both make the same module calls, so the least time inside them, of either, is taken for both. `over`: the bar
    in milliseconds over the bare calls; without it a share of them."""
    with model_of(runtime, request) as components:
        bare = Bare(components)
        contenders = {"ours": pictures(runtime, request), "theirs": pipeline(components, request)}
        for work in (pictures(runtime, request.revise(steps=2)), pipeline(components, request.revise(steps=2))):
            work()
        spent: dict[str, list[Spent]] = {"ours": [], "theirs": []}
        for _ in range(repeats):
            for key, work in contenders.items():
                spent[key].append(spend(bare, work))
    ours, theirs = least(spent["ours"]), least(spent["theirs"])
    if ours.calls != theirs.calls:
        raise RuntimeError(f"{ours.calls} module calls against {theirs.calls}: this is no comparison")
    modules = min(ours.modules, theirs.modules)
    if over is None:
        table.add(f"{name}: whole run / bare module calls", min(one.whole / one.modules for one in spent["ours"]), 1.02, "x")
    else:
        table.add(f"{name}: over the bare module calls", ours.outside * 1e3, over, "ms")
    table.add(f"{name}: our run / diffusers' pipeline", (modules + ours.outside) / (modules + theirs.outside), 1.0, "x")
    table.note(
        f"{repeats} in turns, {ours.calls} module calls each, least {modules:.3f} s; outside them ours {ours.outside * 1e3:.0f} ms, diffusers' "
        f"{theirs.outside * 1e3:.0f} ms; whole runs as timed {min(one.whole for one in spent['ours']):.3f} and "
        f"{min(one.whole for one in spent['theirs']):.3f} s"
    )


def measure_seed(table: Table, runtime: Runtime) -> None:
    """How often the text encoder runs when only the seed has changed."""
    request, calls = SMALL.revise(steps=1), []
    with model_of(runtime, request) as components:
        pictures(runtime, request)()
        handle = components.modules["text_encoder"].register_forward_hook(lambda module, given, output: calls.append(1))
        pictures(runtime, request.revise(seed=2))()
        handle.remove()
    table.add("a changed seed: runs of the text encoder", len(calls), 0, "")


def measure_batch(table: Table, runtime: Runtime, repeats: int) -> None:
    """A batch of eight against eight pictures by themselves, and against the bare module calls of a batch of eight."""
    request = SMALL.revise(steps=8)
    with model_of(runtime, request) as components:
        bare = Bare(components)
        one, eight = pictures(runtime, request), pictures(runtime, request.revise(batch_size=8))
        eight()
        singles, batches = [], []
        for _ in range(repeats):
            singles.append(spend(bare, lambda: [one() for _ in range(8)]))
            batches.append(spend(bare, eight))
    single, batch = least(singles), least(batches)
    table.add("a batch of 8 / the cheaper of 8 singles and the calls of 8", batch.whole / min(single.whole, batch.modules), 1.05, "x")
    table.note(f"least of {repeats}: batch {batch.whole:.3f} s, of it {batch.modules:.3f} s in the modules; 8 singles {single.whole:.3f} s")


def measure_hooks(table: Table, runtime: Runtime, repeats: int) -> None:
    """What a plugin that listens at all five points costs a step. Without one no object is made."""
    host = PluginHost(Registries())
    host.add("ear", SimpleNamespace(**{point: hookimpl(lambda state: None) for point in POINTS}))
    shop, request = runtime.shop, SMALL.revise(width=64, height=64)
    figures: dict[str, list[Spent]] = {"with": [], "without": []}
    with model_of(runtime, request) as components:
        bare = Bare(components)
        for _ in range(repeats + 1):
            for key, listening in (("with", host), ("without", PluginHost(Registries()))):
                runtime.shop = replace(shop, host=listening)
                figures[key].append(spend(bare, pictures(runtime, request)))
    runtime.shop = shop
    cost = (least(figures["with"]).outside - least(figures["without"]).outside) / request.steps
    table.add("a plugin listening at all five points of the loop, a step", cost * 1e3, 0.5, "ms")


def measure_samplers(table: Table, repeats: int) -> None:
    """The sampler with the most arithmetic of its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = {spec.name: 1000 * seconds_a_step(spec, repeats) for spec in SAMPLERS}
    torch.set_num_threads(threads)
    worst = max(times, key=lambda name: times[name])
    table.add(f"a sampler's own arithmetic a step at 512 px, the most: {worst}", times[worst], BAR_MS, "ms")
    table.note(f"{len(times)} samplers, the middle one {sorted(times.values())[len(times) // 2]:.3f} ms")


def measure(table: Table) -> None:
    """All rows."""
    quick = table.quick
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder, "demo-size.safetensors"), DEMO)
        runtime = runtime_of(Path(folder), "auto")
        threads = torch.get_num_threads()
        table.note(f"{runtime.description}, {threads} threads, {'its own CPU time' if threads == 1 else 'wall time'}")
        measure_seed(table, runtime)
        measure_overhead(table, runtime, 3 if quick else 10, "demo-size")
        measure_side_by_side(table, runtime, SMALL, 3 if quick else 8, "demo-size, 256 px, 20 steps", 20 + 20)
        measure_batch(table, runtime, 2 if quick else 5)
        measure_hooks(table, runtime, 3 if quick else 10)
        measure_samplers(table, 3 if quick else 15)
        full = SMALL.revise(width=64, height=64) if quick else SMALL
        manager = ModelManager(runtime.device, {"sd1": plan_full_model})
        runtime.shop = replace(runtime.shop, manager=manager)
        measure_side_by_side(table, runtime, full, 1 if quick else 2, f"full-size SD 1.5, {full.width} px, {full.steps} steps")
        runtime.close()
    if not all(math.isfinite(row.figure) for row in table.rows):
        raise RuntimeError("a figure is no number")


if __name__ == "__main__":
    run("generate", measure)
