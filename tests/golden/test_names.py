"""File name patterns, case by case."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from PIL import Image

from tests.golden.test_infotext import STYLES, ids
from webui.engine.tables import SAMPLERS
from webui.schema.style import Style
from webui.services.names import NameFacts, apply_pattern, sanitize

IMAGE = Image.frombytes("RGB", (24, 16), bytes(k % 256 for k in range(24 * 16 * 3)))


@pytest.mark.parametrize("case", ids("filename_patterns"))
def test_pattern(case: dict[str, Any]) -> None:
    context = case["context"]
    count = context["bs"] * context["ni"]
    facts = NameFacts(
        prompt=context["prompt"], main_prompt=context["prompt"], negative_prompt=context["negative"], seed=context["seed"],
        seeds=tuple(context["seed"] + number for number in range(count)), steps=case["steps"], cfg_scale=case["cfg_scale"], image=IMAGE,
        styles=tuple(next((style for style in STYLES if style.name == name), Style(name=name)) for name in context["styles"]),
        sampler=context["sampler"], scheduler=context["sched"],
        sampler_schedule=next((spec.scheduler for spec in SAMPLERS if spec.name == context["sampler"]), None),
        model_hash="0badc0ffee", model_name="my model/v1:2", batch_size=context["bs"], batch_count=context["ni"], batch_index=context["bi"],
        batch=context["it"], clip_skip=case["clip_skip"], denoising=context["den"], user=context["user"], basename="grid", zip=case["zip"],
        begun=datetime(2024, 7, 27, 15, 49, 39),
    )
    assert apply_pattern(case["pattern"], facts) == case["expected"]


@pytest.mark.parametrize("case", ids("filename_sanitize"))
def test_sanitize(case: dict[str, Any]) -> None:
    assert sanitize(case["text"], case["replace_spaces"]) == case["expected"]
