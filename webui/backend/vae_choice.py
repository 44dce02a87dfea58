"""Which VAE goes with a checkpoint: A1111's setting `sd_vae`. Knows files by name and loads nothing."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from webui.backend.layouts import trunk_of
from webui.schema.errors import RequestError
from webui.schema.model import Checkpoint, ModelFile
from webui.schema.model_settings import OWN_VAE

AUTOMATIC = "Automatic"
BESIDE = (".vae.safetensors", ".vae.pt", ".vae.ckpt")
"""Endings of a file beside a checkpoint, after the checkpoint's own name without its suffix."""


def vae_names(files: Sequence[ModelFile]) -> list[str]:
    """What `sd_vae` can be: A1111's two words, then the file names."""
    return [AUTOMATIC, OWN_VAE, *(file_name(file) for file in files)]


def file_name(file: ModelFile) -> str:
    """The file's name with its suffix, as A1111 calls a VAE."""
    return Path(file.path).name


def choose_vae(wanted: str, checkpoint: Checkpoint, files: Sequence[ModelFile]) -> ModelFile | None:
    """The file that stands in for the checkpoint's own VAE, or None for its own. Raises `RequestError` when the one named is not there."""
    if wanted in (OWN_VAE, ""):
        return None
    if wanted == AUTOMATIC:
        return _beside(checkpoint) or next((file for file in files if file_name(file).startswith(f"{checkpoint.stem}.")), None)
    known = {name: file for file in files for name in (file.name, file_name(file))}
    found = known.get(wanted) or next((file for name, file in known.items() if name.lower() == wanted.lower()), None)
    beside = _beside(checkpoint)
    if found is None and beside is not None and wanted in (beside.name, file_name(beside)):
        found = beside  # named so in the infotext of a picture that was made with it
    if found is None:
        near = difflib.get_close_matches(wanted, known, n=2, cutoff=0.4)
        hint = f"Did you mean {' or '.join(f'“{name}”' for name in near)}?" if near else "Put it into models/VAE, or choose Automatic."
        raise RequestError(f"There is no VAE “{wanted[:120]}”.", field="settings.sd_vae", hint=hint)
    return found


def _beside(checkpoint: Checkpoint) -> ModelFile | None:
    trunk = trunk_of(Path(checkpoint.path))
    for ending in BESIDE:
        path = Path(f"{trunk}{ending}")
        if path.is_file():
            stat = os.stat(path)
            return ModelFile(kind="vae", name=path.stem, path=str(path), size=stat.st_size, mtime=stat.st_mtime)
    return None
