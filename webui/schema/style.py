"""A style: a piece of prompt with a name, A1111's `styles.csv`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from webui.schema.base import Frozen

PLACE = "{prompt}"
"""Where the person's prompt goes in a style's text; a style without it is put behind the prompt."""

StyleName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Style(Frozen):
    """One row of the styles file."""

    name: StyleName
    prompt: Annotated[str, Field(max_length=20_000)] = ""
    negative_prompt: Annotated[str, Field(max_length=20_000)] = ""
