"""Every kind of request, and the type that both kinds of picture jobs share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, TypeAdapter

from webui.schema.base import Frozen
from webui.schema.generation import HashCheckpoint, Txt2Img
from webui.schema.img2img import Img2Img

PictureRequest = Txt2Img | Img2Img
"""What makes pictures."""


def _kind(value: Any) -> str | None:
    """A body that does not say its kind is txt2img."""
    kind = value.get("kind", "txt2img") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) else None


def kind_of(values: Mapping[str, Any]) -> type[PictureRequest]:
    """The class that the `kind` of a request as data means."""
    return Img2Img if values.get("kind") == "img2img" else Txt2Img


PictureBody = Annotated[Annotated[Txt2Img, Tag("txt2img")] | Annotated[Img2Img, Tag("img2img")], Discriminator(_kind)]
"""The same as it comes from outside: told apart by `kind`, so that an error is about the kind that was meant."""

PictureAdapter: TypeAdapter[PictureRequest] = TypeAdapter(PictureBody)


class Replay(Frozen):
    """Make one picture of the library again and compare it with its file."""

    kind: Literal["replay"] = "replay"
    picture: int
    """Its number in the library."""

    index: int = Field(ge=0)
    """Its number within the run that `request` describes."""

    request: PictureRequest
    unmatched: tuple[str, ...] = ()
    """What is known beforehand not to be as it was then, one sentence each."""


Request = Annotated[PictureRequest | HashCheckpoint | Replay, Field(discriminator="kind")]
RequestAdapter: TypeAdapter[PictureRequest | HashCheckpoint | Replay] = TypeAdapter(Request)
