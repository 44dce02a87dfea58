"""A job: a request on its way through the queue."""

from __future__ import annotations

from enum import StrEnum

from webui.schema.base import Frozen
from webui.schema.errors import ErrorInfo
from webui.schema.extras import Extras, Interrogate
from webui.schema.generation import GenerationRequest, HashCheckpoint
from webui.schema.img2img import Img2Img
from webui.schema.model_work import Convert, Merge
from webui.schema.request import PictureRequest, Replay
from webui.schema.settings import PictureSettings

JobRequest = PictureRequest | HashCheckpoint | Replay | Merge | Convert | Extras | Interrogate
"""Everything that can stand in the queue."""


class JobStatus(StrEnum):
    """queued → running → one of the ends. `interrupted` is also what a running job becomes when the server dies."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def ended(self) -> bool:
        """True when nothing more will happen."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


def lane_of(request: JobRequest) -> str:
    """The lane a kind of job runs in: `device:0` owns the device, `cpu` never holds a lease."""
    return "cpu" if isinstance(request, HashCheckpoint | Merge | Convert) else "device:0"


class Job(Frozen):
    """A row of the queue. `settings` is the snapshot taken when it was submitted."""

    id: str
    lane: str
    status: JobStatus
    request: JobRequest
    settings: PictureSettings
    repeat: bool = False
    """Generate forever: when it ends well, the server puts the same request in line again."""

    owner: str = ""
    position: float = 0.0
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    error: ErrorInfo | None = None
    seed: int | None = None
    """The seed it runs with when the request says -1: drawn when it first starts, kept so that a requeued job goes on with the same pictures."""

    def settings_for(self, request: GenerationRequest) -> PictureSettings:
        """The settings of one run of this job: its own, with the overrides of a request that a script may have made. Raises
        `pydantic.ValidationError`."""
        return self.settings.revise(**request.overrides)


class JobView(Frozen):
    """A job as pages see it."""

    id: str
    kind: str
    lane: str
    status: JobStatus
    title: str
    repeat: bool
    pictures: int
    """How many pictures are finished."""

    planned: int
    """How many were asked for."""

    created: float
    started: float | None
    ended: float | None
    error: ErrorInfo | None

    @classmethod
    def of(cls, job: Job, pictures: int) -> JobView:
        """The page's view of a job with `pictures` finished pictures."""
        request = job.request
        if isinstance(request, Img2Img) and request.batch is not None:
            title, planned = f"{request.batch.input_dir} {request.prompt}"[:120], 0
        elif isinstance(request, GenerationRequest):
            title, planned = request.prompt[:120], request.batch_count * request.batch_size
        elif isinstance(request, Replay):
            title, planned = request.request.prompt[:120], 0
        elif isinstance(request, Extras):
            title, planned = request.input_dir or (request.images[0].name if request.images else ""), len(request.images)
        else:
            title, planned = _title(request), 0
        return cls(
            id=job.id, kind=request.kind, lane=job.lane, status=job.status, title=title, repeat=job.repeat, pictures=pictures,
            planned=planned, created=job.created, started=job.started, ended=job.ended, error=job.error,
        )


def _title(request: HashCheckpoint | Merge | Convert | Interrogate) -> str:
    if isinstance(request, Interrogate):
        return request.model
    return request.checkpoint if isinstance(request, HashCheckpoint) else request.output
