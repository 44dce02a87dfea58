"""What looks like a slip in a prompt. Only hints: the prompt still means what it means in A1111. Knows no model."""

from __future__ import annotations

import re
from typing import Literal

from webui.schema.base import Frozen

_PIECE = re.compile(r"\\.|[()\[\]]|[^\\()\[\]]+|\\", re.DOTALL)
_LAST_FIELD = re.compile(r":\s*([^\s:,]*)\s*$")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)")
_PAIRS = {")": "(", "]": "["}


class Hint(Frozen):
    """`kind` says what: a bracket without its partner, or a weight that is no number. `text` is what stands at `position` (characters from 0)."""

    kind: Literal["unclosed", "unopened", "weight"]
    position: int
    text: str


def prompt_hints(prompt: str) -> list[Hint]:
    """Hints in the order of their places."""
    hints: list[Hint] = []
    opened: list[tuple[str, int]] = []
    before = ("", 0)
    for match in _PIECE.finditer(prompt):
        mark, place = match.group(), match.start()
        if mark in ("(", "["):
            opened.append((mark, place))
        elif mark in _PAIRS:
            partner = next((entry for entry in reversed(opened) if entry[0] == _PAIRS[mark]), None)
            if partner is None:
                hints.append(Hint(kind="unopened", position=place, text=mark))
            else:
                opened.remove(partner)
                if mark == ")":
                    hints += _weight(*before)
        before = (mark, place)
    hints += [Hint(kind="unclosed", position=place, text=mark) for mark, place in opened]
    return sorted(hints, key=lambda hint: hint.position)


def _weight(text: str, place: int) -> list[Hint]:
    """The text right before a closing round bracket: what follows its last colon should be a number."""
    match = _LAST_FIELD.search(text)
    if match is None or _NUMBER.fullmatch(match.group(1)):
        return []
    return [Hint(kind="weight", position=place + match.start(1), text=match.group(1))]
