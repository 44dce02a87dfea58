"""A1111's line read back into its dictionary of fields (a1111-contract §6, §11.19): pairs, styles, defaults, old ways. Knows no requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from webui.engine.hires import first_pass_size
from webui.engine.prompt.attention import parse_attention
from webui.engine.prompt.styles import extract_styles
from webui.schema.errors import PromptError
from webui.schema.style import Style
from webui.services.infotext.line import unquote
from webui.services.infotext.versions import V1_8_0_139, add_old_ways, parse_version

_PAIR = re.compile(r'(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)|\w[\w \-/]*')
"""A1111's pair, or words that are none, taken whole: else a long line would be looked through again from each of its letters."""

_SIZE = re.compile(r"^(\d+)x(\d+)$")
LEAST_PAIRS = 3
"""The last line counts as parameters when it has at least so many."""

NEGATIVE = "Negative prompt:"

DEFAULTS: dict[str, Any] = {
    "Clip skip": "1",
    "Hires sampler": "Use same sampler",
    "Hires schedule type": "Use same scheduler",
    "Hires checkpoint": "Use same checkpoint",
    "Hires prompt": "",
    "Hires negative prompt": "",
    "Mask mode": "Inpaint masked",
    "Masked content": "original",
    "Inpaint area": "Whole picture",
    "Masked area padding": 32,
    "RNG": "GPU",
    "Schedule type": "Automatic",
    "Schedule max sigma": 0,
    "Schedule min sigma": 0,
    "Schedule rho": 0,
    "VAE Encoder": "Full",
    "VAE Decoder": "Full",
    "FP8 weight": "Disable",
    "Refiner switch by sampling steps": False,
}
"""What a line that does not say so means."""

StyleMode = Literal["Ignore", "Apply", "Discard", "Apply if any"]


@dataclass(frozen=True)
class ReadOptions:
    """How a line is read; the names are A1111's settings."""

    infotext_styles: StyleMode = "Apply if any"
    """Ignore: prompts stay as they are. Else styles are taken out of them; Apply names them, also when there are none; Discard forgets them."""

    auto_backcompat: bool = True
    infotext_skip_pasting: tuple[str, ...] = ()
    use_old_hires_fix_width_height: bool = False


def split_infotext(text: str) -> tuple[str, str, dict[str, Any]]:
    """Prompt, negative prompt and the pairs of the last line; a value such as `512x768` becomes `key-1` and `key-2`, an empty value is dropped."""
    *lines, last = text.strip().split("\n")
    pairs = [pair for pair in _PAIR.findall(last) if pair[0]]
    if len(pairs) < LEAST_PAIRS:
        lines, pairs = [*lines, last], []
    prompts: list[list[str]] = [[], []]
    which = 0
    for line in lines:
        line = line.strip()
        if line.startswith(NEGATIVE):
            which, line = 1, line.removeprefix(NEGATIVE).strip()
        if line or prompts[which]:
            prompts[which].append(line)
    fields: dict[str, Any] = {}
    for key, value in pairs:
        if not value:
            continue
        value = unquote(value)
        if size := _SIZE.match(value):
            fields[f"{key}-1"], fields[f"{key}-2"] = size.groups()
        else:
            fields[key] = value
    return "\n".join(prompts[0]), "\n".join(prompts[1]), fields


def parse_infotext(text: str, styles: Sequence[Style] = (), options: ReadOptions | None = None) -> dict[str, Any]:
    """A1111's dictionary for a line. Values of the line are strings, defaults have their own types. Never raises."""
    options = options or ReadOptions()
    prompt, negative, fields = split_infotext(text)
    prompt, negative = _take_styles(prompt, negative, fields, styles, options.infotext_styles)
    fields["Prompt"], fields["Negative prompt"] = prompt, negative
    emphasis = _uses_emphasis(prompt) or _uses_emphasis(negative)
    if "Hypernet" in fields:
        fields["Prompt"] += f"<hypernet:{fields['Hypernet']}:{fields.get('Hypernet strength', '1.0')}>"
    for key, value in DEFAULTS.items():
        fields.setdefault(key, value)
    if "Hires resize-1" not in fields:
        fields["Hires resize-1"] = fields["Hires resize-2"] = 0
    _read_old_hires(fields, options.use_old_hires_fix_width_height)
    if fields["FP8 weight"] != "Disable":
        fields.setdefault("Cache FP16 weight for LoRA", False)
    if emphasis:
        fields.setdefault("Emphasis", "Original")
    if options.auto_backcompat:
        add_old_ways(fields)
    for key in options.infotext_skip_pasting:
        fields.pop(key, None)
    return fields


def _take_styles(prompt: str, negative: str, fields: dict[str, Any], styles: Sequence[Style], mode: StyleMode) -> tuple[str, str]:
    """Take styles out of the prompts, and out of those of the hires pass; when the two do not agree, nothing is taken."""
    if mode == "Ignore":
        return prompt, negative
    found, bare_prompt, bare_negative = extract_styles(prompt, negative, styles)
    version = parse_version(fields.get("Version"))
    styled_hires = version is None or version > V1_8_0_139  # before that A1111 put no styles into the prompts of the hires pass
    if styled_hires and ("Hires prompt" in fields or "Hires negative prompt" in fields):
        given = fields.get("Hires prompt", prompt), fields.get("Hires negative prompt", negative)
        hires_found, hires_prompt, hires_negative = extract_styles(*given, styles)
        if hires_found != found:
            return prompt, negative
        fields["Hires prompt"] = "" if hires_prompt == bare_prompt else hires_prompt
        fields["Hires negative prompt"] = "" if hires_negative == bare_negative else hires_negative
    if mode == "Apply" or (mode == "Apply if any" and found):
        fields["Styles array"] = found
    return bare_prompt, bare_negative


def _read_old_hires(fields: dict[str, Any], old_sizes: bool) -> None:
    """Sizes of the hires pass as older versions wrote them, in today's fields. What is no number is left alone."""
    resize = _numbers(fields, "Hires resize")
    if old_sizes and resize and all(resize):
        fields["Size-1"], fields["Size-2"] = resize
        return
    first = _numbers(fields, "First pass size")
    whole = _numbers(fields, "Size") if "Size-1" in fields else (512, 512)
    if first is None or whole is None or not all(whole):
        return
    if not all(first):
        first = first_pass_size(*whole)
    fields["Size-1"], fields["Size-2"] = first
    fields["Hires resize-1"], fields["Hires resize-2"] = whole


def _numbers(fields: dict[str, Any], key: str) -> tuple[int, int] | None:
    try:
        return int(fields[f"{key}-1"]), int(fields[f"{key}-2"])
    except (KeyError, TypeError, ValueError):
        return None


def _uses_emphasis(text: str) -> bool:
    """True when any piece of the prompt but BREAK has a weight other than 1. A weight that is no number counts as one."""
    try:
        return any(weight != 1.0 and piece != "BREAK" for piece, weight in parse_attention(text))
    except PromptError:
        return True
