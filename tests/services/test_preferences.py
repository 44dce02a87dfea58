"""What is kept for a checkpoint: merged with its own file's word, frozen into jobs, on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from webui.schema.errors import RequestError
from webui.schema.model import Checkpoint, ModelFile, Suggestions
from webui.schema.settings import PictureSettings
from webui.services.preferences import Preferences, form_values, settle_vae

HOUSE = Checkpoint(
    name="sub/house.safetensors", path="/nowhere/sub/house.safetensors", size=1, mtime=1, family="sd1",
    suggests=Suggestions(prompts=("a house",), width=256, cfg_scale=5),
)
FILES = [ModelFile(kind="vae", name=name.split(".")[0], path=f"/nowhere/VAE/{name}", size=1, mtime=1) for name in ("mse.safetensors", "anime.pt")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models.json"


def test_nothing_is_kept_at_first(path: Path) -> None:
    assert Preferences(path).with_kept(HOUSE) is HOUSE
    assert not path.exists()


def test_what_is_kept_counts_before_the_file(path: Path) -> None:
    preferences = Preferences(path)
    preferences.keep(HOUSE.name, Suggestions(width=512, sampler="Euler a", clip_skip=2))
    wanted = Suggestions(prompts=("a house",), width=512, cfg_scale=5, sampler="Euler a", clip_skip=2)
    assert preferences.with_kept(HOUSE).suggests == wanted
    assert Preferences(path).with_kept(HOUSE).suggests == wanted  # another start
    other = HOUSE.revise(name="other.safetensors")
    assert preferences.with_kept(other) is other
    preferences.keep(HOUSE.name, None)
    assert preferences.with_kept(HOUSE) is HOUSE


def test_form_values_are_fields_of_the_form(path: Path) -> None:
    preferences = Preferences(path)
    preferences.keep(HOUSE.name, Suggestions(steps=7, clip_skip=2, vae="mse.safetensors"))
    assert form_values(preferences.with_kept(HOUSE)) == {"prompt": "a house", "width": 256, "cfg_scale": 5, "steps": 7}
    assert form_values(None) == form_values(HOUSE.revise(suggests=None)) == {}


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"a": 3}', b"\xff"])
def test_a_damaged_file_is_set_aside(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    preferences = Preferences(path)
    assert preferences.with_kept(HOUSE) is HOUSE
    assert path.with_suffix(".damaged.json").read_bytes() == content
    preferences.keep(HOUSE.name, Suggestions(steps=5))
    assert form_values(Preferences(path).with_kept(HOUSE))["steps"] == 5


def test_values_that_make_no_sense_are_not_used(path: Path) -> None:
    path.write_text('{"sub/house.safetensors": {"width": 7}, "b": {"steps": 3}}')
    preferences = Preferences(path)
    assert preferences.with_kept(HOUSE) is HOUSE
    preferences.keep("c", Suggestions(steps=4))
    assert "house" in path.read_text()  # nothing is lost


@pytest.mark.parametrize(
    ("chosen", "overrides", "preferred", "settled"),
    [
        ("Automatic", True, "anime.pt", "anime.pt"), ("Automatic", True, None, "Automatic"), ("mse.safetensors", True, "anime.pt", "mse.safetensors"),
        ("None", True, "anime.pt", "None"), ("mse.safetensors", False, "anime.pt", "anime.pt"), ("None", False, "anime.pt", "anime.pt"),
        ("mse.safetensors", False, None, "mse.safetensors"), ("Automatic", True, "None", "None"),
    ],
)
def test_which_vae_counts(chosen: str, overrides: bool, preferred: str | None, settled: str) -> None:
    settings = PictureSettings(sd_vae=chosen, sd_vae_overrides_per_model_preferences=overrides)
    checkpoint = HOUSE.revise(suggests=Suggestions(vae=preferred))
    assert settle_vae(settings, checkpoint, FILES).sd_vae == settled


def test_a_vae_that_is_gone_is_named() -> None:
    with pytest.raises(RequestError, match=r"no VAE “gone.pt”") as caught:
        settle_vae(PictureSettings(), HOUSE.revise(suggests=Suggestions(vae="gone.pt")), FILES)
    assert caught.value.field == "settings.sd_vae"
