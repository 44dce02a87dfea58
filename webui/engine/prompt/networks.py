"""Tags of extra networks, `<lora:name:0.8>`: taken out of the prompt and carried along. Knows no network; what a kind means knows who loads it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TAG = re.compile(r"<(\w+):([^>]+)>")


@dataclass(frozen=True)
class NetworkTag:
    """`<kind:item:item:key=value>`; `items` are all fields as they stand, `named` those of the form key=value, `positional` the others."""

    kind: str
    items: tuple[str, ...]
    positional: tuple[str, ...] = ()
    named: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"<{self.kind}:{':'.join(self.items)}>"


def take_tags(prompt: str) -> tuple[str, tuple[NetworkTag, ...]]:
    """The prompt without its tags, and the tags in order."""
    tags = tuple(_tag(match.group(1), match.group(2)) for match in _TAG.finditer(prompt))
    return _TAG.sub("", prompt), tags


def _tag(kind: str, arguments: str) -> NetworkTag:
    items = tuple(arguments.split(":"))
    named = dict(item.split("=") for item in items if item.count("=") == 1)
    return NetworkTag(kind, items, tuple(item for item in items if item.count("=") != 1), named)
