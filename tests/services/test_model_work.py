"""Work on model files: what is refused at which field, what is written, and A1111's notes in it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.backend.conftest import Hashes
from tests.services.conftest import Recorder
from tools.random_checkpoint import KINDS, write_checkpoint
from webui.backend.catalog import Catalog
from webui.backend.hashing import hash_file, legacy_hash
from webui.backend.network_files import NetworkFiles
from webui.engine.cancel import CancelToken
from webui.schema.errors import Cancelled, WebuiError
from webui.schema.event import CatalogChanged, Working
from webui.schema.job import Job, JobStatus, JobView, lane_of
from webui.schema.model_work import Convert, Merge
from webui.schema.settings import PictureSettings
from webui.services.model_work import ModelWorkshop
from webui.services.worker import FileExecutor

CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"
MERGE = Merge(primary_model_name="a.safetensors", secondary_model_name="b", multiplier=0.25)


def write(path: Path, value: float, channels: int = 4, **metadata: str) -> Path:
    """A model of one tensor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({CONV_IN: torch.full((2, channels, 3, 3), value)}, path, {"format": "pt", **metadata})
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three checkpoints."""
    write(tmp_path / "sd" / "a.safetensors", 1.0, title="A", sd_merge_recipe='{"type": "webui"}', sd_merge_models='{"x": {"name": "old"}}')
    write(tmp_path / "sd" / "sub" / "b.safetensors", 2.0, title="B")
    write(tmp_path / "sd" / "c.safetensors", 3.0)
    return tmp_path / "sd"


@pytest.fixture
def workshop(folder: Path) -> ModelWorkshop:
    """On those."""
    hashes = Hashes()
    return ModelWorkshop(Catalog([folder], hashes), NetworkFiles({"vae": (folder.parent / "VAE",)}, hashes, hashes))


def refusal(action: Callable[[], object]) -> WebuiError:
    """The error."""
    with pytest.raises(WebuiError) as caught:
        action()
    return caught.value


def test_names_are_a1111s(workshop: ModelWorkshop) -> None:
    assert workshop.check(MERGE).output == "0.75(a) + 0.25(b).safetensors"
    difference = MERGE.revise(interp_method="Add difference", tertiary_model_name="c.safetensors", multiplier=1.0)
    assert workshop.check(difference).output == "a + 1.0(b - c).safetensors"
    assert workshop.check(MERGE.revise(custom_name="mine/new")).output == "mine/new.safetensors"
    assert workshop.check(MERGE.revise(custom_name="new.safetensors")).output == "new.safetensors"


def test_what_is_wrong_is_said_at_its_field(workshop: ModelWorkshop, folder: Path) -> None:
    wrong = {
        "primary_model_name": MERGE.revise(primary_model_name=""), "secondary_model_name": MERGE.revise(secondary_model_name="nobody"),
        "tertiary_model_name": MERGE.revise(interp_method="Add difference"), "bake_in_vae": MERGE.revise(bake_in_vae="none here"),
        "custom_name": MERGE.revise(custom_name="c"),
    }
    assert {field: refusal(lambda request=request: workshop.check(request)).field for field, request in wrong.items()} == {key: key for key in wrong}
    assert refusal(lambda: workshop.check(MERGE.revise(custom_name="a", replace=True))).message.endswith("one of the files that are read.")
    assert workshop.check(MERGE.revise(custom_name="c", replace=True)).output == "c.safetensors"
    (folder / "d" / "unet").mkdir(parents=True)
    (folder / "d" / "model_index.json").write_text("{}")
    assert "diffusers folder" in refusal(lambda: workshop.check(MERGE.revise(primary_model_name="d"))).message
    (folder / "a.safetensors").write_bytes(b"no model")
    assert refusal(lambda: workshop.check(MERGE)).field == "primary_model_name"


@pytest.mark.parametrize(("field", "value", "says"), [
    ("custom_name", "../a", "no file name"), ("custom_name", "/a", "no file name"), ("custom_name", "a:b", "A file name has none"),
    ("custom_name", ".hidden", "no file name"), ("discard_weights", "(", "no regular expression"), ("blocks", "1,2", "These are 2 numbers"),
    ("blocks", "1,x", "no number"), ("metadata_json", "[1]", "JSON object"), ("metadata_json", "{", "no JSON"), ("multiplier", 11, "less than"),
    ("multiplier", 1.001, "less than or equal to 1"), ("multiplier", -0.05, "greater than or equal to 0"),
    ("multiplier", float("nan"), "finite number"),
    ("multiplier", "inf", "finite number"), ("multiplier", "", "valid number"), ("base", 7, "less than or equal to 1"), ("base", -1, "greater than"),
    ("blocks", ",".join(["0.5"] * 24 + ["7"]), "^1 validation error(.|\n)*7 is no weight of a block: they go from 0 to 1"),
    ("blocks", ",".join(["nan"] * 25), "nan is no weight"), ("blocks", ",".join(["-1e999"] * 19), "-inf is no weight"),
    ("metadata_json", '{"a": NaN}', "NaN is no number"), ("metadata_json", "[" * 100_000, "no JSON"),
    ("discard_weights", "(" * 900, "no regular expression"),
])
def test_values_that_cannot_be(field: str, value: object, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Merge.model_validate({field: value})


@pytest.mark.parametrize("method", ["Weighted sum", "Add difference"])
def test_the_ends_of_the_range_are_in_it(method: str) -> None:
    for end in (0, 1):
        request = Merge.model_validate({"interp_method": method, "multiplier": end, "base": end, "blocks": ",".join([str(end)] * 25)})
        assert (request.multiplier, request.base, set(request.block_numbers)) == (end, end, {end})


def test_nineteen_numbers_are_for_sdxl(workshop: ModelWorkshop, folder: Path) -> None:
    """Of SD 1 they would name the wrong blocks: its middle is the thirteenth."""
    for kind in ("sd1", "sdxl"):
        write_checkpoint(folder / f"{kind}.safetensors", KINDS["tiny"][kind], 1)
    nineteen = Merge(primary_model_name="sd1", secondary_model_name="sd1", blocks=",".join(["0.5"] * 19))
    error = refusal(lambda: workshop.check(nineteen))
    assert error.field == "blocks" and error.message == "sd1.safetensors has twelve blocks each way, and 19 numbers are for nine."
    assert workshop.check(nineteen.revise(primary_model_name="sdxl", secondary_model_name="sdxl")).output
    assert workshop.check(nineteen.revise(blocks=",".join(["0.5"] * 25))).output


def test_what_cannot_succeed_is_not_put_in_line(workshop: ModelWorkshop, folder: Path) -> None:
    """Nobody waits for hashes of two large files to hear that they do not fit."""
    for kind in ("sd1", "sdxl"):
        write_checkpoint(folder / f"{kind}.safetensors", KINDS["tiny"][kind], 1)
    mixed = Merge(primary_model_name="sd1", secondary_model_name="sd1", tertiary_model_name="sdxl", interp_method="Add difference")
    weighted = mixed.revise(secondary_model_name="sdxl", interp_method="Weighted sum")
    for request, field in ((mixed, "tertiary_model_name"), (weighted, "secondary_model_name")):
        error = refusal(lambda request=request: workshop.check(request))
        assert (error.field, error.hint) == (field, "Merge models of the same family.")
        assert error.message == "sd1.safetensors is a Stable Diffusion 1 model, sdxl.safetensors is a Stable Diffusion XL model."
    (folder / "cut.safetensors").write_bytes(b"hello")
    error = refusal(lambda: workshop.check(Convert(source="cut")))
    assert error.field == "source" and error.message.startswith("cut.safetensors is cut short")


def test_the_merge_and_its_notes(workshop: ModelWorkshop, folder: Path) -> None:
    (folder / "sub" / "b.yaml").write_text("model: b")
    heard: list[float] = []
    request = workshop.check(MERGE.revise(metadata_json='{"mine": "yes"}', dtype="float16", blocks=",".join(["0.5"] * 25)))
    made = workshop.run(request, heard.append)
    assert load_file(made)[CONV_IN].unique().tolist() == [1.5] and heard == sorted(heard) and heard[-1] == 1.0
    assert made.with_suffix(".yaml").read_text() == "model: b"
    with safe_open(made, framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["title"], metadata["mine"], metadata["format"]) == ("B", "yes", "pt")
    first, second = folder / "a.safetensors", folder / "sub" / "b.safetensors"
    sums = [hash_file(str(path), path.stat().st_size) for path in (first, second)]
    assert json.loads(metadata["sd_merge_recipe"]) == {
        "type": "webui", "primary_model_hash": sums[0], "secondary_model_hash": sums[1], "tertiary_model_hash": None, "interp_method": "Weighted sum",
        "multiplier": 0.25, "save_as_half": True, "custom_name": "", "config_source": 0, "bake_in_vae": "None", "discard_weights": "",
        "is_inpainting": False, "is_instruct_pix2pix": False, "block_weights": [0.5] * 25, "base_weight": 0.25,
    }
    assert json.loads(metadata["sd_merge_models"]) == {
        sums[0]: {"name": "a.safetensors", "legacy_hash": legacy_hash(str(first)), "sd_merge_recipe": {"type": "webui"}}, "x": {"name": "old"},
        sums[1]: {"name": "sub/b.safetensors", "legacy_hash": legacy_hash(str(second)), "sd_merge_recipe": None},
    }
    assert workshop.read_metadata(["a", "b"])["title"] == "B"


def test_an_inpainting_merge_says_so(workshop: ModelWorkshop, folder: Path) -> None:
    write(folder / "a.safetensors", 1.0, channels=9)
    request = workshop.check(MERGE.revise(custom_name="new"))
    assert request.output == "new.inpainting.safetensors"
    with safe_open(workshop.run(request, lambda done: None), framework="pt") as file:
        assert json.loads(file.metadata()["sd_merge_recipe"])["is_inpainting"] is True


def test_converting_names_what_was_done(workshop: ModelWorkshop) -> None:
    request = workshop.check(Convert(source="b", dtype="bfloat16", prune=True))
    assert request.output == "b-bf16-pruned.safetensors"
    assert load_file(workshop.run(request, lambda done: None))[CONV_IN].dtype == torch.bfloat16
    assert workshop.check(Convert(source="b")).output == "b-copy.safetensors"
    assert refusal(lambda: workshop.run(workshop.check(Convert(source="b", ema="use", custom_name="x")), lambda done: None)).field == "ema"


def test_as_a_job_it_reports_and_can_be_stopped(workshop: ModelWorkshop, folder: Path, events: Recorder) -> None:
    request = workshop.check(MERGE.revise(custom_name="new"))
    assert isinstance(request, Merge)
    assert lane_of(request) == "cpu"
    job = Job(id="1", lane="cpu", status=JobStatus.RUNNING, request=request, settings=PictureSettings())
    assert JobView.of(job, 0).title == "new.safetensors" and Job.model_validate_json(job.model_dump_json()) == job
    executor, token = FileExecutor(workshop._catalog, lambda name: None, workshop), CancelToken()
    token.interrupt()
    with pytest.raises(Cancelled):
        executor.run(job, events.publish, token)
    assert not list(folder.glob("*new*")) and not list(folder.glob(".*"))
    executor.run(job, events.publish, CancelToken())
    assert any(isinstance(event, Working) for event in events) and isinstance(events[-1], CatalogChanged)
    assert "new.safetensors" in [item.name for item in workshop._catalog.checkpoints()]


def test_two_that_write_one_name_at_once_do_not_mix(workshop: ModelWorkshop, folder: Path) -> None:
    request = workshop.check(MERGE.revise(custom_name="new"))
    errors: list[WebuiError] = []

    def work() -> None:
        try:
            workshop.run(request, lambda done: None)
        except WebuiError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load_file(folder / "new.safetensors")[CONV_IN].unique().tolist() == [1.25] and len(errors) <= 1
