"""CLIP's tokens: a table of known ones, and transformers' tokenizer as the second opinion."""

from __future__ import annotations

import pytest
from transformers import CLIPTokenizer

from webui.engine.prompt import tokens

KNOWN = {
    "": [],
    "a photo of a cat": [320, 1125, 539, 320, 2368],
    "hello world": [3306, 1002],
    "a, b": [320, 267, 321],
    "<|endoftext|>": [49407],
}
"""As published with OpenAI's CLIP."""

TEXTS = [
    "A Photo OF a Cat", "  spaces \t and\nnewlines  ", "masterpiece, best quality, (detailed:1.2), [a|b]", "it's they're I'll don't", "1234 v2.0 4k",
    "émigré naïve cafe\u0301", "猫 と 犬", "кошка на крыше", "🙂🙂 👩‍👩‍👧", "supercalifragilisticexpialidocious",
    "<|startoftext|>x<|endoftext|>", "a_b-c/d\\e",
    "<lora:name:0.8>", "\u00a0nbsp\u3000wide", "&amp; &lt;", "ﬁ ligature Ⅷ ½", "x" * 300,
]


@pytest.fixture(scope="module")
def reference() -> CLIPTokenizer:
    """transformers' tokenizer on the same table."""
    vocabulary, merges = tokens.read_vocabulary(tokens._vocabulary_file())
    return CLIPTokenizer(vocab=vocabulary, merges=merges)


@pytest.mark.parametrize("text", KNOWN, ids=repr)
def test_known_tokens(text: str) -> None:
    assert tokens.encode(text) == KNOWN[text]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_equal_to_transformers(reference: CLIPTokenizer, text: str) -> None:
    assert tokens.encode(text) == reference(text, add_special_tokens=False)["input_ids"]


def test_marks(reference: CLIPTokenizer) -> None:
    assert (reference.bos_token_id, reference.eos_token_id) == (tokens.START, tokens.END)
    assert tokens.encode(",") == [tokens.COMMA]
    assert len(tokens.read_vocabulary(tokens._vocabulary_file())[0]) == 49408
