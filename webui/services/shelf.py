"""The Models tab's one door: cards of models, hashes of those, and work on them put in line."""

from __future__ import annotations

from typing import Any

from webui.backend.catalog import Catalog
from webui.backend.network_files import NetworkFiles
from webui.schema.errors import RequestError
from webui.schema.job import Job
from webui.schema.model import Checkpoint
from webui.schema.model_work import Convert, Merge, ModelWork
from webui.schema.sections import describe_fields
from webui.schema.settings import PictureSettings
from webui.services.cards import ModelCards
from webui.services.hashing import Hasher
from webui.services.model_work import ModelWorkshop
from webui.services.queue import JobQueue


class ModelShelf(ModelCards):
    """Everything the Models tab asks for."""

    def __init__(self, catalog: Catalog, files: NetworkFiles, workshop: ModelWorkshop, queue: JobQueue, hasher: Hasher) -> None:
        super().__init__(catalog, files)
        self._workshop = workshop
        self._queue = queue
        self._hasher = hasher

    def hash(self, kind: str, name: str) -> dict[str, Any]:
        """Have the hash computed: a checkpoint's by a job (its card knows it later), another file's at once. Gives the card anew."""
        entry = self.find(kind, name)
        if isinstance(entry.file, Checkpoint):
            if not self._hasher.enabled:
                raise RequestError("Hashing is switched off.", hint="Start Easel without --no-hashing.")
            self._hasher.ask(entry.file)
        else:
            self._files.hash(entry.file)
        return self.card(kind, name)

    def forms(self) -> dict[str, list[dict[str, Any]]]:
        """The fields of the two forms, with what can be chosen now."""
        sources = {
            "checkpoints": ["", *(item.name for item in self._catalog.checkpoints())],
            "vaes": ["", *(item.name for item in self._files.files("vae"))],
        }
        return {"merge": describe_fields(Merge, sources), "convert": describe_fields(Convert, sources)}

    def submit(self, request: ModelWork, owner: str = "") -> Job:
        """Check the work and put it in line of the cpu lane. Raises `WebuiError` at the wrong field; then nothing is queued."""
        request = self._workshop.check(request)
        taken = [job for job in self._queue.active("cpu") if isinstance(job.request, Merge | Convert) and job.request.output == request.output]
        if taken:
            raise RequestError(f"{request.output} is being made already.", field="custom_name", hint="Choose another name.")
        return self._queue.put(request, PictureSettings(), owner=owner)

    def read_metadata(self, names: list[str]) -> dict[str, Any]:
        """The notes of these checkpoints in one. Raises `WebuiError`."""
        return self._workshop.read_metadata(names)
