"""Cards of models: one for every file of every kind, what its own header and its sidecar say, what a person writes about it.

The list is made of folders' entries and small sidecars only, so that thousands of files are there at once; a header is read when a card is opened.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webui.backend.catalog import Catalog
from webui.backend.headers import read_header
from webui.backend.layouts import trunk_name
from webui.backend.network_files import NetworkFiles
from webui.schema.errors import ModelError, NotFoundError
from webui.schema.model import Checkpoint, ModelFile
from webui.services.sidecars import CardNotes, find_preview, preview_names, read_notes, write_notes, write_preview

CHECKPOINT = "checkpoint"
FILE_KINDS = ("lora", "vae", "embedding", "hypernetwork", "controlnet", "upscaler")
LICENCE_KEYS = ("license", "modelspec.license", "ss_license")
BASE_KEYS = ("modelspec.architecture", "ss_base_model_version", "ss_sd_model_name")


@dataclass(frozen=True)
class Entry:
    """One model file: its kind, and the folder below which its own folder is shown."""

    kind: str
    file: Checkpoint | ModelFile
    home: str

    @property
    def path(self) -> Path:
        """The file itself."""
        return Path(self.file.path)


class ModelCards:
    """What is there, and what is said about it. Thread-safe: it keeps nothing but sidecars that did not change."""

    def __init__(self, catalog: Catalog, files: NetworkFiles) -> None:
        self._catalog = catalog
        self._files = files
        self._notes: dict[str, tuple[float, dict[str, Any]]] = {}
        self._seen: set[tuple[str, float, int]] | None = None

    def look_again(self) -> bool:
        """Look for new, changed and removed files. True when something is not as it was at the last look."""
        changed = self._catalog.refresh()
        seen = {(item.path, item.mtime, item.size) for kind in FILE_KINDS for item in self._files.files(kind)}
        changed |= self._seen is not None and seen != self._seen
        self._seen = seen
        return changed

    def cards(self) -> list[dict[str, Any]]:
        """All models, checkpoints first: `{kind, name, title, folder, size, mtime, base, error, hash, preview, tags, about}`; what says nothing is
        left out. `preview` is the picture's time, so that a new one gets a new address."""
        listings: dict[str, dict[str, float]] = {}
        return [self._card(entry, listings) for entry in self._entries()]

    def card(self, kind: str, name: str) -> dict[str, Any]:
        """One card with all that is known: the list's facts, `path`, `notes` (the sidecar), `metadata`, `dtypes` (how many tensors of each),
        `tensors`, `parameters`, `licence`, of a checkpoint also `prediction` and `zero_snr`. Raises `NotFoundError`."""
        entry = self.find(kind, name)
        card = self._card(entry, {}) | {"path": entry.file.path, "notes": read_notes(entry.path)}
        if isinstance(entry.file, Checkpoint):
            card |= {"sha256": self._catalog.known_sha256(entry.file), "prediction": entry.file.prediction, "zero_snr": entry.file.zero_snr}
        try:
            header = None if entry.path.is_dir() or entry.path.suffix.lower() in (".png", ".webp") else read_header(entry.path)
        except ModelError as error:
            return card | {"unreadable": error.message}
        if header is None:
            return card
        counts = Counter(header.dtypes.values())
        sizes = [_count(shape) for shape in header.shapes.values()]
        facts = {"metadata": dict(header.metadata), "dtypes": dict(counts.most_common()), "tensors": len(sizes), "parameters": sum(sizes)}
        licence = card["notes"].get("license") or next((header.metadata[key] for key in LICENCE_KEYS if header.metadata.get(key)), None)
        base = card.get("base") or next((header.metadata[key] for key in BASE_KEYS if header.metadata.get(key)), None)
        return card | facts | {"licence": licence, "base": base}

    def change_notes(self, kind: str, name: str, changes: CardNotes) -> dict[str, Any]:
        """Write what a person says about a model; gives the card anew. Raises `NotFoundError`, `StorageError`."""
        write_notes(self.find(kind, name).path, changes)
        if kind == CHECKPOINT:
            self._catalog.refresh()  # what it predicts may have been among it
        return self.card(kind, name)

    def preview(self, kind: str, name: str) -> Path:
        """The picture beside a model. Raises `NotFoundError`."""
        found = find_preview(self.find(kind, name).path)
        if found is None:
            raise NotFoundError(f"There is no preview picture of {name}.")
        return found

    def set_preview(self, kind: str, name: str, content: bytes) -> dict[str, Any]:
        """Make this picture the preview; gives the card anew. Raises `WebuiError`."""
        write_preview(self.find(kind, name).path, content)
        return self.card(kind, name)

    def _entries(self) -> Iterator[Entry]:
        for item in self._catalog.checkpoints():
            yield Entry(CHECKPOINT, item, item.path.removesuffix(item.name))
        homes = sorted((str(folder) for folder in self._files.folders), key=len, reverse=True)
        for kind in FILE_KINDS:
            for item in self._files.files(kind):
                yield Entry(kind, item, next((home for home in homes if item.path.startswith(home)), ""))

    def find(self, kind: str, name: str) -> Entry:
        """The model of that kind and name. Raises `NotFoundError`."""
        if kind == CHECKPOINT:
            found = next((item for item in self._catalog.checkpoints() if item.name == name), None)
        elif kind in FILE_KINDS:
            found = next((item for item in self._files.files(kind) if item.name == name), None)
        else:
            raise NotFoundError(f"There is no kind of models called “{kind[:40]}”.")
        if found is None or not os.path.exists(found.path):
            raise NotFoundError(f"There is no {kind} “{name[:120]}” (any more).", hint="The list is read anew every few seconds.")
        return Entry(kind, found, "")

    def _card(self, entry: Entry, listings: dict[str, dict[str, float]]) -> dict[str, Any]:
        item = entry.file
        folder, base = os.path.split(item.path)
        beside = listings.get(folder)
        if beside is None:
            beside = listings[folder] = _listing(folder)
        stem = base if isinstance(item, Checkpoint) and os.path.isdir(item.path) else trunk_name(base)
        card: dict[str, Any] = {"kind": entry.kind, "name": item.name, "title": stem, "size": item.size, "mtime": item.mtime}
        inner = folder.removeprefix(entry.home.rstrip("/\\")).strip("/\\") if entry.home else ""
        card |= {"folder": inner.replace("\\", "/")} if inner else {}
        picture = next((name for name in preview_names(stem) if name in beside), None) if beside else None
        card |= {"preview": beside[picture]} if picture else {}
        card |= self._facts(entry)
        if f"{stem}.json" in beside:
            card |= self._words(Path(folder, f"{stem}.json"), beside[f"{stem}.json"], entry.path)
        return card

    def _facts(self, entry: Entry) -> dict[str, Any]:
        item = entry.file
        if isinstance(item, Checkpoint):
            return {key: value for key, value in (
                ("base", item.family), ("error", item.error), ("hash", item.sha256[:10] if item.sha256 else None)) if value}
        return {}

    def _words(self, path: Path, mtime: float, model: Path) -> dict[str, Any]:
        known = self._notes.get(str(path))
        if known is None or known[0] != mtime:
            known = self._notes[str(path)] = mtime, read_notes(model)
        notes = known[1]
        tags = notes.get("tags")
        words = {
            "tags": [str(tag) for tag in tags][:50] if isinstance(tags, list) else None, "about": str(notes.get("description") or "")[:300],
            "base": str(notes.get("sd version") or "") if notes.get("sd version") != "Unknown" else None,
            "activation": str(notes.get("activation text") or "")[:300],
        }
        return {key: value for key, value in words.items() if value}


def _listing(folder: str) -> dict[str, float]:
    """Names in a folder that belong beside a model, with their times."""
    found: dict[str, float] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.lower().endswith((".json", ".png", ".jpg", ".jpeg", ".webp", ".gif")):
                    found[entry.name] = entry.stat().st_mtime
    except OSError:
        pass  # gone this moment: cards without pictures
    return found


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
