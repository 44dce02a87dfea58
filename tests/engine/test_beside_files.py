"""A job on one model while the list of models is read again and another model comes, changes and goes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.backend.conftest import Hashes
from tools.random_checkpoint import KINDS, write_checkpoint
from webui.backend.catalog import Catalog
from webui.backend.headers import read_header
from webui.engine.runtime import Runtime
from webui.engine.tables import register_tables
from webui.plugins.registry import Registries
from webui.schema.errors import ModelError, WebuiError
from webui.schema.generation import Txt2Img
from webui.schema.machine import DeviceOptions

REQUEST = Txt2Img(prompt="a red house", seed=7, steps=30, width=64, height=64, batch_count=3, checkpoint="a.safetensors")


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    write_checkpoint(tmp_path / "a.safetensors", KINDS["tiny"]["sd1"], 1)
    registries = Registries()
    register_tables(registries)
    made = Runtime(DeviceOptions(use_cpu=True, precision="full"), Catalog([tmp_path], Hashes(), tmp_path / "index.json"), registries)
    yield made
    made.close()


def test_a_job_goes_on_while_files_come_and_go(runtime: Runtime, tmp_path: Path) -> None:
    wanted = [picture.image.tobytes() for picture in runtime.generate(REQUEST)]
    runtime.shop.manager.evict()
    catalog, other, over = runtime._catalog, tmp_path / "b.safetensors", threading.Event()
    seen: set[str] = set()
    faults: list[BaseException] = []
    rounds = [0]

    def disturb() -> None:
        while not over.is_set():
            rounds[0] += 1
            write_checkpoint(other, KINDS["tiny"]["sd1"], rounds[0])
            catalog.refresh()
            seen.add(f"{len(catalog.checkpoints())} files")
            if rounds[0] % 2:
                other.write_bytes(b"cut")
            other.unlink()
            try:
                catalog.get("b.safetensors")
            except WebuiError as error:
                seen.add(type(error).__name__)
            catalog.refresh()

    def guarded() -> None:
        try:
            disturb()
        except BaseException as error:
            faults.append(error)
            raise

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        found = [picture.image.tobytes() for picture in runtime.generate(REQUEST)]
        while rounds[0] < 3 and thread.is_alive():
            over.wait(0.05)
    finally:
        over.set()
        thread.join()
    assert faults == []
    assert found == wanted
    assert seen >= {"2 files"} and seen & {"ModelError", "RequestError"}
    assert [entry.name for entry in catalog.checkpoints()] == ["a.safetensors"]


def test_a_job_on_a_model_that_is_deleted_beneath_it_ends_well(runtime: Runtime, tmp_path: Path) -> None:
    """What is in memory goes on; the next job is told in words."""
    pictures = []
    for picture in runtime.generate(REQUEST):
        pictures.append(picture.index)
        (tmp_path / "a.safetensors").unlink(missing_ok=True)
    assert pictures == [0, 1, 2]
    with pytest.raises(WebuiError, match=r"a.safetensors"):
        next(iter(runtime.generate(REQUEST)))


def test_the_checkpoint_that_a_file_names_for_its_parts_is_not_guessed(runtime: Runtime, tmp_path: Path) -> None:
    """Where two are called so; by its whole name or its hash it is found."""
    weights, notes = load_file(tmp_path / "a.safetensors"), dict(read_header(tmp_path / "a.safetensors").metadata)
    unet = {name: value for name, value in weights.items() if name.startswith("model.diffusion_model.")}
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        save_file(weights, tmp_path / name / "whole.safetensors", notes)
    save_file(unet, tmp_path / "part.safetensors", notes | {"easel.base": "whole"})
    request = REQUEST.revise(checkpoint="part.safetensors", steps=2, batch_count=1)
    with pytest.raises(ModelError, match=r"part\.safetensors names another checkpoint for its other parts\. 2 checkpoints are called “whole”"):
        list(runtime.generate(request))
    wanted = next(iter(runtime.generate(request.revise(checkpoint="x/whole")))).image.tobytes()
    digest = runtime._catalog.sha256(runtime._catalog.get("y/whole"))
    for called in ("y/whole.safetensors", digest[:10].upper()):
        save_file(unet, tmp_path / "part.safetensors", notes | {"easel.base": called})
        runtime._catalog.refresh()
        assert next(iter(runtime.generate(request))).image.tobytes() == wanted
