"""What a job gives."""

from __future__ import annotations

from webui.schema.base import Frozen


class PictureRecord(Frozen):
    """One finished picture: a row of the library, written after its file is safely on disk."""

    id: int
    job_id: str
    key: str
    """Name of the child within the job (`0`, `1`, … or what the script chose); (job, key) is unique."""

    path: str
    """Path of the file, for the server's own use; pages get `url`."""

    width: int
    height: int
    seed: int
    infotext: str
    created: float
    partial: bool = False
    """True when it was interrupted or skipped: what the picture looked like at that step."""

    pending: bool = False
    """True while it lies in a draft of Easel's own, because the hash of its checkpoint is still being computed; then its file is written."""

    @property
    def url(self) -> str:
        """Where a page finds it."""
        return f"/api/v1/pictures/{self.id}"


class Caption(Frozen):
    """A text above a column or beside a row of a grid."""

    text: str
    active: bool = True
    """False: in the fainter colour and struck out, as the prompt matrix shows a part that is left out."""


class ReplayReport(Frozen):
    """How a picture that was made again compares with its file."""

    picture_id: int
    job_id: str
    identical: bool
    max_difference: int
    """Largest difference of any channel, 0 to 255."""

    differing: float
    """Share of the pixels that differ at all, 0 to 1."""

    unmatched: tuple[str, ...]
    """What could not be as it was then, one sentence each."""

    created: float
    kept: int | None = None
    """Number of the picture in the library that it became; None = nobody has kept it."""


class PictureView(Frozen):
    """A picture as pages see it."""

    id: int
    job_id: str
    key: str
    url: str
    name: str
    width: int
    height: int
    seed: int
    infotext: str
    partial: bool
    pending: bool

    @classmethod
    def of(cls, record: PictureRecord) -> PictureView:
        """The page's view of a row."""
        name = record.path.replace("\\", "/").rsplit("/", 1)[-1]
        return cls(
            id=record.id, job_id=record.job_id, key=record.key, url=record.url, name=name, width=record.width,
            height=record.height, seed=record.seed, infotext=record.infotext, partial=record.partial, pending=record.pending,
        )
