"""The database: jobs, finished pictures, file hashes. SQLite in the data folder, or any database SQLAlchemy knows by URL.

Every method is one transaction and safe from any thread. It knows rows, not what they mean: order and states are the queue's business.
"""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from webui.schema.errors import ErrorInfo, StorageError
from webui.schema.job import Job, JobStatus
from webui.schema.result import PictureRecord, ReplayReport
from webui.schema.settings import PictureSettings

log = logging.getLogger(__name__)

VERSION = 1
CHECK_LIMIT = 64 * 2**20
"""Bytes up to which a database is checked page by page at start (a few ms); a larger one only when a query fails."""

metadata = sa.MetaData()
jobs = sa.Table(
    "jobs", metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("lane", sa.String(32), nullable=False),
    sa.Column("status", sa.String(16), nullable=False, index=True),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("settings", sa.Text, nullable=False),
    sa.Column("repeat", sa.Boolean, nullable=False),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("position", sa.Float, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("started", sa.Float),
    sa.Column("ended", sa.Float, index=True),
    sa.Column("error", sa.Text),
    sa.Column("seed", sa.BigInteger),
)
pictures = sa.Table(
    "pictures", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("job_id", sa.ForeignKey("jobs.id"), nullable=False, index=True),
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("infotext", sa.Text, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("partial", sa.Boolean, nullable=False),
    sa.UniqueConstraint("job_id", "key"),
    sqlite_autoincrement=True,  # an id is never given twice: browsers keep what they got for it
)
drafts = sa.Table(
    "drafts", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("picture_id", sa.ForeignKey("pictures.id"), index=True),
    sa.Column("checkpoint", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sheet", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)


def _hash_table(name: str) -> sa.Table:
    return sa.Table(
        name, metadata,
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("mtime", sa.Float, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
    )


hashes = _hash_table("hashes")
content_hashes = _hash_table("content_hashes")
replays = sa.Table(
    "replays", metadata,
    sa.Column("picture_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("report", sa.Text, nullable=False),
)
about = sa.Table("about", metadata, sa.Column("version", sa.Integer, nullable=False))


@dataclass(frozen=True)
class Draft:
    """Pixels in a file of Easel's own that become a file of the outputs once the hash of a checkpoint is known. `sheet` is JSON."""

    path: str
    checkpoint: str
    """Its name."""

    sheet: str
    id: int = 0
    picture_id: int | None = None
    """None for a grid, which is no row of the library."""


class Library:
    """Rows in, rows out. `set_aside` names the damaged database that was moved away when this one was opened, if any."""

    def __init__(self, url: str) -> None:
        self.set_aside: Path | None = None
        self._engine = sa.create_engine(url)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _configure_sqlite)
        self._prepare(url)

    @classmethod
    def open(cls, path: Path) -> Library:
        """Open or make the SQLite file. A damaged one is moved aside, kept, and named in `set_aside`. Raises `StorageError`."""
        moved = _move_damaged(path)
        library = cls(f"sqlite:///{path}")
        library.set_aside = moved
        return library

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _prepare(self, url: str) -> None:
        try:
            with self._engine.begin() as connection:
                metadata.create_all(connection)
                version = connection.scalar(sa.select(about.c.version))
                if version is None:
                    connection.execute(about.insert().values(version=VERSION))
        except SQLAlchemyError as error:
            raise StorageError(f"The database {_without_password(url)} cannot be opened: {_reason(error)}.") from error
        if version is not None and version > VERSION:
            raise StorageError(
                f"The database {_without_password(url)} was written by a newer Easel (format {version}, this one knows {VERSION}).",
                hint="Start the newer Easel, or choose another --data-dir.",
            )

    # Jobs

    def add_job(self, job: Job) -> None:
        """Write a new job. Raises `StorageError`."""
        self._execute(jobs.insert().values(**_job_row(job)))

    def job(self, job_id: str) -> Job | None:
        """The job, or None."""
        rows = self._select(sa.select(jobs).where(jobs.c.id == job_id))
        return _job(rows[0]) if rows else None

    def jobs_with(self, *statuses: JobStatus) -> list[Job]:
        """All jobs in one of these states, by position."""
        return _readable(self._select(sa.select(jobs).where(jobs.c.status.in_(statuses)).order_by(jobs.c.position, jobs.c.created)))

    def last_ended(self, count: int) -> list[Job]:
        """The newest ended jobs, newest first."""
        return _readable(self._select(sa.select(jobs).where(jobs.c.ended.is_not(None)).order_by(jobs.c.ended.desc()).limit(count)))

    def change_job(self, job_id: str, **values: Any) -> None:
        """Change columns of a job."""
        if isinstance(values.get("error"), ErrorInfo):
            values["error"] = values["error"].model_dump_json()
        self._execute(jobs.update().where(jobs.c.id == job_id).values(**values))

    def move_jobs(self, positions: dict[str, float]) -> None:
        """Set the positions of waiting jobs, all or none."""
        with self.begin() as connection:
            for job_id, position in positions.items():
                connection.execute(jobs.update().where(jobs.c.id == job_id).values(position=position))

    def images_named(self) -> set[str]:
        """The sha256 of every stored picture that some job's request names."""
        rows = self._select(sa.select(jobs.c.request).where(jobs.c.request.contains('"sha256"')))
        return {name for row in rows for name in re.findall(r'"sha256":\s*"([0-9a-f]{64})"', row.request)}

    # Pictures

    def add_picture(self, record: PictureRecord, *drafts_of: Draft) -> PictureRecord:
        """Write a finished picture (its `id` is ignored) and return it with its id; an older row of the same (job, key) is replaced. With a draft the
        picture is pending; of several the last is its own, those before are of companions without a row."""
        values = record.model_dump(exclude={"id", "pending"})
        same = pictures.c.job_id == record.job_id, pictures.c.key == record.key
        with self.begin() as connection:
            connection.execute(drafts.delete().where(drafts.c.picture_id.in_(sa.select(pictures.c.id).where(*same))))
            connection.execute(pictures.delete().where(*same))
            key = connection.execute(pictures.insert().values(**values)).inserted_primary_key
            record = record.revise(id=key[0] if key else 0, pending=bool(drafts_of))
            for draft in drafts_of:
                owner = record.id if draft is drafts_of[-1] else None
                connection.execute(drafts.insert().values(picture_id=owner, checkpoint=draft.checkpoint, path=draft.path, sheet=draft.sheet))
        return record

    def picture(self, picture_id: int) -> PictureRecord | None:
        """The picture, or None."""
        rows = self._select(_PICTURES.where(pictures.c.id == picture_id))
        return _picture(rows[0]) if rows else None

    def pictures_of(self, job_id: str, child: str = "") -> list[PictureRecord]:
        """The pictures of a job, or of one of its children, in the order they were finished."""
        mine = pictures.c.job_id == job_id, pictures.c.key.startswith(f"{child}/" if child else "", autoescape=True)
        return [_picture(row) for row in self._select(_PICTURES.where(*mine).order_by(pictures.c.id))]

    def count_pictures(self, job_ids: Sequence[str]) -> dict[str, int]:
        """Finished pictures of each job."""
        query = sa.select(pictures.c.job_id, sa.func.count()).where(pictures.c.job_id.in_(job_ids)).group_by(pictures.c.job_id)
        with self.begin() as connection:
            return dict(connection.execute(query).all())

    # Drafts

    def add_draft(self, draft: Draft) -> None:
        """Write a draft that belongs to no row of the library."""
        self._execute(drafts.insert().values(checkpoint=draft.checkpoint, path=draft.path, sheet=draft.sheet))

    def drafts(self, checkpoint: str | None = None) -> list[Draft]:
        """The drafts in the order they were made: all, or those that wait for this checkpoint."""
        query = sa.select(drafts).order_by(drafts.c.id)
        rows = self._select(query if checkpoint is None else query.where(drafts.c.checkpoint == checkpoint))
        return [Draft(**row._mapping) for row in rows]

    def finish_draft(self, draft: Draft, path: str, infotext: str) -> PictureRecord | None:
        """The draft has become a file: forget it, and give its picture (returned, if there is one) path and infotext. All or nothing."""
        with self.begin() as connection:
            known = connection.execute(drafts.delete().where(drafts.c.id == draft.id)).rowcount
            if known and draft.picture_id is not None:
                connection.execute(pictures.update().where(pictures.c.id == draft.picture_id).values(path=path, infotext=infotext))
        return self.picture(draft.picture_id) if known and draft.picture_id is not None else None

    def drop_draft(self, draft: Draft) -> None:
        """Forget a draft whose pixels are gone."""
        self._execute(drafts.delete().where(drafts.c.id == draft.id))

    # Replays

    def put_replay(self, report: ReplayReport) -> None:
        """Keep how a picture made again compares; it takes the place of an older report."""
        with self.begin() as connection:
            connection.execute(replays.delete().where(replays.c.picture_id == report.picture_id))
            connection.execute(replays.insert().values(picture_id=report.picture_id, report=report.model_dump_json()))

    def replay(self, picture_id: int) -> ReplayReport | None:
        """The last report of a picture, or None."""
        return next(iter(self.replays(picture_id)), None)

    def replays(self, *picture_ids: int) -> list[ReplayReport]:
        """The last reports of these pictures, those that have one."""
        rows = self._select(sa.select(replays.c.report).where(replays.c.picture_id.in_(picture_ids)))
        return [ReplayReport.model_validate_json(row.report) for row in rows]

    # Plumbing

    def begin(self) -> Transaction:
        """A transaction: a connection whose errors become `StorageError`."""
        return Transaction(self._engine)

    def _execute(self, statement: sa.Executable) -> None:
        with self.begin() as connection:
            connection.execute(statement)

    def _select(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        with self.begin() as connection:
            return connection.execute(query).all()


class HashTable:
    """The sha256 of files for `backend.hashing`: good as long as time and size of the file stay the same. `content_hashes` has those
    of files without their header."""

    def __init__(self, library: Library, table: sa.Table = hashes) -> None:
        self._library = library
        self._table = table

    def get(self, path: str, mtime: float, size: int) -> str | None:
        """The sha256 of a file that has not changed since it was computed."""
        known = self._table.c
        query = sa.select(known.sha256).where(known.path == path, known.mtime == mtime, known.size == size)
        with self._library.begin() as connection:
            return connection.scalar(query)

    def put(self, path: str, mtime: float, size: int, sha256: str) -> None:
        """Keep a computed sha256."""
        with self._library.begin() as connection:
            connection.execute(self._table.delete().where(self._table.c.path == path))
            connection.execute(self._table.insert().values(path=path, mtime=mtime, size=size, sha256=sha256))


class Transaction:
    """`engine.begin()` whose database errors become `StorageError`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._context = engine.begin()

    def __enter__(self) -> sa.Connection:
        try:
            return self._context.__enter__()
        except SQLAlchemyError as error:
            raise _storage_error(error) from error

    def __exit__(self, *details: Any) -> None:
        try:
            self._context.__exit__(*details)
        except SQLAlchemyError as error:
            raise _storage_error(error) from error
        if isinstance(details[1], SQLAlchemyError):
            raise _storage_error(details[1]) from details[1]


def _storage_error(error: SQLAlchemyError) -> StorageError:
    return StorageError(
        f"The database cannot be read or written: {_reason(error)}.",
        hint="Is the disk full or the data folder read-only? A damaged database is set aside at the next start.",
    )


def _reason(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).split("\n")[0]


def _without_password(url: str) -> str:
    return sa.make_url(url).render_as_string(hide_password=True)


def _configure_sqlite(connection: Any, record: object) -> None:
    # WAL: readers never wait for the writer. FULL: a commit survives a power cut, not only a killed process.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _move_damaged(path: Path) -> Path | None:
    if not path.exists() or _is_sound(path):
        return None
    target = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        for suffix in ("", "-wal", "-shm"):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(target.with_name(target.name + suffix))
    except OSError as error:
        raise StorageError(f"The database {path} is damaged and cannot be moved aside: {error.strerror or error}.") from error
    log.error("the database %s is damaged; it was kept as %s and a new one begun", path, target.name)
    return target


def _is_sound(path: Path) -> bool:
    try:
        connection = sqlite3.connect(path, timeout=10)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if path.stat().st_size <= CHECK_LIMIT:
                return connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
            return True
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        raise StorageError(f"The database {path} cannot be opened: {error}.") from error
    except sqlite3.DatabaseError:
        return False


def _job_row(job: Job) -> dict[str, Any]:
    row = job.model_dump(exclude={"request", "settings", "error"})
    row["request"], row["settings"] = job.request.model_dump_json(), job.settings.model_dump_json()
    row["error"] = job.error.model_dump_json() if job.error else None
    return row


def _readable(rows: Sequence[sa.Row[Any]]) -> list[Job]:
    """The jobs this Easel understands. A row of another version that it does not stays in the database and is left out."""
    found = []
    for row in rows:
        try:
            found.append(_job(row))
        except ValidationError as error:
            log.warning("job %s was written by another version and cannot be shown: %s", row.id, error.errors()[0]["msg"])
    return found


def _job(row: sa.Row[Any]) -> Job:
    values = dict(row._mapping)
    for name in ("request", "settings", "error"):
        values[name] = json.loads(values[name]) if values[name] else None
    known = PictureSettings.model_fields  # a settings key of an older Easel is not an error
    values["settings"] = {key: value for key, value in values["settings"].items() if key in known}
    return Job.model_validate(values)


_PICTURES = sa.select(pictures, sa.exists().where(drafts.c.picture_id == pictures.c.id).label("pending"))


def _picture(row: sa.Row[Any]) -> PictureRecord:
    return PictureRecord.model_validate(dict(row._mapping))
