"""File and folder names from A1111's patterns (a1111-contract §9, §11.21). Pure text; knows neither jobs nor disks."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import overload
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from PIL import Image

from webui.schema.style import PLACE, Style

INVALID = '#<>:"/\\|?*\n\r\t\0'
PART_LIMIT = 128
"""Characters of a sanitized part, unless `filenames_max_length` says otherwise."""

_PIECE = re.compile(r"(.*?)(?:\[([^\[\]]+)\]|$)")
_ARGUMENT = re.compile(r"(.*)<([^>]*)>$")
_BETWEEN_WORDS = re.compile("[" + re.escape(string.punctuation.replace("\\", "")) + r"\s]+")
_INVALID = str.maketrans(dict.fromkeys(INVALID, "_"))


class Skip:
    """A token's answer: leave me out, and the text before me too."""


SKIP = Skip()


@dataclass(frozen=True, kw_only=True)
class NameFacts:
    """What a pattern can speak of: one picture of a job."""

    prompt: str
    """Of this picture."""

    main_prompt: str
    """Of the job."""

    negative_prompt: str
    seed: int
    seeds: tuple[int, ...]
    steps: int
    cfg_scale: float
    image: Image.Image
    styles: tuple[Style, ...] = ()
    sampler: str = ""
    scheduler: str = "Automatic"
    sampler_schedule: str | None = None
    """Short name of the schedule that Automatic stands for with this sampler."""

    model_hash: str = ""
    model_name: str = ""
    batch_size: int = 1
    batch_count: int = 1
    batch_index: int = 0
    """Number within its batch, from 0."""

    batch: int = 0
    """Number of its batch, from 0."""

    clip_skip: int = 1
    denoising: float | None = None
    user: str | None = None
    vae: str | None = None
    """File name of the VAE, None when it is the checkpoint's own."""

    basename: str = ""
    zip: bool = False
    max_words: int = 8
    begun: datetime = field(default_factory=datetime.now)
    """When the job began."""

    now: datetime = field(default_factory=datetime.now)
    max_length: int = PART_LIMIT
    """Characters that a token may give."""

    def clean(self, text: str, replace_spaces: bool = True) -> str:
        """A token's text as part of a file name."""
        return sanitize(text, replace_spaces, self.max_length)


@overload
def sanitize(text: str, replace_spaces: bool = True, limit: int = PART_LIMIT) -> str:
    """A text stays a text."""


@overload
def sanitize(text: None, replace_spaces: bool = True, limit: int = PART_LIMIT) -> None:
    """None stays None."""


def sanitize(text: str | None, replace_spaces: bool = True, limit: int = PART_LIMIT) -> str | None:
    """A part of a file name: characters that no system likes become `_`; leading blanks, trailing blanks and dots go; at most `limit` characters.
    None (nothing known) stays None."""
    if text is None:
        return None
    if replace_spaces:
        text = text.replace(" ", "_")
    return text.translate(_INVALID).lstrip(" ")[:limit].rstrip(" .")


def apply_pattern(pattern: str, facts: NameFacts) -> str:
    """The pattern with its `[tokens]` replaced. A token that does not exist, or that is given arguments it does not take, stays, without them."""
    result = ""
    for match in _PIECE.finditer(pattern):
        text, token = match.groups()
        if token is None:
            result += text
            continue
        arguments: list[str] = []
        while argument := _ARGUMENT.match(token):
            token = argument.group(1)
            arguments.insert(0, argument.group(2))
        value = _value(token.lower(), arguments, facts)
        if isinstance(value, Skip):
            continue
        result += text + (f"[{token}]" if value is None else value)
    return result


Value = str | Skip | None


def _value(token: str, arguments: list[str], facts: NameFacts) -> Value:
    if token in _WITH_ARGUMENTS:
        try:
            return _WITH_ARGUMENTS[token](facts, arguments)
        except (ValueError, OverflowError):
            return None
    if token in _PLAIN and not arguments:
        return _PLAIN[token](facts)
    return None


def _styles(facts: NameFacts) -> str:
    return facts.clean(", ".join(style.name for style in facts.styles if style.name != "None") or "None", replace_spaces=False)


def _schedule(facts: NameFacts) -> str:
    chosen = facts.sampler_schedule or "Automatic" if facts.scheduler == "Automatic" else facts.scheduler
    return chosen.capitalize()


def _words(facts: NameFacts) -> str:
    words = [word for word in _BETWEEN_WORDS.split(facts.prompt) if word] or ["empty"]
    return facts.clean(" ".join(words[: facts.max_words]), replace_spaces=False)


def _bare_prompt(facts: NameFacts) -> str:
    """The prompt without the words of its styles."""
    text = facts.prompt
    for style in facts.styles:
        if style.prompt:
            for part in style.prompt.split(PLACE):
                text = (text.replace(part, "") if part else text).replace(", ,", ",").strip().strip(",")
            text = text.replace(style.prompt, "").strip().strip(",").strip()
    return facts.clean(text, replace_spaces=False)


def _vae(facts: NameFacts) -> str:
    if facts.vae is None:
        return "NoneType"
    parts = facts.vae.split(".")
    return parts[1] if len(parts) > 1 and not parts[0] else parts[0]


def _generation(facts: NameFacts) -> Value:
    if facts.zip or facts.batch_count * facts.batch_size == 1:
        return SKIP
    return str(facts.batch * facts.batch_size + facts.batch_index + 1)


def _hash(text: str, arguments: list[str]) -> str:
    length = int(arguments[0]) if arguments and arguments[0] else 8
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:length]


def _image_hash(facts: NameFacts, arguments: list[str]) -> str:
    length = int(arguments[0]) if arguments and arguments[0] else None
    return hashlib.sha256(facts.image.tobytes()).hexdigest()[:length]


def _has_prompt(facts: NameFacts, arguments: list[str]) -> str:
    """`[hasprompt<cat|none>]`: cat when the prompt has it, else none."""
    found = ""
    for argument in filter(None, arguments):
        expected, _, default = argument.partition("|")
        default = default.split("|")[0]
        found += expected.lower() if expected.lower() in facts.prompt.lower() else default
    return facts.clean(found)


def _datetime(facts: NameFacts, arguments: list[str]) -> str:
    """`[datetime<Format><Time Zone>]`; a zone that does not exist is the machine's."""
    form = arguments[0] if arguments and arguments[0] else "%Y%m%d%H%M%S"
    when = facts.now.astimezone()
    if len(arguments) > 1 and arguments[1]:
        try:
            when = when.astimezone(ZoneInfo(arguments[1]))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass  # as in A1111
    return facts.clean(when.strftime(form), replace_spaces=False)


_WITH_ARGUMENTS: dict[str, Callable[[NameFacts, list[str]], Value]] = {
    "datetime": _datetime,
    "prompt_hash": lambda facts, arguments: _hash(facts.prompt, arguments),
    "negative_prompt_hash": lambda facts, arguments: _hash(facts.negative_prompt, arguments),
    "full_prompt_hash": lambda facts, arguments: _hash(f"{facts.main_prompt} {facts.negative_prompt}", arguments),
    "hasprompt": _has_prompt,
    "image_hash": _image_hash,
}

_PLAIN: dict[str, Callable[[NameFacts], Value]] = {
    "seed": lambda facts: str(facts.seed),
    "seed_first": lambda facts: str(facts.seed if facts.batch_size == 1 else facts.seeds[0]),
    "seed_last": lambda facts: SKIP if facts.batch_size == 1 else str(facts.seeds[-1]),
    "steps": lambda facts: str(facts.steps),
    "cfg": lambda facts: str(facts.cfg_scale),
    "width": lambda facts: str(facts.image.width),
    "height": lambda facts: str(facts.image.height),
    "styles": _styles,
    "sampler": lambda facts: facts.clean(facts.sampler, replace_spaces=False),
    "sampler_scheduler": lambda facts: facts.clean(f"{facts.sampler} {_schedule(facts)}", replace_spaces=False),
    "scheduler": lambda facts: facts.clean(_schedule(facts), replace_spaces=False),
    "model_hash": lambda facts: facts.model_hash,
    "model_name": lambda facts: facts.clean(facts.model_name, replace_spaces=False),
    "date": lambda facts: facts.now.strftime("%Y-%m-%d"),
    "job_timestamp": lambda facts: facts.begun.strftime("%Y%m%d%H%M%S"),
    "prompt": lambda facts: facts.clean(facts.prompt),
    "prompt_no_styles": _bare_prompt,
    "prompt_spaces": lambda facts: facts.clean(facts.prompt, replace_spaces=False),
    "prompt_words": _words,
    "batch_number": lambda facts: SKIP if facts.batch_size == 1 or facts.zip else str(facts.batch_index + 1),
    "batch_size": lambda facts: str(facts.batch_size),
    "generation_number": _generation,
    "clip_skip": lambda facts: str(facts.clip_skip),
    "denoising": lambda facts: str(facts.denoising) if facts.denoising else SKIP,
    "user": lambda facts: facts.user,
    "vae_filename": _vae,
    "none": lambda facts: "",
    "basename": lambda facts: facts.basename,
}
