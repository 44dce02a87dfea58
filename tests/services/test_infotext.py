"""The line A1111 writes."""

from __future__ import annotations

import dataclasses

import pytest

from tests.services.conftest import CHECKPOINT, PaintEngine
from webui import __version__
from webui.engine.plan import make_plan
from webui.schema.generation import Txt2Img
from webui.schema.model import ModelFile
from webui.schema.settings import PictureSettings
from webui.services.infotext.line import quote
from webui.services.infotext.writer import write_infotext


def test_line(engine: PaintEngine) -> None:
    request = Txt2Img(prompt="a house,\nred", negative_prompt="blurry", seed=5, batch_size=2, width=256, height=64, sampler="DPM++ 2M")
    plan = make_plan(request, CHECKPOINT, engine.registries)
    assert write_infotext(plan, 1, "0123456789abcdef") == (
        "a house,\nred\nNegative prompt: blurry\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.0, Seed: 6, Size: 256x64, "
        f"Model hash: 0123456789, Model: some model, Version: Easel-{__version__}"
    )


def test_without_hash_prompt_and_schedule(engine: PaintEngine) -> None:
    plan = make_plan(Txt2Img(seed=1, sampler="Euler"), CHECKPOINT, engine.registries)
    expected = "Steps: 20, Sampler: Euler, CFG scale: 7.0, Seed: 1, Size: 512x512, Model: some model"
    assert write_infotext(plan, 0, None) == f"{expected}, Version: Easel-{__version__}"


class MoreSettings(PictureSettings):
    """Settings of prompts, as they may be or not be there."""

    emphasis: str = "Original"  # pyright: ignore[reportIncompatibleVariableOverride]
    pad_cond_uncond: bool = False
    CLIP_stop_at_last_layers: int = 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "Model: some model, Version: Easel"),
        ({"CLIP_stop_at_last_layers": 2, "emphasis": "No norm", "pad_cond_uncond": True}, "Clip skip: 2, Emphasis: No norm, Pad conds: True, V"),
        ({"add_model_name_to_info": False, "add_version_to_infotext": False}, "Size: 512x512"),
        ({"add_user_name_to_info": True}, "User: ann"),
    ],
)
def test_settings_that_are_recorded(engine: PaintEngine, changes: dict[str, object], expected: str) -> None:
    plan = make_plan(Txt2Img(prompt="x", seed=1, sampler="Euler"), CHECKPOINT, engine.registries)
    line = write_infotext(plan, 0, None, MoreSettings().revise(**changes), "ann")
    assert expected in line and ("User" in line) == ("add_user_name_to_info" in changes)
    assert ("Model" in line) == ("add_model_name_to_info" not in changes)


def test_what_the_plan_adds_stands_in_its_place(engine: PaintEngine) -> None:
    plan = make_plan(Txt2Img(prompt="x", seed=1, sampler="Euler", batch_size=2), CHECKPOINT, engine.registries)
    extras = (("Eta", 0.5), ("RNG", "NV"), ("Variation seed", (7, 8)), ("Variation seed strength", 0.1))
    line = write_infotext(dataclasses.replace(plan, extras=extras), 1, None)
    assert "Model: some model, Variation seed: 8, Variation seed strength: 0.1, RNG: NV, Eta: 0.5, Version" in line


@pytest.mark.parametrize(
    ("value", "expected"), [("plain", "plain"), ("a, b", '"a, b"'), ("a:b", '"a:b"'), ("a\nb", '"a\\nb"'), ("ü,", '"ü,"'), (7.0, "7.0")]
)
def test_quote(value: object, expected: str) -> None:
    assert quote(value) == expected


def test_a_vae_of_its_own_is_named(engine: PaintEngine) -> None:
    vae = ModelFile(kind="vae", name="mse", path="/models/VAE/mse.safetensors", size=1, mtime=1)
    plan = dataclasses.replace(make_plan(Txt2Img(prompt="x", seed=1, sampler="Euler"), CHECKPOINT, engine.registries), vae=vae)
    line = write_infotext(plan, 0, "0" * 64, PictureSettings(fp8_storage="Enable"), vae_hash="ab" * 32)
    assert "Model: some model, FP8 weight: Enable, VAE hash: ababababab, VAE: mse.safetensors, Version" in line
    settings = PictureSettings(add_vae_name_to_info=False, add_vae_hash_to_info=False)
    assert "VAE" not in write_infotext(plan, 0, "0" * 64, settings, vae_hash="ab" * 32)
    assert "VAE" not in write_infotext(dataclasses.replace(plan, vae=None), 0, None, vae_hash="ab" * 32)
