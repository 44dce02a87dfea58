"""What was found out about a picture file or a pasted text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from webui.schema.base import Frozen
from webui.schema.request import PictureRequest

MetadataKind = Literal["easel", "a1111", "forge", "sdnext", "comfyui", "invokeai", "novelai", "none"]


class Metadata(Frozen):
    """`kind` is the program that wrote it; `none` when there is nothing to read."""

    kind: MetadataKind
    text: str = ""
    """A1111's line: as it stands in the file, or made from what another program wrote."""

    fields: dict[str, JsonValue] = Field(default_factory=dict)
    """A1111's dictionary of the line."""

    request: PictureRequest | None = None
    """What to ask for to get this picture, as far as it could be told."""

    index: int | None = None
    """Number of the picture within `request`; only Easel's own files say so. Without it `request` is this one picture."""

    comments: tuple[str, ...] = ()
    """What was changed to fit, what is missing here, and what is not used, one sentence each."""

    values: dict[str, JsonValue] = Field(default_factory=dict)
    """What the form gets when this is pasted, by field path: this one picture, only fields that it speaks of, only what this server can do."""

    chunks: dict[str, str] = Field(default_factory=dict)
    """Every text of the file by its name, as it stands there."""

    width: int | None = None
    height: int | None = None
    """Pixels of the file; None for a text."""
