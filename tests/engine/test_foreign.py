"""Folders that are run by their own diffusers pipeline: the pictures are the pipeline's, and what it cannot do is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from tests.backend.conftest import Hashes
from tests.engine.conftest import runtime_on
from tools.random_checkpoint import KINDS, write_checkpoint
from webui.backend.catalog import Catalog
from webui.backend.convert import convert
from webui.backend.recipes import ConvertFiles
from webui.engine.cancel import CancelToken
from webui.engine.foreign import check_foreign
from webui.engine.prompt.tokens import tokenizer_files
from webui.engine.runtime import Runtime
from webui.engine.tools import RunTools, Step
from webui.schema.errors import Cancelled, ModelError, RequestError
from webui.schema.generation import Txt2Img
from webui.schema.model import Checkpoint
from webui.services.infotext.writer import write_infotext

REQUEST = Txt2Img(
    prompt="a red house", negative_prompt="blue", seed=3, steps=3, width=64, height=64, cfg_scale=4, batch_size=2, checkpoint="edm", batch_count=2,
)
EDM = {"_class_name": "EDMEulerScheduler", "sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "prediction_type": "epsilon"}


def change(path: Path, **values: object) -> None:
    """Set these in a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of the SDXL kind that works on EDM's noise levels, as Playground 2.5 does."""
    folder = tmp_path_factory.mktemp("models")
    write_checkpoint(folder / "plain.safetensors", KINDS["tiny"]["sdxl"], 3)
    checkpoint = Catalog([folder], Hashes()).get("plain")
    extra = {f"{name}/{file}": text for name, end in (("tokenizer", "<|endoftext|>"), ("tokenizer_2", "!"))
             for file, text in tokenizer_files(end).items()}
    convert(ConvertFiles(checkpoint, folder / "edm", folder=True, extra=extra))
    (folder / "edm" / "scheduler" / "scheduler_config.json").write_text(json.dumps(EDM))
    change(folder / "edm" / "model_index.json", scheduler=["diffusers", "EDMEulerScheduler"])
    return folder


@pytest.fixture(scope="module")
def runtime(models: Path) -> Iterator[Runtime]:
    with runtime_on(models) as made:
        yield made


def test_the_pictures_are_the_pipelines_own(runtime: Runtime, models: Path) -> None:
    pictures = list(runtime.generate(REQUEST))
    plain = StableDiffusionXLPipeline.from_pretrained(models / "edm", local_files_only=True, torch_dtype=torch.float32)
    plain.set_progress_bar_config(disable=True)
    told: dict[str, Any] = {"num_inference_steps": 3, "guidance_scale": 4.0, "width": 64, "height": 64}
    expected = [image for first in (3, 5) for image in plain(
        prompt=["a red house"] * 2, negative_prompt=["blue"] * 2, **told, generator=[torch.Generator().manual_seed(first + more) for more in (0, 1)],
    ).images]
    assert [picture.index for picture in pictures] == [0, 1, 2, 3]
    for picture, image in zip(pictures, expected, strict=True):
        assert np.array_equal(np.asarray(picture.image), np.asarray(image))
    assert len({picture.image.tobytes() for picture in pictures}) == 4


def test_progress_and_what_the_infotext_says(runtime: Runtime) -> None:
    steps: list[Step] = []
    picture = next(iter(runtime.generate(REQUEST, RunTools(report=steps.append))))
    assert [step.step for step in steps if step.phase == "sampling"] == [0, 1, 2, 3]
    line = write_infotext(picture.plan, 0, None)
    assert "Sampler: StableDiffusionXLPipeline (its own), CFG scale: 4" in line and "Schedule type" not in line


def test_interrupt_skip_and_what_is_finished(runtime: Runtime) -> None:
    cancel = CancelToken()

    def at_second(step: Step) -> None:
        if step.phase == "sampling" and step.step == 2:
            cancel.skip() if step.picture == 0 else cancel.interrupt()

    given: list[int] = []
    with pytest.raises(Cancelled):
        given.extend(picture.index for picture in runtime.generate(REQUEST, RunTools(cancel=cancel, report=at_second)))
    assert given == []
    assert [picture.index for picture in runtime.generate(REQUEST, RunTools(finished=frozenset((0, 1))))] == [2, 3]


@pytest.mark.parametrize(("field", "values"), [
    ("enable_hr", {"enable_hr": True}), ("subseed_strength", {"subseed_strength": 0.5}), ("cfg_rescale", {"cfg_rescale": 0.5}),
    ("seed_resize_from_w", {"seed_resize_from_w": 64, "seed_resize_from_h": 64}),
])
def test_what_it_has_no_place_for_is_refused_at_its_field(runtime: Runtime, field: str, values: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="StableDiffusionXLPipeline") as caught:
        runtime.plan(REQUEST.revise(**values))
    assert caught.value.field == field
    check_foreign(REQUEST.revise(**values), Checkpoint(name="plain", path="", size=0, mtime=0, family="sdxl"))


def test_our_own_models_go_on_and_one_is_in_memory(runtime: Runtime) -> None:
    next(iter(runtime.generate(REQUEST)))
    assert runtime.shop.manager.loaded == []
    next(iter(runtime.generate(REQUEST.revise(checkpoint="plain"))))
    assert runtime.shop.pipelines is not None and runtime.shop.pipelines._known is None
    with pytest.raises(ModelError, match="family that is not supported"):
        list(runtime.generate(REQUEST.revise(checkpoint="plain", enable_refiner=True, refiner_checkpoint="edm", refiner_switch_at=0.5)))


@pytest.mark.parametrize(("kind", "message"), [
    ("StableDiffusionXLInpaintPipeline", "its pipeline .* refuses"), ("NobodysPipeline", "wants NobodysPipeline, which the installed diffusers"),
    ("ImagePipelineOutput", "is a diffusers folder without a pipeline"), ("DDPMPipeline", "cannot be loaded|takes no prompt"),
])
def test_pipelines_that_cannot_be_used(models: Path, runtime: Runtime, kind: str, message: str) -> None:
    index = models / "edm" / "model_index.json"
    before = index.read_text()
    try:
        change(index, _class_name=kind)
        with pytest.raises(ModelError, match=message) as caught:
            list(runtime.generate(REQUEST))
        assert caught.value.field == "checkpoint"
    finally:
        index.write_text(before)


def test_code_in_the_folder_is_refused_and_did_not_run(models: Path, runtime: Runtime, tmp_path: Path) -> None:
    code = models / "edm" / "unet" / "mine.py"
    code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    change(models / "edm" / "model_index.json", unet=["mine", "Mine"])
    try:
        with pytest.raises(ModelError, match=r"brings code of its own \(unet/mine.py\)"):
            list(runtime.generate(REQUEST))
        assert not (tmp_path / "ran").exists()
    finally:
        code.unlink()
        change(models / "edm" / "model_index.json", unet=["diffusers", "UNet2DConditionModel"])
