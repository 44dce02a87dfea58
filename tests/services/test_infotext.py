"""The line A1111 writes."""

from __future__ import annotations

import pytest

from tests.services.conftest import CHECKPOINT, PaintEngine
from webui import __version__
from webui.engine.plan import make_plan
from webui.schema.generation import Txt2Img
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


@pytest.mark.parametrize(
    ("value", "expected"), [("plain", "plain"), ("a, b", '"a, b"'), ("a:b", '"a:b"'), ("a\nb", '"a\\nb"'), ("ü,", '"ü,"'), (7.0, "7.0")]
)
def test_quote(value: object, expected: str) -> None:
    assert quote(value) == expected
