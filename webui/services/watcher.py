"""Notices model files that come, change or go, without a click. Looks at folders every few seconds: that works on network drives too, where the
system tells nobody of changes made elsewhere.

A folder's own time changes when an entry comes or goes, so most looks read a handful of times and no file. While something changes, and now and then
anyway, files are looked at one by one: a download grows without its folder knowing.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

SECONDS = 3.0
"""Between two looks at the folders."""

FULL_LOOK = 10
"""Every so many looks the files themselves are looked at."""

Folders = dict[str, float]
"""Path → time of last change."""


class Watcher:
    """Calls `changed` after `look_again()` said that the files below `roots` are not what they were."""

    def __init__(self, roots: Sequence[Path], look_again: Callable[[], bool], changed: Callable[[], None], seconds: float = SECONDS) -> None:
        self._roots = tuple(dict.fromkeys(roots))
        self._look_again = look_again
        self._changed = changed
        self._seconds = seconds
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _watch(self) -> None:
        before, looks, restless = folder_times(self._roots), 0, False
        while not self._end.wait(self._seconds):
            looks += 1
            now = folder_times(self._roots)
            if now == before and not restless and looks % FULL_LOOK:
                continue
            before = now
            restless = self._look_again()  # what changed just now may still be growing: look at the files again next time
            if restless:
                self._changed()


def folder_times(roots: Sequence[Path]) -> Folders:
    """Every folder below `roots` with its time; links followed, each real folder once. What cannot be read is left out."""
    found: Folders = {}
    seen: set[tuple[int, int]] = set()
    waiting = [str(root) for root in roots]
    while waiting:
        folder = waiting.pop()
        try:
            state = os.stat(folder)
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            found[folder] = state.st_mtime
            with os.scandir(folder) as entries:
                waiting += [entry.path for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
        except OSError:
            continue  # not there (yet), or not for us
    return found
