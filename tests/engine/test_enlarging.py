"""Image upscalers: tiles against one piece, A1111's rounds, what the registry lists, and hires fix with a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.backend.conftest import Hashes
from tests.backend.image_networks import save_esrgan
from webui.backend.device import Device
from webui.backend.image_models import ImageModels
from webui.backend.network_files import NetworkFiles
from webui.engine.cancel import CancelToken
from webui.engine.enlarging import Enlarger, grow_fully, run_model, tiling_of
from webui.engine.runtime import Runtime
from webui.engine.tables import file_upscalers, register_tables
from webui.engine.tiles import Tiling, run_tiled
from webui.engine.tools import Picture, RunTools, Step
from webui.plugins.registry import Registries
from webui.schema.errors import Cancelled, RequestError
from webui.schema.sampling import UpscalerSpec
from webui.schema.settings import PictureSettings

CPU = Device(torch.device("cpu"), torch.float32, torch.float32, "sdpa")


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture of soft noise."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def test_tiles_cover_every_pixel_once() -> None:
    calls = []

    def repeat(tile: np.ndarray) -> np.ndarray:
        calls.append(tile.shape)
        return tile.repeat(2, 0).repeat(2, 1).astype(np.float32)

    picture = np.asarray(noise(211, 97))
    ticks: list[tuple[int, int]] = []
    made = run_tiled(repeat, picture, 2, Tiling(64, 4), lambda *at: ticks.append(at))
    assert np.array_equal(made, picture.repeat(2, 0).repeat(2, 1))
    assert set(calls) == {(64, 64, 3)}
    assert ticks[0] == (0, len(calls)) and ticks[-1] == (len(calls), len(calls))


@pytest.mark.parametrize("tiling", [Tiling(0, 8), Tiling(512, 8), Tiling(64, 0)])
def test_odd_tilings_change_nothing(tiling: Tiling) -> None:
    picture = np.asarray(noise(130, 70))
    assert np.array_equal(run_tiled(lambda tile: tile.astype(np.float32), picture, 1, tiling, lambda *at: None), picture)


def test_seams_of_a_network_are_below_one_level(tmp_path: Path) -> None:
    model = ImageModels(CPU).get(save_esrgan(tmp_path / "a.safetensors", filters=16, blocks=2))
    picture = noise(150, 120)
    whole = np.asarray(run_model(model, picture, Tiling(0, 0))).astype(int)
    tiled = np.asarray(run_model(model, picture, Tiling(96, 8))).astype(int)
    assert whole.shape == (480, 600, 3) and whole.std() > 3
    assert np.abs(whole - tiled).max() <= 1


def test_tile_settings_follow_the_kind_of_network(tmp_path: Path) -> None:
    model = ImageModels(CPU).get(save_esrgan(tmp_path / "a.safetensors"))
    assert tiling_of(model, PictureSettings(ESRGAN_tile=128, ESRGAN_tile_overlap=6)) == Tiling(128, 6)


def test_rounds_as_in_a1111() -> None:
    seen = []

    def double(spec: UpscalerSpec, image: Image.Image, scale: float) -> Image.Image:
        seen.append(image.size)
        return image.resize((image.width * 2, image.height * 2))

    spec = UpscalerSpec(name="x2", file="x2.pth")
    assert grow_fully(spec, noise(50, 30), 3, double).size == (144, 88)
    assert seen == [(50, 30), (100, 60)]
    seen.clear()
    assert grow_fully(spec, noise(64, 64), 1, double).size == (64, 64)
    assert seen == [(64, 64)]  # a scale of 1 runs it once, then takes the size back
    assert grow_fully(UpscalerSpec(name="None"), noise(50, 30), 2, double).size == (96, 56)
    assert len(seen) == 1


def files_in(folder: Path) -> NetworkFiles:
    return NetworkFiles({"upscaler": (folder / "ESRGAN", folder / "DAT")}, Hashes(), Hashes())


def test_files_are_in_the_list_of_upscalers_as_they_come_and_go(tmp_path: Path) -> None:
    registries, files = Registries(), files_in(tmp_path)
    register_tables(registries)
    registries.upscalers.follow(lambda: file_upscalers(files))
    before = list(registries.upscalers)
    path = save_esrgan(tmp_path / "DAT" / "my net.safetensors")
    assert list(registries.upscalers) == [*before, "my net"]
    assert registries.upscalers.get("my net").file == str(path)
    path.unlink()
    assert list(registries.upscalers) == before
    with pytest.raises(RequestError, match="no upscaler"):
        registries.upscalers.get("my net", field="hr_upscaler")


def test_a_file_called_like_a_built_in_does_not_hide_it(tmp_path: Path) -> None:
    registries, files = Registries(), files_in(tmp_path)
    register_tables(registries)
    registries.upscalers.follow(lambda: file_upscalers(files))
    save_esrgan(tmp_path / "ESRGAN" / "Lanczos.safetensors")
    assert registries.upscalers.get("Lanczos").file is None


@pytest.fixture
def with_network(runtime: Runtime, tmp_path: Path) -> Callable[..., list[Picture]]:
    """Hires fix with a file of models/ESRGAN, on the runtime of the session."""
    files = files_in(tmp_path)
    save_esrgan(tmp_path / "ESRGAN" / "net.safetensors")
    registries = runtime._registries
    registries.upscalers.follow(lambda: file_upscalers(files))
    return lambda generate, **more: generate(enable_hr=True, hr_upscaler="net", hr_scale=2, steps=2, **more)


def test_hires_fix_with_a_network(with_network: Callable[..., list[Picture]], generate: Callable[..., list[Picture]], runtime: Runtime) -> None:
    (picture,) = with_network(generate)
    assert picture.image.size == (128, 128)
    (other,) = generate(enable_hr=True, hr_upscaler="Lanczos", hr_scale=2, steps=2)
    assert np.asarray(picture.image).tolist() != np.asarray(other.image).tolist()


def test_an_interrupt_between_two_tiles_keeps_the_first_pass(
    with_network: Callable[..., list[Picture]], generate: Callable[..., list[Picture]],
) -> None:
    token = CancelToken()

    def report(step: Step) -> None:
        if step.phase == "upscaling":
            token.interrupt()

    (picture,) = with_network(generate, tools=RunTools(cancel=token, report=report))
    assert picture.partial and picture.image.size == (64, 64)


def test_enlarger_stops_when_told(tmp_path: Path) -> None:
    enlarger, token = Enlarger(ImageModels(CPU)), CancelToken()
    spec = UpscalerSpec(name="net", file=str(save_esrgan(tmp_path / "net.safetensors")))

    def tick(done: int, count: int) -> None:
        if done == 1:
            token.interrupt()
        token.raise_if_interrupted()

    with pytest.raises(Cancelled):
        enlarger.grow(spec, noise(200, 64), 4, PictureSettings(ESRGAN_tile=64), tick)
