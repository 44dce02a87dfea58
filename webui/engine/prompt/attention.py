"""Weights inside a prompt: `(more)`, `[less]`, `(exactly:1.3)`, escapes and BREAK, as A1111 reads them. Knows no schedule and no token."""

from __future__ import annotations

import re

from webui.schema.errors import PromptError

BREAK = ("BREAK", -1.0)
"""The piece that stands for BREAK: here a chunk ends. Brackets multiply its weight too, and then it is the plain word again."""

UP = 1.1
DOWN = 1 / 1.1

WEIGHT = re.compile(r":\s*([+-]?[.\d]+)\s*\)")
_PIECE = re.compile(rf"\\[()\[\]\\]?|[(\[]|{WEIGHT.pattern}|[)\]]|[^\\()\[\]:]+|:")
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


def parse_attention(text: str, field: str = "prompt") -> list[tuple[str, float]]:
    """Pieces of text with their weights; a BREAK is the piece `BREAK`. Never empty.

    Brackets left open count to the end, closing ones too many are text. Raises `PromptError` at a weight such as `1.2.3`.
    """
    pieces: list[tuple[str, float]] = []
    rounds: list[int] = []
    squares: list[int] = []
    for match in _PIECE.finditer(text):
        mark, weight = match.group(), match.group(1)
        if mark[0] == "\\":
            pieces.append((mark[1:], 1.0))
        elif mark == "(":
            rounds.append(len(pieces))
        elif mark == "[":
            squares.append(len(pieces))
        elif weight is not None and rounds:
            _multiply(pieces, rounds.pop(), _number(weight, field, match.start(1)))
        elif mark == ")" and rounds:
            _multiply(pieces, rounds.pop(), UP)
        elif mark == "]" and squares:
            _multiply(pieces, squares.pop(), DOWN)
        else:
            for number, part in enumerate(_BREAK.split(mark)):
                if number:
                    pieces.append(BREAK)
                pieces.append((part, 1.0))
    for start in rounds:
        _multiply(pieces, start, UP)
    for start in squares:
        _multiply(pieces, start, DOWN)
    return _merge(pieces) or [("", 1.0)]


def _multiply(pieces: list[tuple[str, float]], start: int, factor: float) -> None:
    for place in range(start, len(pieces)):
        text, weight = pieces[place]
        pieces[place] = (text, weight * factor)


def _number(weight: str, field: str, position: int) -> float:
    try:
        return float(weight)
    except ValueError as error:
        raise PromptError(f"The weight “{weight}” is not a number.", field, position, hint="Write it like (word:1.2).") from error


def _merge(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Neighbours of exactly equal weight become one piece, so that words are not torn for the tokenizer."""
    merged: list[tuple[str, float]] = []
    for text, weight in pieces:
        if merged and merged[-1][1] == weight:
            merged[-1] = (merged[-1][0] + text, weight)
        else:
            merged.append((text, weight))
    return merged
