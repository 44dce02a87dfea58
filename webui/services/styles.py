"""A1111's styles files (`styles.csv`): name, prompt, negative_prompt, UTF-8 with a byte order mark. Applying styles is `engine.prompt.styles`."""

from __future__ import annotations

import csv
import difflib
import io
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from webui.schema.errors import RequestError, StorageError
from webui.schema.style import Style
from webui.services.folders import write_atomically

log = logging.getLogger(__name__)

COLUMNS = ("name", "prompt", "negative_prompt")


class StyleFile:
    """The rows of one file in their order. It is read again when it has changed on the disk, so it may be edited by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int] | None = None
        self._styles: dict[str, Style] = {}

    def all(self) -> dict[str, Style]:
        """The styles by name; none when there is no file. A row that is none is left out and named in the log."""
        try:
            status = self.path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._styles = {style.name: style for style in _read(self.path.read_bytes())}
                self._stamp = stamp
        except FileNotFoundError:
            self._styles, self._stamp = {}, None
        except OSError:
            log.exception("%s cannot be read; the styles stay as they were", self.path)
        return self._styles

    def write(self, styles: Sequence[Style]) -> None:
        """Write these as the only styles; the file as it was is kept beside it with `.bak`. Raises `StorageError`."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        writer.writerows((style.name, style.prompt, style.negative_prompt) for style in styles)
        try:
            if self.path.exists():
                write_atomically(self.path.with_name(f"{self.path.name}.bak"), self.path.read_bytes())
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, text.getvalue().encode("utf-8-sig", errors="replace"))
        except OSError as error:
            raise StorageError(f"The styles could not be written to {self.path}: {error.strerror or error}.") from error
        self._stamp = None


class Styles:
    """The styles of all files, A1111's way: `patterns` are paths or globs in its last part (`--styles-file`), of two styles of one name the later
    file's counts, and what is saved goes to the file it came from, new ones to the first."""

    def __init__(self, *patterns: Path) -> None:
        self._patterns = patterns
        self._lock = threading.Lock()
        self._files: dict[Path, StyleFile] = {}
        self._homes: dict[str, Path] = {}

    def all(self) -> list[Style]:
        """All styles, file by file."""
        with self._lock:
            return list(self._look().values())

    def named(self, names: Sequence[str]) -> tuple[Style, ...]:
        """The styles of these names, in this order. Raises `RequestError` at `styles` for one that does not exist."""
        known = {style.name: style for style in self.all()}
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
                hint = f"Did you mean {' or '.join(f'“{other}”' for other in near)}?" if near else f"Styles are in {self._patterns[0].name}."
                raise RequestError(f"There is no style “{name[:80]}”.", field="styles", hint=hint)
        return tuple(known[name] for name in names)

    def replace(self, styles: Sequence[Style]) -> None:
        """Make these the only styles. A row that another file's of the same name hides stays where it is. Raises `RequestError`, `StorageError`."""
        names = [style.name for style in styles]
        twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
        if twice is not None:
            raise RequestError(f"There are two styles “{twice[:80]}”.", field="name", hint="Give one of them another name.")
        with self._lock:
            self._look()
            first = next(iter(self._files))
            owned: dict[Path, list[Style]] = {path: [] for path in self._files}
            for style in styles:
                home = self._homes.get(style.name, first)
                owned[home if home in owned else first].append(style)
            for path, file in self._files.items():
                hidden = [style for name, style in file.all().items() if self._homes[name] != path]
                wanted = owned[path] + hidden
                if wanted != list(file.all().values()):
                    file.write(wanted)

    def _look(self) -> dict[str, Style]:
        """Read what has changed. Names that were there before keep their home, so that a deleted style can be taken back."""
        paths = dict.fromkeys(path for pattern in self._patterns for path in _matching(pattern))
        if not paths:  # only globs, and nothing fits yet: A1111's choice
            paths = {self._patterns[0].with_name("styles.csv"): None}
        self._files = {path: self._files.get(path) or StyleFile(path) for path in paths}
        found: dict[str, Style] = {}
        for path, file in self._files.items():
            for name, style in file.all().items():
                found.pop(name, None)
                found[name] = style
                self._homes[name] = path
        return found


def _matching(pattern: Path) -> list[Path]:
    if "*" not in pattern.name and "?" not in pattern.name:
        return [pattern]
    return sorted(pattern.parent.glob(pattern.name))


def _read(content: bytes) -> list[Style]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")  # what a spreadsheet on Windows writes
    found = []
    rows = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        for row in rows:
            prompt = row.get("prompt") if "prompt" in row else row.get("text")  # the column's name in the oldest files
            try:
                found.append(Style(name=row.get("name") or "", prompt=prompt or "", negative_prompt=row.get("negative_prompt") or ""))
            except ValidationError as error:
                log.warning("styles file, line %d: %s; it is left out", rows.line_num, error.errors()[0]["msg"])
    except csv.Error as error:
        log.warning("styles file, line %d cannot be read: %s; what follows is left out", rows.line_num, error)
    return found
