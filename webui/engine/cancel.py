"""The token by which a running job is stopped: set by any thread, checked by the engine at every step. Needs no torch."""

from __future__ import annotations

from webui.schema.errors import Cancelled


class CancelToken:
    """`interrupt` ends the job, `skip` ends the batch at hand; both keep what is on the canvas as a partial picture."""

    def __init__(self) -> None:
        self.interrupted = False
        self._skip = False

    def interrupt(self) -> None:
        """End the job at the next step."""
        self.interrupted = True

    def skip(self) -> None:
        """End the batch at hand at its next step; the job goes on with the next batch."""
        self._skip = True

    def begin_batch(self) -> None:
        """A new batch begins: an old skip does not count. Raises `Cancelled` when the job was interrupted."""
        self._skip = False
        self.raise_if_interrupted()

    @property
    def stop(self) -> bool:
        """True when sampling should end now."""
        return self.interrupted or self._skip

    def raise_if_stopped(self) -> None:
        """For work within a batch that has no steps. Raises `Cancelled` when the batch or the job should end now."""
        if self.stop:
            raise Cancelled

    def raise_if_interrupted(self) -> None:
        """For places with nothing to keep (loading, between pictures). Raises `Cancelled`."""
        if self.interrupted:
            raise Cancelled
