"""The shipped model draws what is asked: the ground that every later test of meaning stands on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.demo_model.evaluate import Studio
from tools.demo_model.judge import Verdict, judge
from tools.demo_model.judge_style import judge_style

MODELS = Path(__file__).parents[2] / "models" / "Stable-diffusion"
MODEL = MODELS / "easel-demo.safetensors"
PICTURES = 6


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio(MODEL)


def look(pictures: Sequence[Image.Image]) -> list[Verdict]:
    return [judge(picture) for picture in pictures]


def test_a_red_house_at_night_is_red_a_house_and_at_night(studio: Studio):
    seen = look(studio.draw(["a red house at night"] * PICTURES))
    assert sum((verdict.colour, verdict.thing, verdict.background.kind) == ("red", "house", "night") for verdict in seen) >= PICTURES - 1, seen


def test_every_word_counts(studio: Studio):
    prompts = ["a red house at night", "a yellow house at night", "a red star at night", "a red house in the snow"]
    seen = look(studio.draw(prompts, seed=20))
    assert [verdict.colour for verdict in seen] == ["red", "yellow", "red", "red"]
    assert [verdict.thing for verdict in seen] == ["house", "house", "star", "house"]
    assert [verdict.background.kind for verdict in seen] == ["night", "night", "night", "snow"]


def test_the_negative_prompt_removes(studio: Studio):
    """Asked for a house without a colour, it chooses; what the negative prompt names it chooses no more."""
    prompts = ["a house by day"] * 2 * PICTURES
    freely = [verdict.colour for verdict in look(studio.draw(prompts, seed=40))]
    commonest = max(set(freely), key=freely.count)
    without = [verdict.colour for verdict in look(studio.draw(prompts, seed=40, negative=f"a {commonest} house by day"))]
    assert without.count(commonest) < freely.count(commonest)


def test_guidance_follows_the_text(studio: Studio):
    """CFG 1 wanders, CFG 7 obeys."""
    wanted = ("blue", "fish", "orange")
    prompts = ["a blue fish on an orange background"] * 2 * PICTURES

    def right(cfg: float) -> int:
        seen = [(verdict.colour, verdict.thing, verdict.background.colour) for verdict in look(studio.with_cfg(cfg).draw(prompts, seed=60))]
        return sum(part == want for parts in seen for part, want in zip(parts, wanted, strict=True))

    assert right(7) > right(1)


def test_the_variant_paints_what_the_model_draws_flat(studio: Studio):
    """A UNet alone, in 8 bits, with the other parts of the model that it names."""
    prompts = ["a red heart by day", "a green tree in the snow", "a yellow star by day"]
    painted, flat = Studio(MODELS / "easel-watercolour.safetensors").draw(prompts, seed=3), studio.draw(prompts, seed=3)
    assert [judge_style(picture) for picture in painted] == ["watercolour"] * 3
    assert [judge_style(picture) for picture in flat] == ["flat"] * 3
    assert [verdict.thing for verdict in look(painted)] == ["heart", "tree", "star"]


def test_seeds_vary(studio: Studio):
    first, second, again = (np.asarray(studio.draw(["a red house at night"], seed)[0], dtype=float) for seed in (1, 2, 1))
    assert np.abs(first - second).mean() > 2
    assert np.array_equal(first, again)
