"""Where a file goes: folders and names from patterns, numbers, nothing overwritten unasked. Knows paths, not what is in the files."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LINK_TRIES = 1000
NAME_BYTES = 220
"""Of a pattern's part of a file name, in UTF-8; most systems take 255 in all."""

_INVALID = str.maketrans(dict.fromkeys('<>:"|?*\n\r\t\0', "_"))
_SEPARATOR = re.compile(r"[/\\]")


@dataclass(frozen=True)
class Name:
    """What a file is to be called: `00000-text.png`, with a basename `grid-0000-text.png`; without number `text.png`."""

    text: str
    extension: str
    basename: str = ""
    numbered: bool = True
    replace: bool = False
    """Without a number: an existing file of this name is replaced; else the new one gets a number behind it."""

    def numbered_name(self, number: int) -> str:
        """The file name with this number."""
        start = f"{self.basename}-{number:04}" if self.basename else f"{number:05}"
        return f"{start}{f'-{self.text}' if self.text else ''}.{self.extension}"


def split_name(text: str) -> tuple[list[str], str]:
    """A filled pattern as folders and file name: what is no name (`..`, blanks) is dropped, so that nobody leaves the folder."""
    *folders, last = _SEPARATOR.split(text)
    return [piece for piece in map(_piece, folders) if piece], _piece(last)


def below(root: Path, *patterns: str) -> Path:
    """A folder below `root`, from filled patterns that may name several levels."""
    folder = root
    for pattern in patterns:
        folders, last = split_name(pattern)
        folder = folder.joinpath(*folders, *([last] if last else []))
    return folder


def _piece(text: str) -> str:
    text = text.translate(_INVALID).strip(" ")
    return text.encode(errors="replace")[:NAME_BYTES].decode(errors="ignore").rstrip(" .")


class Numbers:
    """The next number of each folder and basename, remembered while the server runs."""

    def __init__(self) -> None:
        self._next: dict[tuple[Path, str], int] = {}

    def place(self, temporary: Path, folder: Path, name: Name) -> Path:
        """Give the finished temporary file its name in `folder`. Raises `OSError`."""
        if name.numbered or not name.text:
            return self._place_numbered(temporary, folder, name)
        path = folder / f"{name.text}.{name.extension}"
        if name.replace:
            os.replace(temporary, path)
            return path
        return _first_free(temporary, lambda number: folder / f"{name.text}{f'-{number}' if number else ''}.{name.extension}", 0)[0]

    def _place_numbered(self, temporary: Path, folder: Path, name: Name) -> Path:
        key = folder, name.basename
        begin = self._next.get(key)
        if begin is None:
            begin = next_number(folder, name.basename)
        path, number = _first_free(temporary, lambda number: folder / name.numbered_name(number), begin)
        self._next[key] = number + 1
        return path


def _first_free(temporary: Path, name: Callable[[int], Path], begin: int) -> tuple[Path, int]:
    """Try names until one is free. A link fails when the name is taken, so nothing is ever overwritten."""
    for number in range(begin, begin + LINK_TRIES):
        try:
            _move_new(temporary, name(number))
        except FileExistsError:
            continue
        return name(number), number
    raise FileExistsError(errno.EEXIST, f"{LINK_TRIES} file names in a row are taken", str(name(begin).parent))


def next_number(folder: Path, basename: str = "") -> int:
    """One more than the largest number that a file name in the folder begins with (behind the basename); 0 in an empty folder (A1111's rule)."""
    start = re.compile(re.escape(f"{basename}-" if basename else "") + r"(\d+)")
    numbers = (start.match(name) for name in os.listdir(folder))
    return max((int(match.group(1)) for match in numbers if match), default=-1) + 1


def _move_new(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links (exFAT): the check and the rename are two steps, good enough for one saving thread
        if target.exists():
            raise FileExistsError(errno.EEXIST, "exists", str(target)) from None
        os.rename(source, target)
