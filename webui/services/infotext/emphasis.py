"""Does a prompt use attention weights? Only this question, for the field `Emphasis` of a pasted line."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\\.|\\|\(|\[|:\s*([+-]?[.\d]+)\s*\)|\)|\]|[^\\()\[\]:]+|:", re.DOTALL)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


def uses_emphasis(text: str) -> bool:
    """True when any piece of the prompt but BREAK has a weight other than 1 (brackets as in a1111-contract §1). A weight that is no number
    counts as one."""
    weights: list[float] = []
    round_open: list[int] = []
    square_open: list[int] = []

    def multiply(start: int, factor: float) -> None:
        for position in range(start, len(weights)):
            weights[position] *= factor

    for match in _TOKEN.finditer(text):
        token, number = match.group(), match.group(1)
        if token == "(":
            round_open.append(len(weights))
        elif token == "[":
            square_open.append(len(weights))
        elif number is not None and round_open:
            try:
                multiply(round_open.pop(), float(number))
            except ValueError:
                return True
        elif token == ")" and round_open:
            multiply(round_open.pop(), 1.1)
        elif token == "]" and square_open:
            multiply(square_open.pop(), 1 / 1.1)
        else:
            weights += [1.0] * sum(1 for piece in _BREAK.split(token) if piece)
    for opened, factor in ((round_open, 1.1), (square_open, 1 / 1.1)):
        for start in opened:
            multiply(start, factor)
    return any(weight != 1.0 for weight in weights)
