"""Files of upscalers: read safely, whatever wraps their weights, and let go of afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.backend.image_networks import esrgan_weights, save_esrgan
from webui.backend.device import Device
from webui.backend.image_models import ImageModels
from webui.schema.errors import ModelError

CPU = Device(torch.device("cpu"), torch.float32, torch.float32, "sdpa")


@pytest.fixture
def models() -> ImageModels:
    return ImageModels(CPU)


def test_an_esrgan_file_becomes_a_network(models: ImageModels, tmp_path: Path) -> None:
    model = models.get(save_esrgan(tmp_path / "a.safetensors"))
    assert (model.scale, model.input_channels, str(model.architecture.id)) == (4, 3, "ESRGAN")
    assert models.get(tmp_path / "a.safetensors") is model
    assert models.held > 0


@pytest.mark.parametrize("wrapper", ["params", "params_ema", "state_dict", "model"])
def test_wrapped_pickles(models: ImageModels, tmp_path: Path, wrapper: str) -> None:
    weights = esrgan_weights()
    torch.save({wrapper: weights}, tmp_path / "a.pth")
    model = models.get(tmp_path / "a.pth")
    assert torch.equal(model.model.state_dict()["model.0.weight"], weights["model.0.weight"])


def test_averaged_weights_win(models: ImageModels, tmp_path: Path) -> None:
    torch.save({"params": esrgan_weights(1), "params_ema": esrgan_weights(2)}, tmp_path / "a.pth")
    assert torch.equal(models.get(tmp_path / "a.pth").model.state_dict()["model.0.weight"], esrgan_weights(2)["model.0.weight"])


def test_what_is_no_upscaler_is_refused_in_words(models: ImageModels, tmp_path: Path) -> None:
    save_file({"something": torch.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="kind that Easel does not know"):
        models.get(tmp_path / "a.safetensors")
    broken = esrgan_weights()
    broken["model.1.sub.0.RDB1.conv1.0.weight"] = torch.zeros(1, 1, 3, 3)
    save_file(broken, tmp_path / "b.safetensors")
    with pytest.raises(ModelError, match="do not fit together"):
        models.get(tmp_path / "b.safetensors")
    with pytest.raises(ModelError, match="not there any more"):
        models.get(tmp_path / "c.safetensors")


class Evil:
    """A pickle that would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


def test_a_pickle_runs_no_code(models: ImageModels, tmp_path: Path) -> None:
    torch.save({"params": esrgan_weights(), "evil": Evil(tmp_path / "ran")}, tmp_path / "a.pth")
    with pytest.raises(ModelError):
        models.get(tmp_path / "a.pth")
    assert not (tmp_path / "ran").exists()


def test_trim_lets_go_of_the_oldest(models: ImageModels, tmp_path: Path) -> None:
    first = models.get(save_esrgan(tmp_path / "a.safetensors"))
    size = models.held
    models.get(save_esrgan(tmp_path / "b.safetensors", seed=1))
    models.trim(size)
    assert models.held == size
    assert models.get(tmp_path / "a.safetensors") is not first
    models.trim(0)
    assert models.held == 0
