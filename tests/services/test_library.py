"""The database: what is written is read back, and damage is set aside, never lost."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from webui.schema.errors import ErrorInfo, StorageError
from webui.schema.generation import ImageRef, Txt2Img
from webui.schema.job import Job, JobStatus
from webui.schema.result import PictureRecord
from webui.services.library import HashTable, Library, about


def test_a_job_comes_back_as_it_was(library: Library, job: Job) -> None:
    library.change_job(job.id, error=ErrorInfo(type="X", message="ü"), seed=2**53 - 1)
    assert library.job(job.id) == job.revise(error=ErrorInfo(type="X", message="ü"), seed=2**53 - 1)
    assert library.job("other") is None


def test_pictures_and_their_count(library: Library, job: Job) -> None:
    record = PictureRecord(id=0, job_id=job.id, key="0", path="/p.png", width=8, height=8, seed=2**40, infotext="t", created=1.5)
    saved = library.add_picture(record)
    assert library.picture(saved.id) == saved and saved.id > 0
    replaced = library.add_picture(record.revise(path="/q.png"))
    assert [row.path for row in library.pictures_of(job.id)] == ["/q.png"] and library.picture(saved.id) in (None, replaced)
    assert library.count_pictures([job.id, "other"]) == {job.id: 1}


def test_a_damaged_file_is_kept_and_named(tmp_path: Path) -> None:
    path = tmp_path / "library.db"
    path.write_bytes(b"this was a database " * 500)
    library = Library.open(path)
    assert library.set_aside is not None and library.set_aside.read_bytes().startswith(b"this was")
    assert library.jobs_with(JobStatus.QUEUED) == []
    library.close()


def test_damage_inside_is_found(tmp_path: Path, job: Job, library: Library) -> None:
    for number in range(200):
        library.add_job(job.revise(id=f"j{number}"))
    library.close()
    path = tmp_path / "library.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[8192 : 8192 + 3000] = b"\xff" * 3000
    path.write_bytes(content)
    again = Library.open(path)
    assert again.set_aside is not None
    again.close()


def test_a_newer_database_is_not_touched(tmp_path: Path) -> None:
    Library.open(tmp_path / "library.db").close()
    with sqlite3.connect(tmp_path / "library.db") as connection:
        connection.execute("UPDATE about SET version = 99")
    with pytest.raises(StorageError, match="newer Easel"):
        Library.open(tmp_path / "library.db")


def test_a_job_of_another_version_is_left_out_not_fatal(library: Library, job: Job) -> None:
    with library.begin() as connection:
        connection.execute(sa.text("UPDATE jobs SET status = 'queued', request = '{\"kind\": \"txt2vid\"}'"))
    assert library.jobs_with(JobStatus.QUEUED) == []


def test_stored_pictures_named_by_jobs(library: Library, job: Job) -> None:
    ref = ImageRef(sha256="c" * 64, width=1, height=1)
    library.add_job(job.revise(id="j2", request=Txt2Img(ext={"x": {"image": ref.model_dump()}})))
    assert library.images_named() == {"c" * 64}


def test_hash_is_good_until_the_file_changes(library: Library) -> None:
    table = HashTable(library)
    table.put("/m", 1.5, 10, "a" * 64)
    assert table.get("/m", 1.5, 10) == "a" * 64
    assert table.get("/m", 2.5, 10) is None and table.get("/m", 1.5, 11) is None
    table.put("/m", 2.5, 10, "b" * 64)
    assert table.get("/m", 2.5, 10) == "b" * 64


def test_another_database_by_url() -> None:
    library = Library("sqlite://")
    with library.begin() as connection:
        assert connection.scalar(sa.select(about.c.version)) == 1
    library.close()


def test_an_unreachable_database_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be opened"):
        Library(f"sqlite:///{tmp_path}/no/such/folder/x.db")
