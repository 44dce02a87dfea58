"""A picture made again: the recorded batch is run, the one picture compared, nothing saved."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.services.conftest import CHECKPOINT, PaintEngine, Recorder
from tests.services.test_metadata import KNOWN
from webui import __version__
from webui.engine.cancel import CancelToken
from webui.schema.errors import Cancelled, ConflictError, NotFoundError, RequestError
from webui.schema.event import PictureSaved, Progress, ReplayDone
from webui.schema.generation import Txt2Img
from webui.schema.job import Job
from webui.schema.metadata import Metadata
from webui.schema.request import Replay
from webui.schema.result import PictureRecord
from webui.schema.settings import MachineSettings
from webui.services.infotext.files import read_metadata
from webui.services.library import Library
from webui.services.outputs import Outputs
from webui.services.replay import Replays, difference, plan_replay
from webui.services.run import JobRun


@pytest.fixture
def run(job: Job, engine: PaintEngine, outputs: Outputs, library: Library, events: Recorder, token: CancelToken) -> JobRun:
    """A run of the fixture's job: two batches of two, seeds 10 to 13."""
    return JobRun(job, engine, outputs, library, events.publish, token, MachineSettings())


@pytest.fixture
def records(run: JobRun, job: Job) -> list[PictureRecord]:
    """Its four pictures."""
    assert isinstance(job.request, Txt2Img)
    return run.generate(job.request.revise(checkpoint=CHECKPOINT.name))


@pytest.fixture
def replays(tmp_path: Path, library: Library, outputs: Outputs, events: Recorder) -> Replays:
    """What makes pictures again."""
    return Replays(tmp_path / "replays", library, outputs, events.publish)


def read(record: PictureRecord) -> Metadata:
    """What the file says."""
    return read_metadata(Path(record.path).read_bytes(), KNOWN)


def test_the_recorded_batch_is_run_and_found_identical(
    run: JobRun, records: list[PictureRecord], engine: PaintEngine, library: Library, events: Recorder, replays: Replays
) -> None:
    engine.made.clear()
    events.clear()
    replay = plan_replay(records[3], read(records[3]))
    assert (replay.index, replay.request.batch_size, replay.unmatched) == (3, 2, ())
    fresh = JobRun(run.job, engine, run._outputs, library, events.publish, CancelToken(), MachineSettings())
    report = replays.run(fresh, replay)
    assert engine.made == [12, 13]  # its batch, not the other one
    assert (report.identical, report.max_difference, report.differing, report.unmatched) == (True, 0, 0.0, ())
    assert library.replay(records[3].id) == report and [event.report for event in events if isinstance(event, ReplayDone)] == [report]
    assert len(library.pictures_of(run.job.id)) == 4
    fractions = [event.fraction for event in events if isinstance(event, Progress)]
    assert max(fractions) == 1.0 and fractions[0] < 0.7


def test_a_changed_picture_is_measured(run: JobRun, records: list[PictureRecord], replays: Replays) -> None:
    path = Path(records[0].path)
    replay = plan_replay(records[0], read(records[0]))
    with Image.open(path) as file:
        image = file.convert("RGB")
    red, green, blue = image.getpixel((0, 0))  # pyright: ignore[reportGeneralTypeIssues]
    image.putpixel((5, 6), (red, green ^ 4, blue))
    image.save(path)
    report = replays.run(run, replay)
    assert (report.identical, report.max_difference, report.differing) == (False, 4, pytest.approx(1 / 4096))


def test_differences_are_of_any_channel_and_sizes_count() -> None:
    one = Image.new("RGB", (4, 4), (10, 20, 30))
    other = one.copy()
    other.putpixel((0, 0), (10, 20, 31))
    other.putpixel((1, 0), (0, 20, 30))
    assert difference(one, one.copy()) == (0, 0.0)
    assert difference(one, other) == (10, 2 / 16)
    assert difference(one, Image.new("RGB", (4, 5))) == (255, 1.0)


def test_what_cannot_be_matched_is_listed(records: list[PictureRecord]) -> None:
    found = read(records[0])
    fields = {**found.fields, "Version": "v1.10.1"}
    line = found.model_copy(update={"index": None, "fields": fields, "comments": ("There is no sampler “X” here; Euler is taken.",)})
    replay = plan_replay(records[0].revise(path="x.jpg"), line)
    assert replay.unmatched[1:] == (
        "There is no sampler “X” here; Euler is taken.", f"It was made by v1.10.1; this is Easel-{__version__}.",
        "The file is not a PNG: saving it may have changed its pixels.",
    )


def test_what_cannot_be_made_again_is_refused_with_words(records: list[PictureRecord], library: Library, run: JobRun, replays: Replays) -> None:
    found = read(records[0])
    with pytest.raises(ConflictError, match="interrupted"):
        plan_replay(records[0].revise(partial=True), found)
    with pytest.raises(ConflictError, match="beside another"):
        plan_replay(records[0].revise(key="0.mask"), found)
    with pytest.raises(ConflictError, match="does not say"):
        plan_replay(records[0], Metadata(kind="none"))
    gone = found.model_copy(update={"values": {}, "fields": {**found.fields, "Model": "gone", "Model hash": "0123456789"}})
    with pytest.raises(RequestError, match=r"“gone” \[0123456789\] is not here") as caught:
        plan_replay(records[0], gone)
    assert caught.value.field == "checkpoint"
    replay = plan_replay(records[0], found)
    Path(records[0].path).unlink()
    with pytest.raises(NotFoundError):
        replays.run(run, replay)
    assert library.replay(records[0].id) is None


def test_an_interrupted_replay_compares_nothing(
    run: JobRun, records: list[PictureRecord], engine: PaintEngine, library: Library, replays: Replays
) -> None:
    replay = plan_replay(records[0], read(records[0]))
    engine.at_step = lambda step: run.token.interrupt()
    with pytest.raises(Cancelled):
        replays.run(run, replay)
    assert library.replay(records[0].id) is None


def test_a_replay_job_survives_the_database(library: Library, job: Job) -> None:
    request = Replay(picture=3, index=1, request=Txt2Img(prompt="x", batch_size=2), unmatched=("a",))
    library.add_job(job.revise(id="again", request=request))
    found = library.job("again")
    assert found is not None and found.request == request


def test_what_was_made_again_can_be_kept_like_any_picture(
    run: JobRun, records: list[PictureRecord], library: Library, events: Recorder, replays: Replays, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError, match="never replayed"):
        replays.keep(records[3].id)
    replay = plan_replay(records[3], read(records[3]))
    job = run.job.revise(id="again", request=replay)
    library.add_job(job)
    fresh = JobRun(job, run._engine, run._outputs, library, events.publish, CancelToken(), MachineSettings())
    assert replays.run(fresh, replay).kept is None and library.pictures_of("again") == []
    events.clear()
    report = replays.keep(records[3].id)
    (record,) = library.pictures_of("again")
    assert report.kept == record.id and library.replay(records[3].id) == report == replays.keep(records[3].id)
    assert [event.picture.id for event in events if isinstance(event, PictureSaved)] == [record.id]
    path, old = Path(record.path), Path(records[3].path)
    assert path.parent == old.parent and path != old and path.is_relative_to(tmp_path / "outputs")
    with Image.open(path) as kept, Image.open(old) as file:
        assert kept.tobytes() == file.tobytes()
    assert record.infotext == records[3].infotext and (record.seed, record.partial, record.pending) == (13, False, False)
    assert read(record).request == replay.request and read(record).index == 3  # so it can be replayed itself
    assert list((tmp_path / "replays").iterdir()) == []


def test_nothing_lies_aside_for_ever(run: JobRun, records: list[PictureRecord], replays: Replays, tmp_path: Path) -> None:
    replay = plan_replay(records[0], read(records[0]))
    replays.run(run, replay)
    replays.run(run, replay)  # the last try counts
    assert sorted(path.suffix for path in (tmp_path / "replays").iterdir()) == [".json", ".png"]
    replays.tidy(60)
    assert len(list((tmp_path / "replays").iterdir())) == 2
    replays.tidy(-60)
    assert list((tmp_path / "replays").iterdir()) == []
    with pytest.raises(NotFoundError, match="not there any more") as caught:
        replays.keep(records[0].id)
    assert caught.value.hint
