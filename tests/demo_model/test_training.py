"""The recipe in a toy size: it runs, learns, resumes exactly, and its file is read like any checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tools.demo_model.captions import STYLE_WORDS
from tools.demo_model.evaluate import Studio
from tools.demo_model.export import export
from tools.demo_model.latents import LatentCache, load_vae, to_tensor
from tools.demo_model.loop import Limits, train_loop
from tools.demo_model.pyramid import InnerUNet, reduce
from tools.demo_model.scene import make_scene
from tools.demo_model.sizes import DEMO, SMOKE
from tools.demo_model.thumbnail import start_as_thumbnail
from tools.demo_model.train import Recipe, UNetTraining, smoke, weigh
from tools.demo_model.train_decoder import DecoderTraining
from tools.demo_model.train_text import TextTraining, tokenize
from tools.demo_model.train_vae import VaeTraining
from webui.backend.families.sd_modules import build_unet, build_vae
from webui.backend.identify import identify

SHORT = Limits(steps=4, log_every=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every part trained for four steps in the toy size."""
    path = tmp_path_factory.mktemp("demo")
    VaeTraining(path, SMOKE.vae, pictures=4, batch=2).run(SHORT)
    TextTraining(path, SMOKE.text_encoder, batch=8).run(SHORT)
    LatentCache(path / "latents.f16", load_vae(path, SMOKE), 64).grow(16)
    UNetTraining(path, SMOKE, Recipe("inner", batch=4), 64).run(SHORT)
    UNetTraining(path, SMOKE, Recipe("whole", batch=4), 64).run(Limits(6, log_every=2))
    return path


def test_the_file_is_a_checkpoint_that_draws(folder, tmp_path):
    file = export(folder, tmp_path / "demo.safetensors", SMOKE)
    assert identify(file).family == "sd1"
    pictures = Studio(file, steps=2).draw(["a red house", "a blue fish"])
    assert [picture.size for picture in pictures] == [(256, 256)] * 2
    assert pictures[0].tobytes() != pictures[1].tobytes()


def test_a_variant_is_the_unet_alone_and_draws_with_its_base(folder, tmp_path):
    base = export(folder, tmp_path / "demo.safetensors", SMOKE)
    file = export(folder, tmp_path / "variant.safetensors", SMOKE, base="demo")
    assert file.stat().st_size < base.stat().st_size
    assert identify(file).parts == ("unet",)
    prompts = ["a red house", "a blue fish"]
    own, whole = (Studio(path, steps=2).draw(prompts) for path in (file, base))
    error = np.mean([np.abs(np.asarray(one, float) - np.asarray(other, float)).mean() for one, other in zip(own, whole, strict=True)])
    assert 0 < error < 3  # the same weights in 8 bits


def test_a_half_trained_model_is_not_exported(tmp_path, folder):
    with pytest.raises(FileNotFoundError):
        export(tmp_path, tmp_path / "demo.safetensors", SMOKE)
    state = torch.load(folder / "unet.pt", weights_only=True)
    torch.save({**state, "stage": "inner"}, tmp_path / "unet.pt")
    with pytest.raises(ValueError, match="inner stage"):
        export(tmp_path, tmp_path / "demo.safetensors", SMOKE)


def test_the_decoder_learns_further_and_the_encoder_stays(folder, tmp_path):
    for name in ("vae.pt", "latents.f16"):
        shutil.copy(folder / name, tmp_path / name)
    before = load_vae(tmp_path, SMOKE)
    assert DecoderTraining(tmp_path, SMOKE, batch=4, size=64).run(Limits(20, log_every=20)) == 20
    after = load_vae(tmp_path, SMOKE)
    pictures = to_tensor([make_scene(number) for number in range(4)], 64)
    with torch.inference_mode():
        latents = [vae.encode(pictures).latent_dist.mode() for vae in (before, after)]  # pyright: ignore[reportAttributeAccessIssue]
        errors = [(vae.decode(latents[0]).sample - pictures).abs().mean().item() for vae in (before, after)]
    assert torch.equal(*latents)
    assert errors[1] < errors[0]


def test_the_decoder_resumes_exactly(folder, tmp_path):
    def train(path: Path, stop: int | None = None) -> dict[str, dict[str, torch.Tensor]]:
        path.mkdir()
        for name in ("vae.pt", "latents.f16"):
            (path / name).symlink_to(folder / name)
        if stop is not None:
            training = DecoderTraining(path, SMOKE, batch=4, size=64)
            training._crops = _ended_at(stop, training._crops)
            assert training.run(Limits(4, log_every=2)) == stop
        DecoderTraining(path, SMOKE, batch=4, size=64).run(Limits(4, log_every=2))
        return torch.load(path / "decoder.pt", weights_only=True)

    whole, parts = train(tmp_path / "whole"), train(tmp_path / "parts", stop=2)
    for kind in ("weights", "average"):
        for key, value in whole[kind].items():
            torch.testing.assert_close(parts[kind][key], value, atol=1e-6, rtol=1e-5)


def _ended_at(stop: int, crops: Callable[..., object]) -> Callable[..., Any]:
    """SIGTERM comes while the last step before `stop` runs."""
    def ending(step: int, *rest: object) -> object:
        if step == stop - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return crops(step, *rest)

    return ending


def test_styles_have_their_share_of_a_batch(folder):
    training = UNetTraining(folder, SMOKE, Recipe("whole", batch=12, easy=0.25, styled=0.5), 64)
    numbers, _ = training._choose(3, torch.Generator().manual_seed(0))
    styles = [training.scenes[number].style for number in numbers.tolist()]
    assert styles[:3] == ["flat"] * 3
    present = {scene.style for scene in training.scenes} - {"flat"}
    assert set(styles[3:9]) == present


def test_a_variant_sees_one_style_and_is_told_of_none(folder):
    training = UNetTraining(folder, SMOKE, Recipe("whole", batch=12, style="watercolour"), 64)
    numbers, captions = training._choose(3, torch.Generator().manual_seed(0))
    assert {training.scenes[number].style for number in numbers.tolist()} == {"watercolour"}
    assert any(captions) and not any(word in caption for caption in captions for word in STYLE_WORDS["watercolour"])


def test_log_has_one_line_every_so_often(folder):
    lines = [json.loads(line) for line in (folder / "unet.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all(line["loss"] > 0 for line in lines)


def test_resuming_changes_nothing(tmp_path, folder):
    def train(path: Path, stops: tuple[int, ...]) -> dict[str, torch.Tensor]:
        path.mkdir()
        for name in ("vae.pt", "text.pt", "latents.f16"):
            (path / name).symlink_to(folder / name)
        for stop in stops:
            training = UNetTraining(path, SMOKE, Recipe("inner", batch=4, final_share=0), 64)
            training.run(Limits(stop, log_every=1))
        return torch.load(path / "unet.pt", weights_only=True)["average"]

    torch.use_deterministic_algorithms(True)
    try:
        whole, parts = train(tmp_path / "whole", (4,)), train(tmp_path / "parts", (2, 4))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_sigterm_ends_after_the_step_and_saves(tmp_path):
    saved = []

    def step(number: int) -> dict[str, float]:
        if number == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"loss": 1.0}

    before = signal.getsignal(signal.SIGTERM)
    assert train_loop(0, Limits(steps=10), step, saved.append, tmp_path / "log.jsonl") == 3
    assert saved == [3]
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_autoencoder_starts_as_a_thumbnail():
    torch.manual_seed(0)
    vae = build_vae(DEMO.vae)
    start_as_thumbnail(vae)
    picture = to_tensor([make_scene(4)])
    with torch.no_grad():
        latents = vae.encode(picture).latent_dist.mode()
    small = torch.nn.functional.avg_pool2d(picture, 8)
    for channel in range(3):
        together = torch.corrcoef(torch.stack([latents[0, channel].flatten(), small[0, channel].flatten()]))[0, 1]
        assert together > 0.97


def test_the_inner_unet_hands_over_without_a_jump():
    torch.manual_seed(0)
    unet = build_unet(DEMO.unet)
    inner = InnerUNet(unet)
    inner.expand()
    noisy = torch.randn(2, 4, 32, 32)
    with torch.no_grad():
        time = unet.time_embedding(unet.time_proj(torch.tensor([3, 700])))
        hidden, _ = unet.down_blocks[0](unet.conv_in(noisy), time)
        assert torch.allclose(hidden, inner.stem(reduce(noisy)), atol=1e-5)
        guess = unet(noisy, torch.tensor([3, 700]), torch.randn(2, 77, 128)).sample
    assert (guess - noisy).square().mean() < 0.02


def test_weights_fall_with_the_signal():
    ratios = torch.tensor([0.01, 1.0, 5.0, 100.0])
    assert torch.allclose(weigh(ratios), torch.tensor([10.0, 1.0, 5**-0.5, 5**0.5 / 100]), rtol=1e-4)


def test_captions_must_fit():
    assert tokenize(["a house"]).shape == (1, 77)
    with pytest.raises(ValueError, match="longer"):
        tokenize(["house " * 80])


@pytest.mark.slow
def test_smoke_mode_learns(tmp_path):
    done = smoke(tmp_path, minutes=1.8)
    assert min(done.values()) > 10
    logs = {name: [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()] for name in ("vae", "text", "unet")}
    assert logs["vae"][-1]["mse"] < 0.5 * logs["vae"][0]["mse"]
    assert logs["text"][-1]["loss"] < 0.8 * logs["text"][0]["loss"]
    assert logs["unet"][done["inner"] // 10 - 1]["error"] < 0.8 * logs["unet"][0]["error"]
