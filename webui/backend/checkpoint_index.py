"""What was recognised before, kept in a file of the data folder, so that a start with a thousand checkpoints reads none of them."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from webui.backend.identify import RECOGNITION
from webui.backend.layouts import State
from webui.schema.base import Frozen
from webui.schema.model import Checkpoint

log = logging.getLogger(__name__)


class Remembered(Frozen):
    """A checkpoint as it was found when its files were in this state."""

    state: State
    checkpoint: Checkpoint
    hint: str | None = None
    lasting: bool = True
    """Whether another look at the same files would say the same."""


class _Index(Frozen):
    recognition: int
    support: str
    entries: dict[str, Remembered]


_READ = TypeAdapter(_Index)


class CheckpointIndex:
    """Reads and writes the file. `support` says what can be run: when that changes, what was remembered is forgotten."""

    def __init__(self, path: Path | None, support: str) -> None:
        self._path = path
        self._support = support

    def load(self) -> dict[str, Remembered]:
        """By path of the checkpoint; empty when there is no file, or one of another Easel."""
        if self._path is None:
            return {}
        try:
            index = _READ.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            log.warning("%s is not used: %s", self._path, str(error).splitlines()[0])
            return {}
        return index.entries if (index.recognition, index.support) == (RECOGNITION, self._support) else {}

    def save(self, entries: dict[str, Remembered]) -> None:
        """Write it anew. A disk that is full costs the next start a second, and nothing now."""
        if self._path is None:
            return
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            fresh.write_bytes(_READ.dump_json(_Index(recognition=RECOGNITION, support=self._support, entries=entries)))
            fresh.replace(self._path)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)

