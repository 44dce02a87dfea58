"""Live previews: the fitted map, the picture, and that the sampling loop never waits for them."""

from __future__ import annotations

import io
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from webui.engine.preview import SIDE, Previewer, fit_map, preview_image
from webui.engine.tools import RunTools
from webui.schema.settings import MachineSettings

FAST = MachineSettings(live_preview_refresh_period=50)


class _LinearVae:
    """Latents are a known linear mix of the pooled colours, so the map can be found exactly."""

    mix = np.array([[1.0, 0.2, -0.3], [0.1, -1.0, 0.4], [0.3, 0.5, 0.9], [-0.2, 0.7, 0.1]], np.float32)

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        pooled = torch.nn.functional.avg_pool2d(pictures, 8)
        return torch.einsum("kc,bchw->bkhw", torch.from_numpy(self.mix), pooled) + 0.25


class _Components:
    """As much of a loaded model as a preview needs."""

    def __init__(self) -> None:
        self.autoencoder = _LinearVae()
        self.device = type("Device", (), {"device": torch.device("cpu")})()
        self.modules = {"vae": torch.nn.Identity()}


def test_map_is_found_for_a_linear_vae() -> None:
    components = _Components()
    colours = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    latents = components.autoencoder.encode(torch.nn.functional.interpolate(colours, scale_factor=8) * 2 - 1)
    image = preview_image(latents.numpy(), fit_map(components))
    shown = np.asarray(image.resize((48, 32), Image.Resampling.BOX)).astype(np.float32) / 255
    wanted = colours[0].permute(1, 2, 0).numpy()
    assert np.corrcoef(shown.reshape(-1), wanted.reshape(-1))[0, 1] > 0.9  # the preview is smoothed, so not the same to the last pixel


def test_flat_colours_come_back() -> None:
    components = _Components()
    colour_map = fit_map(components)
    for colour in ((1.0, 0.0, 0.0), (0.0, 0.5, 1.0), (0.5, 0.5, 0.5)):
        picture = torch.tensor(colour).reshape(1, 3, 1, 1).expand(1, 3, SIDE, SIDE) * 2 - 1
        pixel = np.asarray(preview_image(components.autoencoder.encode(picture).numpy(), colour_map))[10, 10] / 255
        np.testing.assert_allclose(pixel, colour, atol=0.02)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1, 4, 8, 8), (256, 256)), ((1, 4, 64, 64), (512, 512)), ((1, 4, 128, 64), (256, 512)), ((3, 4, 32, 32), (512, 512)),
        ((2, 4, 8, 8), (256, 128)),
    ],
    ids=str,
)
def test_size_and_grid(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    assert preview_image(np.zeros(shape, np.float32), np.zeros((5, 3), np.float32)).size == size


def test_nan_is_drawn_not_raised() -> None:
    latents = np.full((1, 4, 8, 8), np.nan, np.float32)
    assert preview_image(latents, np.ones((5, 3), np.float32)).getpixel((5, 5)) == (0, 0, 0)


def test_previews_of_a_run(generate) -> None:
    previews: list[tuple[int, int, bytes]] = []
    names: set[str] = set()

    def emit(width: int, height: int, jpeg: bytes) -> None:
        previews.append((width, height, jpeg))
        names.add(threading.current_thread().name)

    generate(RunTools(preview=emit, machine=FAST), steps=60, batch_size=2)
    assert previews
    width, height, jpeg = previews[-1]
    image = Image.open(io.BytesIO(jpeg))
    assert (image.format, image.size) == ("JPEG", (width, height)) == ("JPEG", (256, 128))
    assert threading.current_thread().name not in names


@pytest.mark.parametrize("machine", [MachineSettings(live_previews_enable=False), MachineSettings(show_progress_every_n_steps=-1)], ids=["off", "-1"])
def test_no_previews_when_switched_off(generate, machine: MachineSettings) -> None:
    previews: list[object] = []
    generate(RunTools(preview=lambda *preview: previews.append(preview), machine=machine), steps=6)
    assert previews == []


def test_the_loop_never_waits_and_nothing_comes_after_the_end() -> None:
    previewer, release, emitted = Previewer(), threading.Event(), []
    components = _Components()
    previewer._maps[components] = np.zeros((5, 3), np.float32)
    run = previewer.begin(components, FAST, lambda *preview: emitted.append(preview))
    previewer.submit(lambda: release.wait(5) and None)  # the thread is busy with something slow
    started = time.perf_counter()
    for step in range(1, 1000):
        run.offer(step, torch.zeros(1, 4, 8, 8))
    assert time.perf_counter() - started < 0.5
    run.end()
    release.set()
    previewer.close()
    assert emitted == []


def test_not_more_often_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("webui.engine.preview.time.monotonic", lambda: clock[0])
    previewer, emitted = Previewer(), []
    components = _Components()
    previewer._maps[components] = np.zeros((5, 3), np.float32)
    run = previewer.begin(components, MachineSettings(live_preview_refresh_period=1000, show_progress_every_n_steps=2), lambda *p: emitted.append(p))
    for step in range(1, 41):  # ten steps a second, every second one may show, at most one a second
        clock[0] += 0.1
        run.offer(step, torch.zeros(1, 4, 8, 8))
        previewer.submit(lambda: None).result()  # the preview thread has caught up
    previewer.close()
    assert len(emitted) == 4


def test_a_failing_preview_ends_previews_not_the_run(generate, caplog: pytest.LogCaptureFixture) -> None:
    def emit(width: int, height: int, jpeg: bytes) -> None:
        raise OSError("nobody listens")

    (picture,) = generate(RunTools(preview=emit, machine=FAST), steps=60)
    assert not picture.partial
    assert "no more previews" in caplog.text
