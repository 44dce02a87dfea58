"""Styles put in and taken out again, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from tests.golden.test_infotext import STYLES, ids
from webui.engine.prompt.styles import apply_styles, extract_styles


@pytest.mark.parametrize("case", ids("styles"))
def test_styles(case: dict[str, Any]) -> None:
    chosen = [style for name in case["styles"] for style in STYLES if style.name == name]
    applied = apply_styles(case["prompt"], case["negative_prompt"], chosen)
    assert applied == (case["applied_prompt"], case["applied_negative"])
    names, prompt, negative = extract_styles(*applied, STYLES)
    assert [names, prompt, negative] == case["extracted_again"]
