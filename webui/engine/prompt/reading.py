"""From what was typed to what is encoded, in A1111's order: network tags out, comments out, then AND, schedules, attention, tokens.

Torch-free, so that the token counter and the check of a request use the engine's own way."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from webui.engine.prompt.chunks import CHUNK, Chunks, chunk_prompt
from webui.engine.prompt.compose import Part, split_parts
from webui.engine.prompt.networks import NetworkTag, take_tags
from webui.engine.prompt.schedule import Timing, parse_schedule
from webui.schema.errors import PromptError
from webui.schema.settings import PictureSettings

_WHOLE_LINE = re.compile(r"(?:^|\n)#[^\n]*(?:\n|$)")
_REST_OF_LINE = re.compile(r"#[^\n]*(?:\n|$)")

COUNTED_CALLS = 20
"""Model calls that a prompt is counted for where nobody says: A1111's default steps."""


@dataclass(frozen=True)
class Reading:
    """The prompts of a batch without tags and comments, and the tags: those of the first prompt count for the whole batch."""

    prompts: tuple[str, ...]
    negative_prompts: tuple[str, ...]
    tags: tuple[NetworkTag, ...]
    fields: tuple[str, str] = ("prompt", "negative_prompt")
    """Where the person wrote them; errors stand there."""


def read_prompts(
    prompts: Sequence[str], negative_prompts: Sequence[str], settings: PictureSettings, fields: tuple[str, str] = ("prompt", "negative_prompt"),
) -> Reading:
    """What the engine encodes for a batch. In negative prompts tags are plain text, as in A1111."""
    taken = [take_tags(prompt) for prompt in prompts]
    return Reading(
        tuple(clean(prompt, settings) for prompt, _ in taken), tuple(clean(prompt, settings) for prompt in negative_prompts),
        taken[0][1] if taken else (), fields,
    )


def clean(prompt: str, settings: PictureSettings) -> str:
    """Without comments, unless they are switched off: `#` hides what follows on its line."""
    return strip_comments(prompt) if settings.enable_prompt_comments else prompt


def strip_comments(prompt: str) -> str:
    """A line that is only a comment goes; the rest of a line behind a `#` goes, its end stays."""
    return _REST_OF_LINE.sub("\n", _WHOLE_LINE.sub("\n", prompt))


def chunks_of(text: str, settings: PictureSettings, field: str = "prompt") -> Chunks:
    """One text of a schedule as weighted chunks. Raises `PromptError`."""
    return chunk_prompt(text, settings.comma_padding_backtrack, literal=settings.emphasis == "None", field=field)


def check_prompt(prompt: str, timing: Timing, settings: PictureSettings, field: str = "prompt") -> None:
    """Raises `PromptError` where encoding would, so that it can be said before anything is queued. `field` is the prompt's; a negative one's ends
    in `negative_prompt`."""
    for text in _texts(prompt, timing, settings, field.endswith("negative_prompt"), field):
        chunks_of(text, settings, field)


def count_tokens(prompt: str, settings: PictureSettings | None = None, *, negative: bool = False, calls: int = COUNTED_CALLS) -> tuple[int, int]:
    """Tokens of a prompt and the room it has: (12, 75), (80, 150). A torn-off rest of a chunk counts as used; of several texts (AND, schedules) the
    longest counts. A prompt that cannot be read is counted as it stands."""
    settings = settings or PictureSettings()
    try:
        texts = _texts(prompt, Timing(calls, old=settings.use_old_scheduling), settings, negative, "prompt")
        count = max(chunks_of(text, settings).count for text in texts)
    except PromptError:
        count = chunk_prompt(prompt, settings.comma_padding_backtrack, literal=True).count
    return count, math.ceil(max(count, 1) / CHUNK) * CHUNK


def _texts(prompt: str, timing: Timing, settings: PictureSettings, negative: bool, field: str) -> list[str]:
    """Every text that a prompt is at some time, each once."""
    text = clean(prompt if negative else take_tags(prompt)[0], settings)
    parts = (Part(text),) if negative else split_parts(text)
    return list(dict.fromkeys(entry.text for part in parts for entry in parse_schedule(part.text, timing, field)))
