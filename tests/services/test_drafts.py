"""Pictures whose checkpoint has no known hash yet: shown at once, filed when the hash is there, never lost."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.backend.conftest import Hashes
from tests.services.conftest import CHECKPOINT, PaintEngine, Recorder
from webui.backend import catalog as catalogs
from webui.backend.catalog import Catalog
from webui.backend.network_files import NetworkFiles
from webui.engine.cancel import CancelToken
from webui.engine.plan import make_plan
from webui.engine.tools import Companion, Picture
from webui.schema.errors import Cancelled, WebuiError
from webui.schema.event import Hashing, JobChanged, Notice, PictureFiled, PictureSaved
from webui.schema.generation import HashCheckpoint, Txt2Img
from webui.schema.job import Job, JobStatus
from webui.schema.result import PictureRecord
from webui.schema.settings import MachineSettings, PictureSettings
from webui.services import outputs as module
from webui.services.hashing import Hasher
from webui.services.library import Library
from webui.services.model_work import ModelWorkshop
from webui.services.outputs import Outputs, Waiting
from webui.services.queue import JobQueue
from webui.services.run import JobRun
from webui.services.sheets import Saving
from webui.services.worker import FileExecutor, Worker


def workshop(catalog: Catalog) -> ModelWorkshop:
    """Nothing is merged here."""
    return ModelWorkshop(catalog, NetworkFiles({}, Hashes(), Hashes()))


HASH = "0123456789abcdef" * 4


class Desk:
    """Outputs whose hash comes when the test says so."""

    def __init__(self, folder: Path, library: Library, events: Recorder) -> None:
        self.folder, self.library, self.events = folder, library, events
        self.hash: str | None = None
        self.asked: list[str] = []
        self.outputs = self.open()

    def open(self, hashing: bool = True) -> Outputs:
        """As after a start of the server."""
        waiting = Waiting(self.folder / "drafts", lambda checkpoint: self.asked.append(checkpoint.name)) if hashing else None
        self.outputs = Outputs(
            self.folder / "outputs", self.folder / "unsaved", self.library, lambda checkpoint: self.hash, waiting=waiting, emit=self.events.publish,
        )
        return self.outputs

    def save(self, saving: Saving) -> PictureRecord:
        """Save and wait."""
        return self.outputs.save(saving, lambda record: None).result(10)

    def drafts(self) -> list[str]:
        """Names in the folder of drafts."""
        return sorted(os.listdir(self.folder / "drafts"))


@pytest.fixture
def desk(tmp_path: Path, library: Library, events: Recorder) -> Desk:
    """A desk in the test's folder."""
    return Desk(tmp_path, library, events)


@pytest.fixture
def saving(job: Job, engine: PaintEngine) -> Saving:
    """The first picture of the job."""
    assert isinstance(job.request, Txt2Img)
    plan = make_plan(job.request, CHECKPOINT.revise(sha256=None), engine.registries)
    return Saving(job, "0", Picture(Image.effect_noise((64, 64), 90).convert("RGB"), plan, 0))


def texts(path: str) -> dict[str, str]:
    """The texts of a PNG."""
    with Image.open(path) as image:
        image.load()
        return dict(image.text)  # type: ignore[attr-defined]


def with_settings(saving: Saving, **changes: object) -> Saving:
    """The same picture of a job with other settings."""
    return Saving(saving.job.revise(settings=saving.job.settings.revise(**changes)), saving.key, saving.picture)


def test_a_picture_is_there_before_the_hash_and_filed_after_it(desk: Desk, saving: Saving, library: Library, events: Recorder) -> None:
    record = desk.save(with_settings(saving, samples_filename_pattern="[model_hash]-[seed]"))
    assert record.pending and desk.asked == [CHECKPOINT.name] and not (desk.folder / "outputs").exists()
    assert "Model hash" not in record.infotext and texts(record.path)["parameters"] == record.infotext
    assert json.loads(texts(record.path)["easel"])["request"]["seed"] == 10
    assert library.picture(record.id) == record
    desk.hash = HASH
    desk.outputs.finish("another model").result(10)
    assert library.picture(record.id) == record
    desk.outputs.finish(CHECKPOINT.name).result(10)
    filed = library.picture(record.id)
    assert filed and not filed.pending and Path(filed.path).name == "00000-0123456789-10.png"
    assert "Model hash: 0123456789, Model: some model" in filed.infotext and texts(filed.path)["parameters"] == filed.infotext
    with Image.open(filed.path) as image:
        assert image.tobytes() == saving.picture.image.tobytes()
    assert [event.picture.id for event in events if isinstance(event, PictureFiled)] == [record.id]
    assert desk.save(Saving(saving.job, "1", saving.picture)).pending is False
    desk.outputs.close()
    assert desk.drafts() == [] and library.drafts() == []


def test_a_filed_picture_is_the_same_file_as_one_that_never_waited(desk: Desk, saving: Saving) -> None:
    waited = desk.save(saving)
    desk.hash = HASH
    desk.outputs.finish(CHECKPOINT.name).result(10)
    filed = desk.library.picture(waited.id)
    direct = desk.save(saving)
    assert filed and Path(filed.path).read_bytes() == Path(direct.path).read_bytes()


@pytest.mark.parametrize("form", ["jpg", "webp"])
def test_the_draft_loses_nothing_before_another_format_does(desk: Desk, saving: Saving, form: str) -> None:
    waiting = with_settings(saving, samples_format=form, save_txt=True)
    waited = desk.save(waiting)
    desk.hash = HASH
    desk.outputs.finish(CHECKPOINT.name).result(10)
    filed = desk.library.picture(waited.id)
    direct = desk.save(waiting)
    assert filed and filed.path.endswith(form) and Path(filed.path).read_bytes() == Path(direct.path).read_bytes()
    assert "Model hash" in Path(filed.path).with_suffix(".txt").read_text(encoding="utf-8")


def test_a_hash_that_cannot_be_had_is_left_out(desk: Desk, saving: Saving, library: Library) -> None:
    record = desk.save(with_settings(saving, samples_filename_pattern="[model_hash][seed]"))
    desk.outputs.finish(CHECKPOINT.name).result(10)
    filed = library.picture(record.id)
    assert filed and not filed.pending and "Model hash" not in filed.infotext and Path(filed.path).name == "00000-10.png"


@pytest.mark.parametrize(
    ("changes", "waits"),
    [({"add_model_hash_to_info": False}, False), ({"add_model_hash_to_info": False, "samples_filename_pattern": "[Model_Hash]"}, True)],
)
def test_only_who_needs_the_hash_waits(desk: Desk, saving: Saving, changes: dict[str, object], waits: bool) -> None:
    assert desk.save(with_settings(saving, **changes)).pending == waits


def test_the_next_start_goes_on(desk: Desk, saving: Saving, library: Library) -> None:
    record = desk.save(saving)
    (desk.folder / "drafts" / "stray.png").write_bytes(b"never announced")
    desk.asked.clear()
    desk.open().resume().result(10)
    assert desk.asked == [CHECKPOINT.name] and library.picture(record.id) == record
    assert desk.drafts() == [Path(record.path).name]
    desk.hash = HASH
    desk.open().resume().result(10)
    filed = library.picture(record.id)
    assert filed and not filed.pending and "Model hash" in filed.infotext


def test_the_next_start_without_hashing_writes_what_waited(desk: Desk, saving: Saving, library: Library) -> None:
    record = desk.save(saving)
    desk.open(hashing=False).resume().result(10)
    filed = library.picture(record.id)
    assert filed and not filed.pending and "Model hash" not in filed.infotext


def test_a_full_disk_keeps_the_draft_and_says_so(
    desk: Desk, saving: Saving, library: Library, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = desk.save(saving)
    desk.hash = HASH

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", full)
        desk.outputs.finish(CHECKPOINT.name).result(10)
    assert library.picture(record.id) == record and Path(record.path).is_file()
    notice = next(event for event in events if isinstance(event, Notice))
    assert record.path in notice.message and "No space left" in notice.message
    desk.open().resume().result(10)
    filed = library.picture(record.id)
    assert filed and not filed.pending


def test_a_draft_that_somebody_deleted_is_forgotten(desk: Desk, saving: Saving, library: Library) -> None:
    record = desk.save(saving)
    Path(record.path).unlink()
    desk.outputs.finish(CHECKPOINT.name).result(10)
    assert library.drafts() == []


def test_a_picture_made_again_replaces_its_draft(desk: Desk, saving: Saving, library: Library) -> None:
    first, second = desk.save(saving), desk.save(saving)
    assert [row.id for row in library.pictures_of(saving.job.id)] == [second.id] and first.id != second.id
    assert [draft.picture_id for draft in library.drafts()] == [second.id]


def test_sheets_of_another_version(desk: Desk, saving: Saving, library: Library, events: Recorder) -> None:
    record = desk.save(saving)
    draft = library.drafts()[0]
    values = json.loads(draft.sheet)
    values["settings"]["of_another_version"] = 1
    assert module.Sheet.read(json.dumps(values)).with_hash(HASH) == module.Sheet.read(draft.sheet).with_hash(HASH)
    with library.begin() as connection:
        connection.exec_driver_sql("UPDATE drafts SET sheet = json_set(sheet, '$.more', 1)")
    desk.open().resume().result(10)
    assert library.picture(record.id) == record and Path(record.path).is_file()
    assert "Another version" in next(event for event in events if isinstance(event, Notice)).message


def test_a_grid_waits_too(desk: Desk, saving: Saving) -> None:
    records = [desk.save(Saving(saving.job, str(number), saving.picture)) for number in range(2)]
    assert desk.outputs.save_grid(saving, records).result(10) is None
    desk.hash = HASH
    desk.outputs.finish(CHECKPOINT.name).result(10)
    (grid,) = (desk.folder / "outputs" / "txt2img-grids").rglob("grid-0000.png")
    assert "Model hash: 0123456789" in texts(str(grid))["parameters"]
    assert desk.outputs.save_grid(saving, records).result(10)  # these records are from before: their drafts are files now


def test_the_copy_before_hires_waits_with_its_picture(desk: Desk, saving: Saving) -> None:
    before = Image.effect_noise((32, 32), 40).convert("RGB")
    record = desk.save(Saving(saving.job, "0", replace(saving.picture, companions=(Companion("before-highres-fix", before),))))
    assert record.pending and len(desk.drafts()) == 2 and not (desk.folder / "outputs").exists()
    desk.open().resume().result(10)
    assert len(desk.drafts()) == 2  # neither is a stray
    desk.hash = HASH
    desk.open().resume().result(10)
    copy, picture = sorted((desk.folder / "outputs").rglob("*.png"))
    assert (copy.name, picture.name) == ("00000-10-before-highres-fix.png", "00001-10.png")
    assert all("Model hash: 0123456789" in texts(str(path))["parameters"] for path in (copy, picture))
    with Image.open(copy) as image:
        assert image.tobytes() == before.tobytes()
    assert [draft.picture_id for draft in desk.library.drafts()] == []


def test_a_mask_that_is_shown_waits_with_its_picture(desk: Desk, saving: Saving) -> None:
    mask = Companion("mask-composite", Image.new("RGBA", (32, 32), (0, 0, 255, 90)), shown=True)
    desk.save(Saving(saving.job, "0", replace(saving.picture, companions=(mask,))))
    assert [(row.key, row.pending) for row in desk.library.pictures_of(saving.job.id)] == [("0", True), ("0.mask-composite", True)]
    desk.hash = HASH
    desk.open().resume().result(10)
    rows = desk.library.pictures_of(saving.job.id)
    assert not any(row.pending for row in rows) and "Model hash: 0123456789" in texts(rows[1].path)["parameters"]
    with Image.open(rows[1].path) as image:
        assert image.getpixel((1, 1)) == (0, 0, 255, 90)


def test_what_is_kept_before_its_hash_is_known_waits_like_any_picture(desk: Desk, saving: Saving) -> None:
    aside = desk.outputs.set_aside(saving, desk.folder / "aside")
    record = desk.outputs.keep(aside, lambda record: None).result(10)
    assert record.pending and desk.asked == [CHECKPOINT.name]
    desk.hash = HASH
    desk.outputs.finish(CHECKPOINT.name).result(10)
    filed = desk.library.picture(record.id)
    assert filed and not filed.pending and "Model hash: 0123456789" in filed.infotext
    late = desk.outputs.keep(aside.revise(record=aside.record.revise(key="1")), lambda record: None).result(10)  # known by now
    assert not late.pending and late.infotext == filed.infotext


@pytest.fixture
def slow(tmp_path: Path, fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A checkpoint whose hash takes until the event is set."""
    released = threading.Event()
    real = catalogs.hash_file

    def hash_file(path: str, size: int, progress: Callable[[float], None] | None) -> str:
        assert progress is not None
        while not released.wait(0.01):
            progress(0.5)
        return real(path, size, progress)

    monkeypatch.setattr(catalogs, "hash_file", hash_file)
    shapes = {
        "model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3), "first_stage_model.decoder.conv_in.weight": (4, 4, 3, 3),
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (10, 4),
    }
    fake(tmp_path / "models" / "big.safetensors", shapes)
    return released


def test_a_slow_hash_holds_up_neither_pictures_nor_jobs(
    tmp_path: Path, library: Library, events: Recorder, queue: JobQueue, slow: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog([tmp_path / "models"], Hashes())
    monkeypatch.setattr("tests.services.conftest.CHECKPOINT", catalog.get("big"))
    hasher = Hasher(catalog, queue)
    outputs = Outputs(
        tmp_path / "outputs", tmp_path / "unsaved", library, hasher.known, waiting=Waiting(tmp_path / "drafts", hasher.ask), emit=events.publish,
    )
    worker = Worker("cpu", queue, FileExecutor(catalog, outputs.finish, workshop(catalog)), events.publish)
    worker.start()
    for seed in (1, 2, 3):
        job = queue.put(Txt2Img(prompt="x", width=64, height=64, steps=2, seed=seed), PictureSettings())
        run = JobRun(job, PaintEngine(), outputs, library, events.publish, CancelToken(), MachineSettings())
        assert isinstance(job.request, Txt2Img)
        run.generate(job.request)  # would never end if it waited: the hash is held
    assert [event.picture.pending for event in events if isinstance(event, PictureSaved)] == [True] * 3
    report = events.wait_for(lambda event: isinstance(event, Hashing))
    assert isinstance(report, Hashing) and (report.name, report.fraction) == ("big.safetensors", 0.5)
    assert not any(isinstance(event, PictureFiled) for event in events)
    slow.set()
    events.wait_for(lambda event: isinstance(event, PictureFiled) and event.picture.seed == 3)
    events.wait_for(lambda event: isinstance(event, JobChanged) and event.job.kind == "hash" and event.job.status is JobStatus.DONE)
    assert sum(isinstance(event, JobChanged) and event.job.kind == "hash" and event.job.status is JobStatus.QUEUED for event in events) == 1
    queue.close()
    worker.close()
    outputs.close()
    assert len(list((tmp_path / "outputs").rglob("*.png"))) == 3


def test_the_hashing_job_tells_its_end(tmp_path: Path, slow: threading.Event, job: Job) -> None:
    told: list[str] = []
    catalog = Catalog([tmp_path / "models"], Hashes())
    executor = FileExecutor(catalog, told.append, workshop(catalog))
    hashing = job.revise(lane="cpu", request=HashCheckpoint(checkpoint="big.safetensors"))
    token = CancelToken()
    token.interrupt()
    with pytest.raises(Cancelled):
        executor.run(hashing, lambda event: None, token)
    assert told == []  # it will be asked for again; the pictures wait
    slow.set()
    executor.run(hashing, lambda event: None, CancelToken())
    with pytest.raises(WebuiError):
        executor.run(job.revise(request=HashCheckpoint(checkpoint="gone")), lambda event: None, CancelToken())
    assert told == ["big.safetensors", "gone"]


def test_asking_again_puts_one_job(tmp_path: Path, slow: threading.Event, queue: JobQueue) -> None:
    slow.set()
    catalog = Catalog([tmp_path / "models"], Hashes())
    checkpoint = catalog.get("big")
    hasher = Hasher(catalog, queue)
    hasher.ask(checkpoint)
    hasher.ask(checkpoint)
    assert len(queue.waiting("cpu")) == 1
    assert queue.claim("cpu", 1)
    hasher.ask(checkpoint)
    assert queue.waiting("cpu") == []
    catalog.sha256(checkpoint, lambda done: None)
    off = Hasher(catalog, queue, enabled=False)
    assert hasher.known(checkpoint) and off.known(checkpoint) is None
    other = checkpoint.revise(name="other", mtime=1.0)
    off.ask(other)
    assert queue.waiting("cpu") == []
