"""Before and after a run: the estimate is told, memory that runs out is answered once, a VAE that gives NaN is widened, another VAE is used."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.backend.conftest import Hashes
from tools.random_checkpoint import TINY, write_checkpoint
from webui.backend.catalog import Catalog
from webui.backend.memory import GIB, Way
from webui.backend.network_files import NetworkFiles
from webui.backend.parts import ModelChoice
from webui.engine.fitting import Fit, fit, work_of
from webui.engine.runtime import Runtime
from webui.engine.steps import decode as decoding
from webui.engine.tables import register_tables
from webui.engine.tools import Picture, RunTools, Step
from webui.plugins.registry import Registries
from webui.schema.errors import RequestError, WebuiError
from webui.schema.generation import Txt2Img
from webui.schema.machine import DeviceOptions
from webui.schema.settings import MachineSettings, PictureSettings

REQUEST = Txt2Img(prompt="a red house", seed=3, steps=2, width=64, height=64)


@pytest.fixture(scope="module")
def fresh(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A runtime whose models are evicted without harm to other tests; with VAE files."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copy(tiny_checkpoint, folder / "tiny.safetensors")
    write_checkpoint(folder / "VAE" / "other.safetensors", TINY, seed=5)
    registries = Registries()
    register_tables(registries)
    files = NetworkFiles({"vae": (folder / "VAE",)}, Hashes(), Hashes())
    made = Runtime(DeviceOptions(use_cpu=True, precision="full"), Catalog([folder], Hashes()), registries, files=files)
    yield made
    made.close()


def failing(monkeypatch: pytest.MonkeyPatch, *, times: int, at: Callable[[int], bool] = lambda number: True) -> list[int]:
    """Let the engine's decoding run out of memory so often, at the calls that `at` says. Returns the numbers of all calls."""
    calls: list[int] = []
    decode, left = decoding.decode_picture, [times]

    def run(*given: object) -> torch.Tensor:
        calls.append(len(calls))
        if left[0] and at(calls[-1]):
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(*given)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(decoding, "decode_picture", run)
    return calls


def run(runtime: Runtime, request: Txt2Img = REQUEST, **tools: object) -> list[Picture]:
    return list(runtime.generate(request, RunTools(**tools)))  # pyright: ignore[reportArgumentType]


def test_the_estimate_is_told_first(fresh: Runtime) -> None:
    steps: list[Step] = []
    run(fresh, report=steps.append)
    assert steps[0].phase == "loading"
    assert steps[0].note.startswith("needs about 0.0 of ")
    assert {step.note for step in steps} == {steps[0].note}  # and all the time: loading may take no time at all


def test_a_plan_is_as_large_as_its_largest_pass(fresh: Runtime) -> None:
    work = work_of(fresh.plan(REQUEST.revise(enable_hr=True, hr_scale=2.0, batch_size=3)))
    assert (work.pixels, work.rows) == (128 * 128, 6)
    assert work_of(fresh.plan(REQUEST.revise(cfg_scale=1.0))).rows == 1


def test_out_of_memory_once_is_tried_again_in_another_way(fresh: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = run(fresh)[0].image.tobytes()
    calls, said = failing(monkeypatch, times=1), []
    pictures = run(fresh, tell=said.append)
    assert [picture.image.tobytes() for picture in pictures] == [wanted]
    assert len(calls) == 2
    assert said == ["There was not enough memory. The job goes on in a way that needs less of it: VAE tiled."]
    assert run(fresh)[0].image.tobytes() == wanted  # the server goes on


def test_finished_pictures_are_not_given_twice(fresh: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    request = REQUEST.revise(batch_size=2, batch_count=2)
    wanted = {picture.index: picture.image.tobytes() for picture in run(fresh, request)}
    failing(monkeypatch, times=1, at=lambda number: number == 3)  # the second picture of the second batch
    found = run(fresh, request, tell=lambda text: None)
    assert [picture.index for picture in found] == [0, 1, 2, 3]
    assert {picture.index: picture.image.tobytes() for picture in found} == wanted


def test_out_of_memory_twice_is_an_error_in_words(fresh: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = failing(monkeypatch, times=9)
    with pytest.raises(WebuiError, match="not enough memory for 1 × 64 × 64") as caught:
        run(fresh, tell=lambda text: None)
    assert "smaller" in (caught.value.hint or "")
    assert len(calls) == 2
    assert fresh.shop.manager.loaded == []
    monkeypatch.undo()
    assert len(run(fresh)) == 1


def test_other_errors_are_not_tried_again(fresh: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def broken(*given: object) -> torch.Tensor:
        calls.append(1)
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(decoding, "decode_picture", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        run(fresh)
    assert len(calls) == 1


def test_settings_decide(fresh: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    choice, manager = ModelChoice(fresh.plan(REQUEST).checkpoint), fresh.shop.manager

    def look(machine: MachineSettings, **picture: object) -> Fit:
        tools = RunTools(machine=machine, settings=PictureSettings.model_validate(picture))
        return fit(manager, choice, work_of(fresh.plan(REQUEST)), DeviceOptions(), tools)

    assert look(MachineSettings()).estimate.way == Way("high", False)
    assert look(MachineSettings(vae_tiling="always")).estimate.way == Way("high", True)
    assert look(MachineSettings(memory_mode="group offload")).estimate.way.mode == "high"  # a CPU has nowhere to offload to
    assert look(MachineSettings(models_ram_gb=2)).budget == 2 * GIB
    assert look(MachineSettings(disable_mmap_load_safetensors=True)).residence.whole
    assert look(MachineSettings(), fp8_storage="Enable").residence.storage == "fp8"
    assert look(MachineSettings(), fp8_storage="Enable for SDXL").residence.storage is None
    assert look(MachineSettings(), fp8_storage="Enable", low_bit_storage="nf4").residence.storage == "nf4"
    monkeypatch.setattr(type(fresh.device), "memory", property(lambda device: (8 * GIB, 0)))
    monkeypatch.setattr(type(manager), "idle", property(lambda manager: 0))
    tight = look(MachineSettings())
    assert not tight.estimate.fits


def test_tiles_give_nearly_the_same_picture(fresh: Runtime, pixels) -> None:
    """Above the size of a tile only; the seams are blended."""
    request = REQUEST.revise(width=640, height=576, steps=1)
    whole = run(fresh, request)[0]
    tiled = run(fresh, request, machine=MachineSettings(vae_tiling="always"))[0]
    difference = np.abs(pixels(whole) - pixels(tiled))
    assert difference.max() > 0
    assert np.percentile(difference, 99) <= 24


def test_a_vae_that_gives_nan_is_widened(make_runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = make_runtime(DeviceOptions(use_cpu=True, precision="half"))
    with runtime.shop.manager.lease(ModelChoice(runtime.plan(REQUEST).checkpoint)) as components:
        vae = components.modules["vae"]
    decode = type(vae).decode
    seen: list[torch.dtype] = []

    def narrow(self, latents: torch.Tensor, **named: object) -> tuple[torch.Tensor]:
        seen.append(latents.dtype)
        (picture,) = decode(self, latents, **named)
        return (picture if latents.dtype == torch.float32 else picture * float("nan"),)

    monkeypatch.setattr(type(vae), "decode", narrow)
    said: list[str] = []
    assert len(run(runtime, tell=said.append)) == 1
    assert seen == [torch.bfloat16, torch.float32]
    assert len(said) == 1
    assert "float32" in said[0]
    run(runtime, tell=said.append)
    assert len(said) == 1  # it stays wide
    runtime.shop.manager.evict()
    with pytest.raises(WebuiError, match=r"VAE .* produced NaN"):
        run(runtime, settings=PictureSettings(auto_vae_precision=False))
    runtime.close()


def test_another_vae_changes_the_pixels_only(fresh: Runtime) -> None:
    own = run(fresh)[0]
    other = run(fresh, settings=PictureSettings(sd_vae="other.safetensors"))[0]
    assert own.plan.vae is None
    assert other.plan.vae is not None
    assert other.plan.vae.name == "other"
    assert own.image.tobytes() != other.image.tobytes()
    assert replace(other.plan, vae=None) == own.plan
    with pytest.raises(RequestError, match="no VAE") as caught:
        run(fresh, settings=PictureSettings(sd_vae="gone.pt"))
    assert caught.value.field == "settings.sd_vae"


def test_8_bit_weights_give_a_picture_near_it(fresh: Runtime, pixels) -> None:
    full = run(fresh)[0]
    narrow = run(fresh, settings=PictureSettings(fp8_storage="Enable"))[0]
    difference = np.abs(pixels(full) - pixels(narrow))
    assert 0 < difference.mean() < 16
