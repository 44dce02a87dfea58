"""What people write about a model, in files beside it as A1111 has them: `name.json` for words, `name.png` or `name.preview.png` for a picture.

Other programs write there too: keys that are not ours are kept, pictures are set aside and never deleted.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from webui.backend.layouts import beside, trunk_of
from webui.schema.base import Frozen
from webui.schema.errors import RequestError, StorageError
from webui.services.folders import write_atomically

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
"""In the order A1111 looks for them, each with and without `.preview`."""


class CardNotes(Frozen):
    """The words that can be changed. Names in the file are A1111's (`sd version`, `activation text`); `tags`, `license`
    and `prediction` are ours."""

    model_config = ConfigDict(populate_by_name=True, coerce_numbers_to_str=True)

    description: str | None = Field(default=None, max_length=20_000)
    notes: str | None = Field(default=None, max_length=200_000)
    sd_version: str | None = Field(default=None, max_length=200, alias="sd version")
    activation_text: str | None = Field(default=None, max_length=20_000, alias="activation text")
    negative_text: str | None = Field(default=None, max_length=20_000, alias="negative text")
    preferred_weight: float | None = Field(default=None, ge=-10, le=10, alias="preferred weight")
    tags: tuple[str, ...] | None = Field(default=None, max_length=200)
    licence: str | None = Field(default=None, max_length=2000, alias="license")
    prediction: Literal["", "epsilon", "v", "v-zsnr"] | None = None
    """What a checkpoint predicts, where it is recognised wrongly (`model_yaml.read_card`); empty = as it is recognised."""


KEYS = {name: field.alias or name for name, field in CardNotes.model_fields.items()}
"""Field → key in the file."""


def notes_path(model: Path) -> Path:
    """Where the words of a model stand. A folder's stand beside it."""
    return beside(model, ".json")


def read_notes(model: Path) -> dict[str, Any]:
    """Everything that `name.json` holds; empty when it is not there or is no JSON object."""
    try:
        content = json.loads(notes_path(model).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def write_notes(model: Path, changes: CardNotes) -> dict[str, Any]:
    """Change what `changes` sets and keep everything else; gives the whole. A file that is no JSON object is kept under another name first.

    Raises `StorageError` when it cannot be written.
    """
    path = notes_path(model)
    content = read_notes(model)
    try:
        if not content and path.exists() and path.read_text(encoding="utf-8", errors="replace").strip() not in ("", "{}"):
            path.rename(path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"))
        content |= {KEYS[name]: value for name in changes.model_fields_set if (value := getattr(changes, name)) is not None}
        write_atomically(path, json.dumps(content, indent=4, ensure_ascii=False).encode())
    except OSError as error:
        raise StorageError(f"{path.name} cannot be written: {error.strerror or error}.", hint="Check the folder's permissions.") from error
    return content


def preview_names(stem: str) -> list[str]:
    """File names of a preview picture, in the order in which they are looked for."""
    return [f"{stem}{middle}{suffix}" for suffix in PICTURES for middle in ("", ".preview")]


def find_preview(model: Path) -> Path | None:
    """The picture beside a model. An embedding that is a picture itself is its own."""
    if model.suffix.lower() in PICTURES:
        return model
    stem = trunk_of(model).name
    return next((found for name in preview_names(stem) if (found := model.with_name(name)).is_file()), None)


def write_preview(model: Path, content: bytes) -> Path:
    """Make this picture the preview: `name.preview.<suffix>`. The one before becomes `<its name>.bak`. Raises `RequestError` for what is no
    picture, `StorageError` when it cannot be written."""
    suffix = picture_suffix(content)
    target = beside(model, f".preview{suffix}")
    before = find_preview(model)
    try:
        if before is not None and before not in (model, target):
            os.replace(before, before.with_name(f"{before.name}.bak"))
        write_atomically(target, content)
    except OSError as error:
        raise StorageError(f"{target.name} cannot be written: {error.strerror or error}.", hint="Check the folder's permissions.") from error
    return target


def picture_suffix(content: bytes) -> str:
    """The suffix for these bytes. Raises `RequestError` when they are no picture that browsers show."""
    marks: Mapping[bytes, str] = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif"}
    found = next((suffix for mark, suffix in marks.items() if content.startswith(mark)), None)
    if found is None and content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        found = ".webp"
    if found is None:
        raise RequestError("This is no PNG, JPEG, WebP or GIF picture.", hint="Choose a picture of one of these kinds.")
    return found
