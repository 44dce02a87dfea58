"""One model in every layout and format: recognised as the same, with the same tensors inside; and run from those that can be run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tools.random_checkpoint import LAYOUTS, TINY, random_weights
from webui.backend.catalog import Catalog
from webui.backend.device import Device
from webui.backend.identify import identify
from webui.backend.layouts import files_of, find_checkpoints, stamp, state_of
from webui.backend.manager import ModelManager
from webui.backend.parts import ModelChoice
from webui.backend.weights import open_weights

NAMES = {"file": "a.safetensors", "pickle": "b.ckpt", "shards": "c.safetensors.index.json", "folder": "d"}
CPU = Device(torch.device("cpu"), torch.float32, torch.float32, "sdpa")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights in four layouts, in one folder."""
    folder = tmp_path_factory.mktemp("models")
    for layout, name in NAMES.items():
        LAYOUTS[layout](folder / name, TINY, 3)
    return folder


@pytest.mark.parametrize("layout", list(NAMES))
def test_every_layout_is_the_same_model(models: Path, layout: str) -> None:
    identity = identify(models / NAMES[layout])
    assert (identity.family, identity.variant, identity.dtype) == ("sd1", "base", "F16")
    assert set(identity.parts) == {"unet", "vae", "text_encoder"}
    assert identity.layout == ("diffusers" if layout == "folder" else "ldm")


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("layout", ["file", "pickle", "shards"])
def test_the_same_tensors_in_every_format(models: Path, layout: str, whole: bool) -> None:
    wanted = random_weights(TINY, 3)
    with open_weights(models / NAMES[layout], whole=whole) as weights:
        assert set(weights.keys()) == set(wanted)
        assert all(torch.equal(weights.get(name), tensor) for name, tensor in wanted.items())
        assert "easel.config" in weights.metadata


def test_a_module_of_a_folder(models: Path) -> None:
    with open_weights(models / "d" / "unet") as weights:
        assert torch.equal(weights.get("conv_in.weight"), random_weights(TINY, 3)["model.diffusion_model.input_blocks.0.0.weight"])


def test_what_is_found_and_what_it_is_made_of(models: Path) -> None:
    assert sorted(path.name for path in find_checkpoints(models)) == sorted(NAMES.values())
    assert [path.parent.name for path in files_of(models / "d")] == ["unet", "vae", "text_encoder"]
    assert len(files_of(models / NAMES["shards"])) == 3
    for name in NAMES.values():
        size = sum(path.stat().st_size for path in files_of(models / name))
        assert stamp(models / name)[1] == size
        assert {place for place, _, _ in state_of(models / name)} >= {str(path) for path in files_of(models / name)}


@pytest.mark.parametrize("change", [
    lambda folder: (folder / "unet" / "config.json").write_text("{}"),
    lambda folder: (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink(),
    lambda folder: (folder / "scheduler" / "scheduler_config.json").write_text("{}"),
])
def test_a_change_inside_a_folder_is_seen(tmp_path: Path, change: Callable[[Path], object]) -> None:
    folder = LAYOUTS["folder"](tmp_path / "d", TINY)
    before = state_of(folder)
    change(folder)
    assert state_of(folder) != before


def test_pickles_and_shards_run_as_one_safetensors_file_does(models: Path, hashes) -> None:
    catalog, manager, states = Catalog([models], hashes), ModelManager(CPU), []
    for layout in ("file", "pickle", "shards"):
        with manager.lease(ModelChoice(catalog.get(NAMES[layout]))) as components:
            states.append({name: module.state_dict() for name, module in components.modules.items()})
    for other in states[1:]:
        assert states[0].keys() == other.keys()
        for part, state in states[0].items():
            assert all(torch.equal(other[part][name], tensor) for name, tensor in state.items())
