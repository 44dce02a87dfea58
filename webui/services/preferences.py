"""What a person keeps for a checkpoint (VAE, clip skip, size, sampler, …), in one JSON file by the checkpoint's name. It counts before what the
checkpoint's own file suggests. Knows no page."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError

from webui.backend.vae_choice import AUTOMATIC, choose_vae
from webui.schema.errors import StorageError
from webui.schema.model import Checkpoint, ModelFile, Suggestions
from webui.schema.settings import PictureSettings
from webui.services.folders import write_atomically

log = logging.getLogger(__name__)

KEPT: TypeAdapter[dict[str, dict[str, JsonValue]]] = TypeAdapter(dict[str, dict[str, JsonValue]])
NOT_IN_FORM = {"prompts", "clip_skip", "vae"}
"""Suggestions that are no fields of a request: the page offers prompts one by one, the others are settings."""


class Preferences:
    """The file, read once; every change is written at once. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._kept: dict[str, dict[str, JsonValue]] | None = None

    def with_kept(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint with what is kept for it in `suggests`, and its own file's word for the rest."""
        with self._lock:
            kept = self._read().get(checkpoint.name)
        if not kept:
            return checkpoint
        own = checkpoint.suggests.model_dump(exclude_none=True) if checkpoint.suggests else {}
        try:
            return checkpoint.revise(suggests=Suggestions.model_validate(own | kept), kept=True)
        except ValidationError as error:  # written by hand, or by another version
            log.warning("%s, %s: %s; it is not used", self._path.name, checkpoint.name, error.errors()[0]["msg"])
            return checkpoint

    def keep(self, name: str, values: Suggestions | None) -> None:
        """Keep these values for a checkpoint instead of those before, or nothing any more. Raises `StorageError`."""
        with self._lock:
            kept = {key: value for key, value in self._read().items() if key != name}
            if values is not None and (set_values := values.model_dump(mode="json", exclude_defaults=True)):
                kept[name] = set_values
            try:
                write_atomically(self._path, json.dumps(kept, indent=1, ensure_ascii=False).encode())
            except OSError as error:
                raise StorageError(f"{self._path} cannot be written: {error.strerror or error}.") from error
            self._kept = kept

    def _read(self) -> dict[str, dict[str, JsonValue]]:
        if self._kept is None:
            try:
                self._kept = KEPT.validate_json(self._path.read_bytes())
            except FileNotFoundError:
                self._kept = {}
            except (OSError, ValidationError) as error:
                log.warning("%s cannot be read (%s); it is set aside", self._path, str(error).splitlines()[0])
                self._set_aside()
                self._kept = {}
        return self._kept

    def _set_aside(self) -> None:
        try:
            self._path.replace(self._path.with_suffix(".damaged.json"))
        except OSError as error:
            log.warning("%s stays where it is: %s", self._path, error)


def form_values(checkpoint: Checkpoint | None) -> dict[str, Any]:
    """What the form begins with when this checkpoint is the default and nothing was chosen yet: its first prompt, its size, its guidance, …"""
    suggests = checkpoint.suggests if checkpoint else None
    if suggests is None:
        return {}
    return {"prompt": next(iter(suggests.prompts), ""), **suggests.model_dump(exclude=NOT_IN_FORM, exclude_none=True)}


def settle_vae(settings: PictureSettings, checkpoint: Checkpoint, files: list[ModelFile]) -> PictureSettings:
    """The settings with the checkpoint's preferred VAE where that one counts (a1111: `sd_vae_overrides_per_model_preferences`). Raises `RequestError`
    when the one that counts is not there."""
    preferred = checkpoint.suggests.vae if checkpoint.suggests else None
    if preferred and (settings.sd_vae == AUTOMATIC or not settings.sd_vae_overrides_per_model_preferences):
        settings = settings.revise(sd_vae=preferred)
    choose_vae(settings.sd_vae, checkpoint, files)
    return settings
