"""Folders of pictures that a request may name: below the data and outputs folders, nothing hidden, nowhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from webui.schema.errors import RequestError, StorageError
from webui.services.images import BYTES_LIMIT

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif", ".jxl")
"""What is taken for a picture."""


class PictureFolders:
    """`roots` are what the server allows; a path that is not absolute is looked for below each, in this order."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(dict.fromkeys(root.resolve() for root in roots))

    def existing(self, text: str, field: str) -> Path:
        """The folder of this name. Raises `RequestError` when it is not allowed or not there."""
        places = [place for place in self._places(text) if place.is_dir()]
        if not places:
            raise self._refusal(f"There is no folder “{text[:200]}” that this server may open.", field)
        return places[0]

    def writable(self, text: str, field: str) -> Path:
        """The folder of this name, which need not be there yet; below the last root when the name says no more. Raises `RequestError`."""
        places = self._places(text)
        if not places:
            raise self._refusal(f"The folder “{text[:200]}” is not one that this server may write into.", field)
        return places[0] if Path(text).is_absolute() else places[-1]

    def _places(self, text: str) -> list[Path]:
        """Where it may be: the path itself, or below each root, as long as that leads nowhere else, also through links."""
        text = text.strip()
        wanted = [root / text for root in self.roots] if text and "\0" not in text else []
        try:
            resolved = [place.resolve() for place in wanted]
        except (OSError, RuntimeError):
            return []
        return list(dict.fromkeys(place for place in resolved if self._allowed(place)))

    def _allowed(self, place: Path) -> bool:
        below = [place.relative_to(root) for root in self.roots if place.is_relative_to(root)]
        return any(not any(part.startswith(".") for part in path.parts) for path in below)

    def _refusal(self, what: str, field: str) -> RequestError:
        return RequestError(what, field=field, hint=f"Folders below {' and '.join(str(root) for root in self.roots)} are possible.")


def pictures_in(folder: Path, deep: bool = False) -> list[Path]:
    """The picture files right in a folder, with `deep` also in folders below it (links are not followed), as people count: 2 before 10. Hidden ones
    are left out."""
    found = [path for path in (_below(folder) if deep else folder.iterdir()) if _is_picture(path)]
    return sorted(found, key=lambda path: [natural(part) for part in path.relative_to(folder).parts])


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def natural(name: str) -> list[tuple[int, str]]:
    """Sorts names as people count."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name.lower())]


def bytes_of(path: Path) -> bytes:
    """A file whole. Raises `StorageError` when it cannot be read, or is larger than a picture may be, without reading it."""
    try:
        if (size := path.stat().st_size) > BYTES_LIMIT:
            raise StorageError(f"{path.name} has {size / 2**20:.0f} MB; at most {BYTES_LIMIT // 2**20} MB are possible.")
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path.name} cannot be read: {error.strerror or error}.") from error
