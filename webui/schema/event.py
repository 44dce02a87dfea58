"""What the server tells open pages, one typed event each, over one stream (`GET /api/v1/events`). docs/api.md lists them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from webui.schema.base import Frozen
from webui.schema.job import JobView
from webui.schema.result import PictureView, ReplayReport


class Progress(Frozen):
    """Where the running job is. `fraction` is of the whole job; `eta` in seconds, None before it can be known."""

    type: Literal["progress"] = "progress"
    job_id: str
    picture: int
    pictures: int
    step: int
    steps: int
    fraction: float
    eta: float | None
    phase: str = "sampling"
    """`loading`, `encoding`, `sampling`, `decoding` or `saving`."""

    note: str = ""
    """The memory that the run is expected to need, and how it is made to fit."""


class Preview(Frozen):
    """What the running picture looks like now, as a data URI (JPEG). `seq` grows; an older one that arrives late is dropped."""

    type: Literal["preview"] = "preview"
    job_id: str
    seq: int
    width: int
    height: int
    url: str


class JobChanged(Frozen):
    """A job was added, started, ended or changed."""

    type: Literal["job"] = "job"
    job: JobView


class QueueChanged(Frozen):
    """The waiting jobs, in order."""

    type: Literal["queue"] = "queue"
    waiting: tuple[str, ...]


class PictureSaved(Frozen):
    """A picture is finished: on disk and in the library."""

    type: Literal["picture"] = "picture"
    picture: PictureView


class PictureFiled(Frozen):
    """A picture that waited for the hash of its checkpoint has its own file now: name and infotext changed, the pixels did not."""

    type: Literal["picture_filed"] = "picture_filed"
    picture: PictureView


class Hashing(Frozen):
    """How far the hash of a checkpoint is. The end is the end of its job (`JobChanged`)."""

    type: Literal["hashing"] = "hashing"
    job_id: str
    name: str
    """Of the checkpoint."""

    fraction: float


class Working(Frozen):
    """How far a job on model files (merging, converting) is."""

    type: Literal["working"] = "working"
    job_id: str
    fraction: float


class Described(Frozen):
    """A picture was described in words."""

    type: Literal["described"] = "described"
    job_id: str
    text: str


class ReplayDone(Frozen):
    """A picture was made again and compared."""

    type: Literal["replay"] = "replay"
    report: ReplayReport


class CatalogChanged(Frozen):
    """The list of models changed."""

    type: Literal["catalog"] = "catalog"


class UiChanged(Frozen):
    """The page itself changed (an extension was switched); reload with the draft."""

    type: Literal["ui_changed"] = "ui_changed"


class Notice(Frozen):
    """Something every page should say, until `id` is dismissed: a database set aside, an extension that failed."""

    type: Literal["notice"] = "notice"
    id: str
    level: Literal["info", "warning", "error"]
    message: str


class Snapshot(Frozen):
    """Everything a page that just opened needs. Always the first event of a stream; also `GET /api/v1/state`."""

    type: Literal["snapshot"] = "snapshot"
    boot: str
    """Changes when the server restarts."""

    jobs: tuple[JobView, ...]
    """Running and waiting jobs, then the newest ended ones."""

    waiting: tuple[str, ...]
    pictures: tuple[PictureView, ...]
    """Of the running job, or of the job that ended last."""

    progress: Progress | None
    preview: Preview | None
    notices: tuple[Notice, ...]
    hashing: Hashing | None = None
    working: Working | None = None
    replays: tuple[ReplayReport, ...] = ()
    """The last reports on those pictures."""


Event = Annotated[
    Progress | Preview | JobChanged | QueueChanged | PictureSaved | PictureFiled | Hashing | Working | Described | ReplayDone | CatalogChanged
    | UiChanged | Notice | Snapshot,
    Field(discriminator="type"),
]
EventAdapter: TypeAdapter[Event] = TypeAdapter(Event)
