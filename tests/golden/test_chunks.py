"""Chunks of 75 tokens against A1111's, with a tokenizer simple enough to write down."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from webui.engine.prompt.tokens import make_chunks

CASES = json.loads((Path(__file__).parent / "data" / "token_chunks.json").read_text())["cases"]


def _tokens(text: str) -> list[int]:
    """Made-up token numbers: `,` 267, digits 2000 + value, the letter w 1000, anything else a checksum of its characters."""
    numbers = []
    for word in re.findall(r"[a-z]+|[0-9]+|[^\sa-z0-9]", text.lower()):
        if word == ",":
            numbers.append(267)
        elif word.isdigit():
            numbers.append(2000 + int(word))
        elif word == "w":
            numbers.append(1000)
        else:
            numbers.append(3000 + sum(ord(letter) * place for place, letter in enumerate(word, 1)) % 900)
    return numbers


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_chunks(case: dict) -> None:
    result = make_chunks([(_tokens(case["prompt"]), 1.0)], case["comma_padding_backtrack"])
    assert [list(chunk.tokens) for chunk in result.chunks] == case["chunks"]
    assert result.count == case["token_count"]
    assert math.ceil(max(result.count, 1) / 75) * 75 == case["target_count"]
