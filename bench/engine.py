"""What the engine adds to the bare module calls of the same run: a step and a picture on a tiny model, and the whole of a full-size SD 1.5."""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.table import Table, run
from tools.random_checkpoint import TINY, write_checkpoint
from webui.backend.catalog import Catalog
from webui.backend.components import Components
from webui.backend.device import Device
from webui.backend.families import sd
from webui.backend.families.sd_config import SdConfig
from webui.backend.families.sd_modules import build_modules, restore_buffers
from webui.backend.manager import ModelManager
from webui.backend.parts import ModelChoice, ModelPlan
from webui.engine.runtime import Runtime
from webui.engine.tables import register_tables
from webui.engine.tools import RunTools
from webui.plugins.registry import Registries
from webui.schema.generation import Txt2Img
from webui.schema.machine import DeviceOptions
from webui.schema.model import Checkpoint


def clock() -> float:
    """Seconds: of this thread's own CPU time when torch computes on it alone, so that neighbours on the machine do not count; else by the wall."""
    return time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()


class NoHashes:
    """Implements `catalog.HashStore`: remembers nothing."""

    def get(self, path: str, mtime: float, size: int) -> str | None:
        """Nothing is known."""
        return None

    def put(self, path: str, mtime: float, size: int, sha256: str) -> None:
        """Nothing is kept."""


class Bare:
    """Adds up the bare module calls and the time inside them, by wrapping them."""

    def __init__(self, components: Components) -> None:
        self.seconds, self.calls = 0.0, 0
        modules = components.modules
        self._places = [(modules["unet"], "forward"), (modules["text_encoder"], "forward"), (modules["vae"], "decode")]

    @contextmanager
    def counting(self) -> Iterator[Bare]:
        """Wrapped as long as the `with` lasts, from zero."""
        self.seconds, self.calls = 0.0, 0
        for module, name in self._places:
            setattr(module, name, self._timed(getattr(module, name)))
        try:
            yield self
        finally:
            for module, name in self._places:
                delattr(module, name)  # what is left is the class's own method

    def _timed(self, call: Callable[..., object]) -> Callable[..., object]:
        def timed(*given: object, **named: object) -> object:
            started = clock()
            try:
                return call(*given, **named)
            finally:
                self.seconds += clock() - started
                self.calls += 1

        return timed


def random_full_model(checkpoint: Checkpoint, device: Device) -> Components:
    """SD 1.5's sizes with random weights, made in memory: 2 GB need not be written to disk for this. Values repeat, which costs nothing in time."""
    modules = build_modules(SdConfig())
    block = torch.randn(2**22, generator=torch.Generator().manual_seed(0))
    for part, dtype in (("unet", device.dtype), ("vae", device.vae_dtype), ("text_encoder", device.dtype)):
        module = getattr(modules, part)
        weights = {name: _random_like(name, value, block).to(device.device, dtype) for name, value in module.state_dict().items()}
        module.load_state_dict(weights, assign=True)
        module.requires_grad_(False).eval()
    restore_buffers(modules.parts["text_encoder"], device.device)
    return sd.as_components(modules, checkpoint, device)


def plan_full_model(choice: ModelChoice) -> ModelPlan:
    """A family whose every checkpoint is `random_full_model`."""
    return ModelPlan((), lambda modules, device: random_full_model(choice.checkpoint, device))


def _random_like(name: str, value: Tensor, block: Tensor) -> Tensor:
    if value.ndim == 1:
        return torch.ones(value.shape) if name.endswith("weight") else torch.zeros(value.shape)
    count = value.numel()
    return block.repeat(math.ceil(count / len(block)))[:count].reshape(value.shape) / math.sqrt(count / len(value))


def runtime_of(folder: Path, precision: str) -> Runtime:
    """A runtime on the CPU whose models are in this folder."""
    registries = Registries()
    register_tables(registries)
    return Runtime(DeviceOptions.model_validate({"use_cpu": True, "precision": precision}), Catalog([folder], NoHashes()), registries)


def measure_overhead(table: Table, runtime: Runtime, repeats: int, model: str = "tiny") -> None:
    """Time outside the modules, of runs with 1 and with 41 steps: their difference is 40 steps, the rest is the picture. Least of n, interleaved."""
    request = Txt2Img(seed=1, width=64, height=64)
    with runtime.shop.manager.lease(ModelChoice(runtime.plan(request).checkpoint)) as components:
        bare = Bare(components)
    previews: list[bytes] = []
    watched = RunTools(preview=lambda width, height, jpeg: previews.append(jpeg))
    least: dict[tuple[bool, int], float] = {}
    for number in range(repeats + 1):
        for shown in (False, True):
            for steps in (1, 41):
                once = request.revise(steps=steps, prompt=f"a house {number} {shown} {steps}")  # a new prompt, so that the text encoder runs too
                with bare.counting():
                    started = clock()
                    for _ in runtime.generate(once, watched if shown else RunTools()):
                        pass
                    outside = clock() - started - bare.seconds
                if number:  # the first round warms up
                    least[shown, steps] = min(outside, least.get((shown, steps), math.inf))
    precision = str(runtime.device.dtype).removeprefix("torch.")
    for shown, words in ((False, f", {precision}"), (True, f", {precision}, live preview on")):
        step = (least[shown, 41] - least[shown, 1]) / 40
        table.add(f"engine around the bare module calls, a step{words}", step * 1e3, 1.0, "ms")
        table.add(f"engine around the bare module calls, a picture{words}", (least[shown, 1] - step) * 1e3, 20.0, "ms")
    table.note(f"{model} model, 64 px, {runtime.description}, DPM++ 2M, least of {repeats}, {len(previews)} previews made")


def measure_full(table: Table, runtime: Runtime, repeats: int) -> None:
    """Full-size SD 1.5, 64 px, 20 steps: time of the whole run over time inside its own module calls."""
    runtime.shop = replace(runtime.shop, manager=ModelManager(runtime.device, {"sd1": plan_full_model}))
    request = Txt2Img(prompt="a red house", seed=1, width=64, height=64, steps=20)
    with runtime.shop.manager.lease(ModelChoice(runtime.plan(request).checkpoint)) as components:
        bare = Bare(components)
    ratios, totals = [], []
    for number in range(repeats + 1):
        with bare.counting():
            started = clock()
            for _ in runtime.generate(request.revise(seed=number, steps=20 if number else 2, prompt=f"a red house {number}")):
                pass
            total = clock() - started
        if number:  # the first round warms up
            ratios.append(total / bare.seconds)
            totals.append(total)
    table.add("full-size SD 1.5, 64 px, 20 steps: whole run / bare module calls", min(ratios), 1.02, "x")
    table.note(f"{runtime.description}, {min(totals):.2f} s a picture, ratios {', '.join(f'{ratio:.4f}' for ratio in ratios)}")


def measure(table: Table) -> None:
    """All rows."""
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder, "tiny.safetensors"), TINY)
        for precision in ("full", "auto")[: 1 if table.quick else 2]:
            runtime = runtime_of(Path(folder), precision)
            measure_overhead(table, runtime, 5 if table.quick else 15)
            runtime.close()
        runtime = runtime_of(Path(folder), "auto")
        measure_full(table, runtime, 1 if table.quick else 4)
        runtime.close()


if __name__ == "__main__":
    run("engine", measure)
