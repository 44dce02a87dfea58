"""Two checkpoints in one run: a refiner that takes over within a pass, another model for the second pass."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest
import torch

from tests.backend.conftest import Hashes
from tools.random_checkpoint import KINDS, write_checkpoint
from webui.backend.catalog import Catalog
from webui.backend.parts import ModelChoice
from webui.engine import generate as generating
from webui.engine.course import make_course, make_table, refiner_due
from webui.engine.faces import RefinedNetwork
from webui.engine.plan import further_checkpoints, make_plan
from webui.engine.runtime import Runtime
from webui.engine.samplers.contract import Guided
from webui.engine.steps import decode as decoding
from webui.engine.tables import register_tables
from webui.engine.tools import Picture, RunTools, Step
from webui.plugins.registry import Registries
from webui.schema.errors import RequestError
from webui.schema.generation import Txt2Img
from webui.schema.machine import DeviceOptions
from webui.schema.model import Checkpoint
from webui.schema.settings import MachineSettings, PictureSettings

REQUEST = Txt2Img(prompt="a red house", seed=7, steps=8, width=64, height=64, sampler="Euler", cfg_scale=1, checkpoint="base")
REFINED = REQUEST.revise(enable_refiner=True, refiner_checkpoint="other", refiner_switch_at=0.5)
BASE, OTHER = (Checkpoint(name=name, path=name, size=1, mtime=1, sha256=name[0] * 64) for name in ("base", "other"))
Generate = Callable[..., Picture]


@pytest.fixture(scope="module")
def registries() -> Registries:
    made = Registries()
    register_tables(made)
    return made


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, registries: Registries) -> Iterator[Runtime]:
    folder = tmp_path_factory.mktemp("two")
    for seed, name in enumerate(("base", "other")):
        write_checkpoint(folder / f"{name}.safetensors", KINDS["tiny"]["sd1"], seed)
    made = Runtime(DeviceOptions(use_cpu=True, precision="full"), Catalog([folder], Hashes()), registries)
    yield made
    made.close()


@pytest.fixture(scope="module")
def generate(two: Runtime) -> Generate:
    def run(request: Txt2Img, limit: int = 2, **settings: object) -> Picture:
        tools = RunTools(machine=MachineSettings(sd_checkpoints_limit=limit), settings=PictureSettings(**settings))
        return next(iter(two.generate(request, tools)))

    return run


@pytest.fixture
def calls(two: Runtime, generate: Generate) -> Iterator[list[str]]:
    """Which model was called, in order."""
    seen: list[str] = []
    with ExitStack() as stack:
        for name in ("base", "other"):
            checkpoint = generate(REQUEST.revise(checkpoint=name, steps=1)).plan.checkpoint
            components = stack.enter_context(two.shop.manager.lease(ModelChoice(checkpoint), 2))
            hook = components.modules["unet"].register_forward_hook(lambda module, given, output, name=name: seen.append(name))
            stack.callback(hook.remove)
        seen.clear()
        yield seen


def test_the_refiner_finishes_the_picture(generate: Generate, calls: list[str]) -> None:
    """Eight even timesteps from 999 to 0: half of the way is done from the fifth on."""
    refined = np.asarray(generate(REFINED).image).astype(int)
    assert calls == ["base"] * 4 + ["other"] * 4
    for alone in (REQUEST, REQUEST.revise(checkpoint="other")):
        assert np.abs(np.asarray(generate(alone).image).astype(int) - refined).mean() > 1


def test_by_steps(generate: Generate, calls: list[str]) -> None:
    generate(REFINED.revise(refiner_switch_at=0.25), refiner_switch_by_sample_steps=True)
    assert calls == ["base"] * 2 + ["other"] * 6


def test_timestep_samplers_switch_by_their_timestep(generate: Generate, calls: list[str]) -> None:
    generate(REFINED.revise(sampler="DDIM"))
    assert calls[0] == "base" and calls[-1] == "other"
    assert calls == sorted(calls)


def test_one_model_in_memory_makes_the_same_picture(two: Runtime, generate: Generate) -> None:
    """The second lease begins when the first has ended, and the next run finds its way back."""
    both, one = generate(REFINED), generate(REFINED, limit=1)
    assert np.array_equal(np.asarray(both.image), np.asarray(one.image))
    assert np.array_equal(np.asarray(generate(REFINED, limit=1).image), np.asarray(both.image))


def test_prompts_go_on_counting(generate: Generate, calls: list[str]) -> None:
    edited = REFINED.revise(prompt="[a red house:a blue boat:6]")
    assert not np.array_equal(np.asarray(generate(edited).image), np.asarray(generate(REFINED).image))
    # the text that comes in force after the last call changes nothing
    assert np.array_equal(np.asarray(generate(edited.revise(prompt="[a red house:a blue boat:8]")).image), np.asarray(generate(REFINED).image))


def test_the_second_pass_by_another_checkpoint(generate: Generate, calls: list[str]) -> None:
    hires = REQUEST.revise(enable_hr=True, hr_checkpoint_name="other", hr_second_pass_steps=3, hr_scale=1.5, hr_upscaler="Lanczos")
    picture = generate(hires)
    assert calls == ["base"] * 8 + ["other"] * 3
    assert picture.image.size == (96, 96)


@pytest.mark.parametrize(
    ("where", "expected"), [("first pass", (True, False)), ("second pass", (False, True)), ("both passes", (True, True))],
)
def test_the_passes_that_are_refined(registries: Registries, where: str, expected: tuple[bool, bool]) -> None:
    plan = make_plan(
        REFINED.revise(enable_hr=True), BASE, registries, settings=PictureSettings(hires_fix_refiner_pass=where), find=lambda name, field: OTHER,
    )
    assert tuple(part.refine is not None for part in plan.passes) == expected
    extras = dict(plan.extras)
    assert (extras["Refiner"], extras["Refiner switch at"], extras.get("Hires refiner")) == (
        "other [oooooooooo]", 0.5, None if where == "second pass" else where,
    )


def test_what_the_infotext_says(registries: Registries) -> None:
    settings = PictureSettings(refiner_switch_by_sample_steps=True)
    extras = make_plan(REFINED, BASE, registries, settings=settings, find=lambda name, field: OTHER).extras
    assert extras == (("Refiner switch by sampling steps", True), ("Refiner", "other [oooooooooo]"), ("Refiner switch at", 0.5))
    hires = REQUEST.revise(enable_hr=True, hr_checkpoint_name="other")
    extras = dict(make_plan(hires, BASE, registries, find=lambda name, field: OTHER.revise(sha256=None)).extras)
    assert extras["Hires checkpoint"] == "other"
    assert list(extras)[:2] == ["Denoising strength", "Hires checkpoint"]


def test_what_is_not_used_is_not_looked_for(two: Runtime) -> None:
    assert further_checkpoints(REFINED.revise(enable_refiner=False, hr_checkpoint_name="gone"), two._catalog.get) == {}
    for wrong, field in (({"refiner_checkpoint": ""}, "refiner_checkpoint"), ({"refiner_checkpoint": "gone"}, "refiner_checkpoint")):
        with pytest.raises(RequestError) as caught:
            further_checkpoints(REFINED.revise(**wrong), two._catalog.get)
        assert caught.value.field == field
    with pytest.raises(RequestError) as caught:
        two.plan(REQUEST.revise(enable_hr=True, hr_checkpoint_name="gone"))
    assert caught.value.field == "hr_checkpoint_name"


class Face:
    """Answers its name and the calls that it began with."""

    def __init__(self, value: float) -> None:
        self.value = torch.tensor(value)

    def x0(self, x: torch.Tensor, sigma: torch.Tensor, *, ahead: bool = False) -> Guided:
        return Guided(self.value, None, self.value, 0)

    eps = x0


def test_the_switch_is_made_once(registries: Registries) -> None:
    part = make_plan(REFINED, BASE, registries, find=lambda name, field: OTHER).passes[0]
    table = make_table(torch.linspace(0.9999, 0.001, 1000), part, PictureSettings())
    due = refiner_due(part, table, make_course(part, table, PictureSettings()))
    assert [due(table.sigmas[t], 0) for t in (999, 500, 499, 0)] == [False, False, True, True]
    network = RefinedNetwork(Face(-1.0), lambda level, calls: bool(level < 1), lambda calls: Face(float(calls)))
    assert [network.x0(torch.zeros(1), torch.tensor(sigma)).value.item() for sigma in (2.0, 1.5, 0.5, 3.0)] == [-1, -1, 2, 2]


def test_previews_do_not_keep_the_first_model(two: Runtime) -> None:
    """With one checkpoint in memory, the first is gone when the refiner has come, also while pictures of it are shown."""
    two.shop.manager.evict()
    first: list[weakref.ref[object]] = []
    alive: dict[int, bool] = {}

    def report(step: Step) -> None:
        if step.phase == "sampling":
            if not first:
                first.append(weakref.ref(next(iter(two.shop.manager._models.values())).components))
            alive[step.step] = first[0]() is not None

    shown: list[int] = []
    machine = MachineSettings(sd_checkpoints_limit=1, live_preview_refresh_period=50)
    tools = RunTools(report=report, machine=machine, preview=lambda *preview: shown.append(1))
    list(two.generate(REFINED.revise(steps=60), tools))
    assert shown
    assert alive[10] and not alive[60]


def test_memory_that_ran_out_lowers_both_models(two: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    tiled: list[bool] = []
    decode, failed = decoding.decode_picture, [False]

    def once(*given: object) -> torch.Tensor:
        if not failed[0]:
            failed[0] = True
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(*given)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(decoding, "decode_picture", once)
    monkeypatch.setattr(generating, "set_tiling", lambda vae, on: tiled.append(on))
    list(two.generate(REFINED, RunTools(tell=lambda text: None)))
    assert tiled == [False, False, True, True]
