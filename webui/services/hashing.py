"""Hashes of checkpoints without waiting for them: what is known is told at once, the rest is computed by the cpu lane, one file after another."""

from __future__ import annotations

import logging

from webui.backend.catalog import Catalog
from webui.schema.errors import WebuiError
from webui.schema.generation import HashCheckpoint
from webui.schema.model import Checkpoint
from webui.schema.settings import PictureSettings
from webui.services.queue import JobQueue

log = logging.getLogger(__name__)


class Hasher:
    """What is known of checkpoints' hashes, and the way to have one computed. Without `enabled` (`--no-hashing`) nothing is known or computed."""

    def __init__(self, catalog: Catalog, queue: JobQueue, enabled: bool = True) -> None:
        self.enabled = enabled
        self._catalog = catalog
        self._queue = queue

    def known(self, checkpoint: Checkpoint) -> str | None:
        """The sha256, if it was computed before and the file has not changed."""
        return self._catalog.known_sha256(checkpoint) if self.enabled else None

    def ask(self, checkpoint: Checkpoint) -> None:
        """Put the hash in line, unless it is known, or waits or is being computed already."""
        if not self.enabled or self.known(checkpoint):
            return
        request = HashCheckpoint(checkpoint=checkpoint.name)
        if any(job.request == request for job in self._queue.active("cpu")):
            return
        try:
            self._queue.put(request, PictureSettings())
        except WebuiError as error:  # the picture is safe; it is asked for again at the next start
            log.warning("the hash of %s was not put in line: %s", checkpoint.name, error.message)
