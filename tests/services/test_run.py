"""A job being run: pictures saved, partial ones kept, finished ones not made twice, progress that adds up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.services.conftest import PaintEngine, Recorder
from webui.engine.cancel import CancelToken
from webui.engine.tools import Picture, RunTools, Step
from webui.schema.errors import Cancelled, RequestError, StorageError
from webui.schema.event import PictureSaved, Progress
from webui.schema.generation import ImageRef, Txt2Img
from webui.schema.job import Job
from webui.schema.settings import MachineSettings, PictureSettings
from webui.services.library import Library
from webui.services.outputs import Outputs
from webui.services.run import JobRun, work_of


@pytest.fixture
def run(job: Job, engine: PaintEngine, outputs: Outputs, library: Library, events: Recorder, token: CancelToken) -> JobRun:
    """A run of the fixture's job."""
    return JobRun(job, engine, outputs, library, events.publish, token, MachineSettings())


def request_of(job: Job) -> Txt2Img:
    """The job's request."""
    assert isinstance(job.request, Txt2Img)
    return job.request


def test_pictures_are_on_disk_before_they_are_announced(run: JobRun, job: Job, events: Recorder) -> None:
    seen: list[bool] = []
    inner = run._emit
    run._emit = lambda event: (seen.append(Path(events_path(run, event)).is_file()) if isinstance(event, PictureSaved) else None, inner(event))[1]
    records = run.generate(request_of(job))
    assert seen == [True] * 4
    assert [record.key for record in records] == ["0", "1", "2", "3"] and [record.seed for record in records] == [10, 11, 12, 13]
    with Image.open(records[1].path) as image:
        assert image.text["parameters"] == records[1].infotext  # type: ignore[attr-defined]
        easel = json.loads(image.text["easel"])  # type: ignore[attr-defined]
    assert easel["request"]["seed"] == 10 and easel["index"] == 1 and easel["request"]["prompt"] == "a house"


def test_the_line_of_the_last_run_is_in_params(run: JobRun, job: Job, outputs: Outputs, tmp_path: Path) -> None:
    records = run.generate(request_of(job))
    assert list(tmp_path.glob("params.txt")) == []  # not asked for: --no-prompt-history
    outputs._params = tmp_path / "params.txt"
    run.generate(request_of(job), "cell")
    outputs.close()
    assert (tmp_path / "params.txt").read_text(encoding="utf-8") == records[0].infotext


def events_path(run: JobRun, event: PictureSaved) -> str:
    """Where the announced picture lies."""
    record = run._library.picture(event.picture.id)
    assert record is not None
    return record.path


def test_interrupt_keeps_the_partial_picture_and_a_second_run_goes_on(
    run: JobRun, job: Job, engine: PaintEngine, library: Library, token: CancelToken
) -> None:
    steps: list[int] = []

    def stop_in_the_second_batch(step: int) -> None:
        steps.append(step)
        if len(steps) == 5:
            token.interrupt()

    engine.at_step = stop_in_the_second_batch
    with pytest.raises(Cancelled):
        run.generate(request_of(job))
    rows = library.pictures_of(job.id)
    assert [row.partial for row in rows] == [False, False, True, True]
    engine.made.clear()
    engine.at_step = lambda step: None
    again = JobRun(job, engine, run._outputs, library, lambda event: None, CancelToken(), MachineSettings())
    records = again.generate(request_of(job))
    assert engine.made == [12, 13]
    assert [record.key for record in records] == ["0", "1", "2", "3"] and not any(record.partial for record in records)


def test_skip_goes_on_with_the_next_batch(run: JobRun, job: Job, engine: PaintEngine, library: Library, token: CancelToken) -> None:
    calls: list[int] = []

    def skip_first(step: int) -> None:
        calls.append(step)
        if len(calls) == 2:
            token.skip()

    engine.at_step = skip_first
    records = run.generate(request_of(job))
    assert [row.partial for row in library.pictures_of(job.id)] == [True, True, False, False]
    assert [record.key for record in records] == ["2", "3"]


def test_children_of_a_script_have_keys_of_their_own(run: JobRun, job: Job, engine: PaintEngine) -> None:
    single = request_of(job).revise(batch_count=1, batch_size=1)
    run.plan([single, single])
    assert [record.key for record in run.generate(single, "left")] == ["left/0"]
    assert [record.key for record in run.generate(single, "right")] == ["right/0"]
    engine.made.clear()
    assert [record.key for record in run.generate(single, "left")] == ["left/0"] and engine.made == []


def test_a_child_may_override_the_settings_of_its_job(run: JobRun, job: Job, engine: PaintEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[PictureSettings] = []
    paint = engine.generate
    monkeypatch.setattr(engine, "generate", lambda request, tools: (seen.append(tools.settings), paint(request, tools))[1])
    run.generate(request_of(job), "plain")
    run.generate(request_of(job).revise(settings={"CLIP_stop_at_last_layers": 2}), "skip")
    assert seen == [job.settings, job.settings.revise(CLIP_stop_at_last_layers=2)]
    with pytest.raises(RequestError) as caught:
        run.generate(request_of(job).revise(settings={"CLIP_stop_at_last_layers": 99}), "wrong")
    assert caught.value.field == "settings.CLIP_stop_at_last_layers"


def test_a_second_pass_counts_by_its_pixels(run: JobRun, job: Job, engine: PaintEngine, events: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """3 steps, and 3 of four times the pixels: after the first pass a fifth is done; two such runs, the second ✨, are 15 + 12 steps."""
    request = request_of(job).revise(batch_count=1, batch_size=1, enable_hr=True)
    enlarge = request.revise(firstpass_image=ImageRef(sha256="0" * 64, width=64, height=64))
    assert (work_of(request), work_of(enlarge)) == (15, 12)
    paint = engine.generate

    def with_shares(request: Txt2Img, tools: RunTools) -> Iterator[Picture]:
        tools.report(Step("upscaling", 0, 1, 3, 6, 0.2))
        yield from paint(request, tools)

    monkeypatch.setattr(engine, "generate", with_shares)
    run.plan([request, enlarge])
    run.generate(request)
    told = next(event for event in events if isinstance(event, Progress) and event.phase == "upscaling")
    assert told.fraction == pytest.approx(0.2 * 15 / 27)
    assert (told.step, told.steps) == (3, 6)


def test_what_a_run_needs_is_said_to_its_end(run: JobRun, job: Job, engine: PaintEngine, events: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    paint = engine.generate

    def with_note(request: Txt2Img, tools: RunTools) -> Iterator[Picture]:
        yield from paint(request, replace(tools, report=lambda step: tools.report(replace(step, note="needs about 3 GB"))))

    monkeypatch.setattr(engine, "generate", with_note)
    run.generate(request_of(job))
    told = [event for event in events if isinstance(event, Progress)]
    assert {event.note for event in told} == {"needs about 3 GB"} and told[-1].phase == "saving"


def test_progress_grows_to_one_over_the_whole_plan(run: JobRun, job: Job, events: Recorder) -> None:
    request = request_of(job)
    run.plan([request, request])
    run.generate(request, "a")
    half = [event.fraction for event in events if isinstance(event, Progress)]
    run.generate(request, "b")
    fractions = [event.fraction for event in events if isinstance(event, Progress) and event.phase == "sampling"]
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1.0)
    assert max(half) == pytest.approx(0.5)
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert (last.pictures, last.picture) == (8, 7)


def test_a_folder_that_cannot_be_written_fails_the_job_with_words(run: JobRun, job: Job, outputs: Outputs, engine: PaintEngine) -> None:
    outputs.folder.write_text("a file where the folder should be")
    with pytest.raises(StorageError) as caught:
        run.generate(request_of(job))
    assert str(outputs.folder) in caught.value.message and caught.value.hint


def test_pictures_not_to_be_kept_go_to_the_scratch_folder(run: JobRun, job: Job, outputs: Outputs) -> None:
    run.job = job.revise(settings=job.settings.revise(samples_save=False))
    records = run.generate(request_of(job))
    assert all(Path(record.path).is_relative_to(outputs.scratch) for record in records)


def test_a_run_of_several_pictures_gets_one_grid_that_is_no_picture(run: JobRun, job: Job, outputs: Outputs, library: Library) -> None:
    run.generate(request_of(job))
    run.generate(request_of(job))  # everything is there: nothing is made, no second grid
    run.generate(request_of(job), "script")
    outputs.close()  # grids are written in the background
    grids = [path.name for path in (outputs.folder / "txt2img-grids").rglob("*.png")]
    assert grids == ["grid-0000.png"]
    assert len(library.pictures_of(job.id)) == 8
