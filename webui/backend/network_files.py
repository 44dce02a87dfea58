"""Files beside the checkpoints (VAE, LoRA, embeddings, hypernetworks): found by kind, with the hashes A1111 writes for them. Loads nothing.

Looks at the folders at every question, since they change while the server runs; hashes are remembered by time and size of the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from webui.backend.catalog import walk
from webui.backend.hashing import HashStore, hash_file
from webui.backend.headers import read_header
from webui.schema.errors import ModelError
from webui.schema.model import FileKind, ModelFile

WEIGHTS = (".safetensors", ".sft", ".pt", ".ckpt", ".pth", ".bin", ".gguf", ".onnx")
SUFFIXES = (*WEIGHTS, ".webp", ".png")
"""Embeddings may be pictures; for other kinds these are previews."""

DIGITS: Mapping[FileKind, int] = {
    "vae": 10, "lora": 12, "embedding": 12, "hypernetwork": 10, "controlnet": 10, "upscaler": 10, "text_encoder": 10,
    "face_restorer": 10, "face_detector": 10,
}
"""Length of a hash in the infotext (a1111-contract §6)."""


class NetworkFiles:
    """What lies in the folders of each kind. `whole` remembers hashes of files, `contents` those of safetensors files without their header."""

    def __init__(self, folders: Mapping[FileKind, Sequence[Path]], whole: HashStore, contents: HashStore) -> None:
        self._folders = folders
        self._stores = {"whole": whole, "contents": contents}

    @property
    def folders(self) -> tuple[Path, ...]:
        """All folders looked into."""
        return tuple(dict.fromkeys(folder for places in self._folders.values() for folder in places))

    def folders_of(self, kind: FileKind) -> tuple[Path, ...]:
        """The folders for files of this kind."""
        return tuple(self._folders.get(kind, ()))

    def home(self, entry: ModelFile) -> Path:
        """The folder of its kind that a file was found in."""
        return next(folder for folder in self._folders[entry.kind] if Path(entry.path).is_relative_to(folder))

    def files(self, kind: FileKind) -> list[ModelFile]:
        """Every file of this kind, the first of a name only, sorted by name."""
        found: dict[str, ModelFile] = {}
        for folder in self._folders.get(kind, ()):
            for path in walk(folder, SUFFIXES if kind == "embedding" else WEIGHTS):
                try:
                    stat = os.stat(path)
                except OSError:
                    continue  # a dangling link, or deleted this moment
                name = os.path.splitext(os.path.basename(path))[0]
                found.setdefault(name, ModelFile(kind=kind, name=name, path=path, size=stat.st_size, mtime=stat.st_mtime))
        return sorted(found.values(), key=lambda entry: entry.name.lower())

    def find(self, kind: FileKind, name: str) -> ModelFile | None:
        """The file with this name (without suffix; case does not matter), or whose own notes call it so (a LoRA's alias)."""
        files = self.files(kind)
        named = next((entry for entry in files if entry.name.lower() == name.lower()), None)
        return named or next((entry for entry in files if kind == "lora" and name and _notes(entry).get("ss_output_name") == name), None)

    def with_hash(self, kind: FileKind, short: str, budget: int) -> ModelFile | None:
        """The file whose hash begins like this. Hashes that are not known are computed for at most `budget` bytes of files, small ones first."""
        if len(short) < 8:
            return None
        unknown = []
        for entry in self.files(kind):
            known = self.known_hash(entry)
            if known is None:
                unknown.append(entry)
            elif known.startswith(short.lower()[: DIGITS[kind]]):
                return entry
        for entry in sorted(unknown, key=lambda entry: entry.size):
            budget -= entry.size
            if budget < 0:
                return None
            try:
                if self.hash(entry).startswith(short.lower()[: DIGITS[kind]]):
                    return entry
            except ModelError:
                continue  # it cannot be read, so it is not the one
        return None

    def known_hash(self, entry: ModelFile) -> str | None:
        """The hash as the infotext has it, when it needs no computing: a LoRA's own note, or one computed before."""
        if noted := _noted_hash(entry):
            return noted
        value = self._stores[_what(entry)].get(entry.path, entry.mtime, entry.size)
        return value[: DIGITS[entry.kind]] if value else None

    def hash(self, entry: ModelFile, progress: Callable[[float], None] | None = None) -> str:
        """The hash as the infotext has it, computed if need be. `progress` gets 0..1. Raises `ModelError` when the file cannot be read."""
        known = self.known_hash(entry)
        if known is None:
            what = _what(entry)
            value = hash_file(entry.path, entry.size, progress, skip_header=what == "contents")
            self._stores[what].put(entry.path, entry.mtime, entry.size, value)
            known = value[: DIGITS[entry.kind]]
        return known


def _what(entry: ModelFile) -> str:
    return "contents" if entry.kind == "lora" and entry.path.lower().endswith(".safetensors") else "whole"


def _notes(entry: ModelFile) -> dict[str, str]:
    if not entry.path.lower().endswith(".safetensors"):
        return {}
    try:
        return dict(read_header(Path(entry.path)).metadata)
    except ModelError:
        return {}  # damaged; whoever wants to load it says so


def _noted_hash(entry: ModelFile) -> str | None:
    noted = _notes(entry).get("sshs_model_hash", "").lower() if entry.kind == "lora" else ""
    return noted[: DIGITS["lora"]] or None
