"""Slips that are shown under the prompt."""

from __future__ import annotations

import pytest

from webui.engine.prompt.hints import prompt_hints


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a (b:1.2), [c] \\( [d:e:0.5] 8:30 (f: -.5 )", []), ("", []),
        ("a (b", [("unclosed", 2, "(")]), ("a) [b", [("unopened", 1, ")"), ("unclosed", 3, "[")]), ("((a)", [("unclosed", 0, "(")]),
        ("(a:1.2.3)", [("weight", 3, "1.2.3")]), ("(a:)", [("weight", 3, "")]), ("(a:1,2)", []), ("(a: b c)", []),
        ("(a:1e3)", [("weight", 3, "1e3")]),
        ("(a:b:1.2)", []),
        ("\\(a:x\\)", []),
    ],
)
def test_hints(text: str, expected: list[tuple[str, int, str]]) -> None:
    assert [(hint.kind, hint.position, hint.text) for hint in prompt_hints(text)] == expected
