"""`a AND b:0.5`: several prompts for one picture, each with a weight (Liu et al. 2022, https://arxiv.org/abs/2206.01714). Text only.

The picture is led by x0 = u + sum of weight x cfg x (d - u) over the parts; see `engine.network`. Negative prompts are never split.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_AND = re.compile(r"\bAND\b")
_WEIGHT = re.compile(r"[-+]?(?:\d+\.?|\d*\.\d+)")


@dataclass(frozen=True)
class Part:
    """One side of an AND."""

    text: str
    weight: float = 1.0


def split_parts(prompt: str) -> tuple[Part, ...]:
    """The parts of a prompt, one at least. A prompt without AND is one part and may end with a weight as well: `time 8:30` weighs 30, as in A1111."""
    return tuple(_part(text) for text in _AND.split(prompt))


def _part(text: str) -> Part:
    text = text.rstrip()
    before, colon, number = text.rpartition(":")
    if colon and _WEIGHT.fullmatch(number.lstrip()):
        return Part(before.rstrip(), float(number))
    return Part(text)
