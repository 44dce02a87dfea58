"""The prompt language against A1111's own functions, case by case."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from tests.golden.vectors import arrays, cases
from webui.engine.emphasis import MODES, apply_emphasis
from webui.engine.prompt.attention import parse_attention
from webui.engine.prompt.chunks import Embedding, chunk_prompt
from webui.engine.prompt.compose import split_parts
from webui.engine.prompt.networks import take_tags
from webui.engine.prompt.schedule import Timing, entry_at, parse_schedule
from webui.schema.errors import PromptError


def _each(name: str) -> Any:
    return pytest.mark.parametrize("case", cases(name), ids=lambda case: case["id"])


def _tokens(text: str) -> list[int]:
    """Made-up token numbers: `,` 267, digits 2000 + value, the letter w 1000, anything else a checksum of its characters."""
    numbers = []
    for word in re.findall(r"[a-z]+|[0-9]+|[^\sa-z0-9]", text.lower()):
        if word == ",":
            numbers.append(267)
        elif re.fullmatch("[0-9]+", word):
            numbers.append(2000 + int(word))
        elif word == "w":
            numbers.append(1000)
        else:
            numbers.append(3000 + sum(ord(letter) * place for place, letter in enumerate(word, 1)) % 900)
    return numbers


@_each("prompt_attention")
def test_attention(case: dict) -> None:
    if case["error"]:
        with pytest.raises(PromptError) as caught:
            parse_attention(case["text"], "negative_prompt")
        assert caught.value.field == "negative_prompt"
        assert 0 < caught.value.position < len(case["text"])
        return
    pieces = parse_attention(case["text"])
    assert [text for text, _ in pieces] == [text for text, _ in case["expected"]]
    assert [weight for _, weight in pieces] == pytest.approx([weight for _, weight in case["expected"]], rel=0, abs=1e-12)


@_each("prompt_schedules")
def test_schedule(case: dict) -> None:
    timing = Timing(case["base_steps"], case["hires_steps"], case["use_old_scheduling"])
    if case["error"]:
        with pytest.raises(PromptError):
            parse_schedule(case["prompt"], timing)
        return
    assert [[entry.end, entry.text] for entry in parse_schedule(case["prompt"], timing)] == case["expected"]


@_each("schedule_lookup")
def test_lookup(case: dict) -> None:
    assert entry_at(case["ends"], case["current_step"]) == case["expected_index"]


@_each("multicond")
def test_and(case: dict) -> None:
    flat: list[str] = []
    indexes = []
    for prompt in case["prompts"]:
        parts = split_parts(prompt)
        flat += [text for text in dict.fromkeys(part.text for part in parts) if text not in flat]
        indexes.append([[flat.index(part.text), part.weight] for part in parts])
    assert flat == case["flat_prompts"]
    assert indexes == case["indexes"]


@_each("token_chunks")
def test_chunks(case: dict) -> None:
    embeddings = [Embedding(item["name"], tuple(item["token_ids"]), item["vectors"]) for item in case["embeddings"]]
    result = chunk_prompt(
        case["prompt"], case["comma_padding_backtrack"], literal=case["emphasis"] == "None", embeddings=embeddings, tokenize=_tokens,
    )
    assert [list(chunk.tokens) for chunk in result.chunks] == [chunk["tokens"] for chunk in case["chunks"]]
    for chunk, expected in zip(result.chunks, case["chunks"], strict=True):
        assert chunk.weights == pytest.approx(expected["multipliers"], rel=0, abs=1e-12)
        assert [[fix.offset, fix.name] for fix in chunk.fixes] == expected["fixes"]
    assert (result.count, result.limit) == (case["token_count"], case["target_count"])


@_each("extra_network_tags")
def test_network_tags(case: dict) -> None:
    cleaned, tags = take_tags(case["prompt"])
    found: dict[str, list[dict]] = {}
    for tag in tags:
        found.setdefault(tag.kind, []).append({"items": list(tag.items), "positional": list(tag.positional), "named": tag.named})
    assert (cleaned, found) == (case["cleaned"], case["networks"])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", sorted({key.split("/")[0] for key in arrays("emphasis").files}))
def test_emphasis(name: str, mode: str) -> None:
    z, weights = (torch.from_numpy(arrays("emphasis")[f"{name}/{key}"]) for key in ("z", "multipliers"))
    expected = arrays("emphasis")[f"{name}/{mode}"]
    np.testing.assert_allclose(apply_emphasis(z, weights, mode).numpy(), expected, rtol=0, atol=1e-5)
