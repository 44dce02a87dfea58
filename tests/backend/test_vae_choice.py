"""Which VAE goes with a checkpoint, and VAE files in the layouts they come in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.backend.test_sd import Given
from tools.random_checkpoint import TINY, write_checkpoint
from webui.backend.device import Device
from webui.backend.families.ldm import read_part
from webui.backend.families.ldm_keys import VAE_PREFIX
from webui.backend.families.places import Place
from webui.backend.families.sd_modules import builders
from webui.backend.manager import ModelManager
from webui.backend.parts import ModelChoice
from webui.backend.vae_choice import choose_vae, vae_names
from webui.schema.errors import ModelError, RequestError
from webui.schema.model import Checkpoint, ModelFile

CPU = Device(torch.device("cpu"), torch.float32, torch.float32, "sdpa")


def vae_at(path: Path) -> ModelFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch()
    return ModelFile(kind="vae", name=path.stem, path=str(path), size=path.stat().st_size, mtime=path.stat().st_mtime)


def checkpoint_at(path: Path) -> Checkpoint:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch()
    return Checkpoint(name=path.name, path=str(path), size=path.stat().st_size, mtime=path.stat().st_mtime, family="sd1")


@pytest.fixture
def house(tmp_path: Path) -> Checkpoint:
    return checkpoint_at(tmp_path / "Stable-diffusion" / "house.v2.safetensors")


@pytest.fixture
def files(tmp_path: Path) -> list[ModelFile]:
    return [vae_at(tmp_path / "VAE" / name) for name in ("anime.pt", "house.safetensors", "mse-840000.safetensors")]


def test_choices(files: list[ModelFile]) -> None:
    assert vae_names(files) == ["Automatic", "None", "anime.pt", "house.safetensors", "mse-840000.safetensors"]


@pytest.mark.parametrize("name", ["mse-840000.safetensors", "mse-840000", "MSE-840000.safetensors"])
def test_by_name(house: Checkpoint, files: list[ModelFile], name: str) -> None:
    assert choose_vae(name, house, files) == files[2]


def test_none_is_the_checkpoints_own(house: Checkpoint, files: list[ModelFile]) -> None:
    assert choose_vae("None", house, files) is None


def test_automatic_takes_what_is_named_like_the_checkpoint(house: Checkpoint, files: list[ModelFile], tmp_path: Path) -> None:
    assert choose_vae("Automatic", house, files) is None  # “house” is not “house.v2”
    own = vae_at(tmp_path / "VAE" / "house.v2.safetensors")
    assert choose_vae("Automatic", house, [*files, own]) == own
    beside = vae_at(tmp_path / "Stable-diffusion" / "house.v2.vae.safetensors")
    chosen = choose_vae("Automatic", house, [*files, own])
    assert chosen == beside
    assert choose_vae("house.v2.vae.safetensors", house, files) == beside
    assert choose_vae("None", house, [*files, own]) is None


def test_one_that_is_not_there(house: Checkpoint, files: list[ModelFile]) -> None:
    with pytest.raises(RequestError, match=r"no VAE “mse-84000.safetensors”") as caught:
        choose_vae("mse-84000.safetensors", house, files)
    assert caught.value.field == "settings.sd_vae"
    assert "“mse-840000.safetensors”" in (caught.value.hint or "")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """The VAE of another checkpoint: CompVis' names with prefix."""
    path = write_checkpoint(tmp_path_factory.mktemp("other") / "other.safetensors", TINY, seed=5)
    return path, {key: value for key, value in load_file(path).items() if key.startswith(VAE_PREFIX)}


@pytest.mark.parametrize("layout", ["with prefix", "without prefix", "diffusers", "old diffusers"])
def test_layouts(tiny_checkpoint: Path, other, tmp_path: Path, layout: str) -> None:
    weights: dict[str, torch.Tensor] = other[1]
    if layout == "without prefix":
        weights = {key.removeprefix(VAE_PREFIX): value for key, value in weights.items()}
    elif layout != "with prefix":
        weights = read_part(Given(weights), Place(VAE_PREFIX, "ldm"), TINY, "vae", builders(TINY)["vae"]().state_dict())
    if layout == "old diffusers":
        names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
        for new, old in names.items():
            weights = {key.replace(new, old) if "mid_block.attentions" in key else key: value for key, value in weights.items()}
        assert any(".proj_attn." in key for key in weights)
    save_file({key: value.contiguous() for key, value in weights.items()}, tmp_path / "vae.safetensors")
    manager = ModelManager(CPU)
    plain, file = checkpoint_at(tiny_checkpoint), vae_at(tmp_path / "vae.safetensors")
    with manager.lease(ModelChoice(plain, file)) as mixed, manager.lease(ModelChoice(checkpoint_at(other[0])), keep=2) as whole:
        wanted, found = whole.modules["vae"].state_dict(), mixed.modules["vae"].state_dict()
        assert all(torch.equal(found[key], value) for key, value in wanted.items())
        assert mixed.modules["unet"] is not whole.modules["unet"]
    with manager.lease(ModelChoice(plain), keep=3) as own:
        assert own.modules["vae"] is not mixed.modules["vae"]
        assert own.modules["unet"] is mixed.modules["unet"]


def test_a_file_that_is_no_vae(tiny_checkpoint: Path, tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "lora.safetensors")
    with (
        pytest.raises(ModelError, match=r"lora.safetensors is not a VAE") as caught,
        ModelManager(CPU).lease(ModelChoice(checkpoint_at(tiny_checkpoint), vae_at(tmp_path / "lora.safetensors"))),
    ):
        pass
    assert caught.value.field == "settings.sd_vae"
