"""Styles put into prompts and taken out of them again (a1111-contract §9 and §11.8). Pure text; knows no files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from webui.schema.style import PLACE, Style


def apply_style(text: str, style: str) -> str:
    """A prompt with one style's text: put around it at `{prompt}`, else behind it after a comma."""
    if PLACE in style:
        return style.replace(PLACE, text)
    return ", ".join(part for part in (text.strip(), style.strip()) if part)


def apply_styles(prompt: str, negative_prompt: str, styles: Iterable[Style]) -> tuple[str, str]:
    """Both prompts with all styles, one after another."""
    for style in styles:
        prompt, negative_prompt = apply_style(prompt, style.prompt), apply_style(negative_prompt, style.negative_prompt)
    return prompt, negative_prompt


def extract_styles(prompt: str, negative_prompt: str, styles: Sequence[Style]) -> tuple[list[str], str, str]:
    """Find out which styles were applied: their names in the order of applying, and what remains of both prompts. The scan begins anew
    after each hit, each style is taken at most once."""
    found: list[str] = []
    left = [style for style in styles if style.prompt or style.negative_prompt]
    while True:
        for style in left:
            positive = _without(prompt, style.prompt)
            negative = _without(negative_prompt, style.negative_prompt)
            if positive is not None and negative is not None:
                prompt, negative_prompt = positive, negative
                found.append(style.name)
                left.remove(style)
                break
        else:
            return found[::-1], prompt, negative_prompt


def _without(text: str, style: str) -> str | None:
    """What is left of the text when the style is taken away, or None when it does not contain the style."""
    text, style = _plain(text), _plain(style)
    if PLACE in style:
        before, _, after = style.partition(PLACE)
        if text.startswith(before) and text.endswith(after):
            return text[len(before) : len(text) - len(after)]
        return None
    return text[: len(text) - len(style)].removesuffix(", ") if text.endswith(style) else None


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip())
