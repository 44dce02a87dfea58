"""Names, numbers and safety of saved files."""

from __future__ import annotations

import csv
import errno
import os
from pathlib import Path

import pytest
from PIL import Image

from tests.services.conftest import CHECKPOINT, PaintEngine
from webui.engine.plan import make_plan
from webui.engine.tools import Picture
from webui.schema.errors import StorageError
from webui.schema.job import Job
from webui.schema.result import PictureRecord
from webui.services import outputs as module
from webui.services.library import Library
from webui.services.outputs import Outputs, Saving, copy_to_log, next_number


@pytest.fixture
def saving(job: Job, engine: PaintEngine) -> Saving:
    """One small picture of the job."""
    plan = make_plan(job.request, CHECKPOINT, engine.registries)  # type: ignore[arg-type]
    return Saving(job, "0", Picture(Image.new("RGB", (64, 64), "red"), plan, 0))


def save(outputs: Outputs, saving: Saving) -> PictureRecord:
    """Save and wait."""
    return outputs.save(saving, lambda record: None).result(10)


def test_numbering_goes_on_after_the_largest(outputs: Outputs, saving: Saving, tmp_path: Path) -> None:
    first = Path(save(outputs, saving).path)
    assert first.name == "00000-10.png" and first.parent.parent.name == "txt2img-images"
    (first.parent / "00041-5.png").touch()
    fresh = Outputs(tmp_path / "outputs", tmp_path / "unsaved", outputs._library, lambda checkpoint: None)
    assert Path(save(fresh, saving).path).name == "00042-10.png"
    fresh.close()


@pytest.mark.parametrize(("names", "expected"), [([], 0), (["00003-1.png", "notes.txt"], 4), (["12-x.png", "7.png"], 13), ([".5.tmp"], 0)])
def test_next_number(tmp_path: Path, names: list[str], expected: int) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert next_number(tmp_path) == expected


def test_nothing_is_overwritten(outputs: Outputs, saving: Saving) -> None:
    first = Path(save(outputs, saving).path)
    taken = first.parent / "00001-10.png"
    taken.write_bytes(b"mine")
    assert Path(save(outputs, saving).path).name == "00002-10.png"
    assert taken.read_bytes() == b"mine"


def test_works_where_files_cannot_be_linked(outputs: Outputs, saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: object, target: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    first, second = save(outputs, saving), save(outputs, saving)
    assert Path(first.path).is_file() and Path(second.path).name == "00001-10.png"


def test_a_full_disk_leaves_no_half_file(outputs: Outputs, saving: Saving, monkeypatch: pytest.MonkeyPatch, library: Library) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(StorageError) as caught:
        save(outputs, saving)
    assert caught.value.hint == "Free some space."
    assert not [path for path in outputs.folder.rglob("*") if path.is_file()]
    assert library.pictures_of("job1") == []


def test_metadata_can_be_switched_off(outputs: Outputs, saving: Saving, job: Job) -> None:
    bare = job.settings.revise(enable_pnginfo=False, easel_request_in_png=False)
    record = save(outputs, Saving(job.revise(settings=bare), "0", saving.picture))
    with Image.open(record.path) as image:
        assert image.text == {}  # type: ignore[attr-defined]


def test_save_button_copies_and_logs(outputs: Outputs, saving: Saving, tmp_path: Path) -> None:
    record = save(outputs, saving)
    target = copy_to_log(record, tmp_path / "log")
    assert target.read_bytes() == Path(record.path).read_bytes()
    assert copy_to_log(record, tmp_path / "log") == target
    with open(tmp_path / "log" / "log.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["filename"] for row in rows] == [target.name, target.name] and rows[0]["infotext"] == record.infotext
