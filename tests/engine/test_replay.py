"""Replay: what a saved picture says about itself, run again by a fresh engine, gives the same file, byte for byte, for every sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from webui.engine.cancel import CancelToken
from webui.engine.runtime import Runtime
from webui.engine.tables import SAMPLERS
from webui.schema.generation import Txt2Img
from webui.schema.job import Job, JobStatus
from webui.schema.machine import DeviceOptions
from webui.schema.result import PictureRecord
from webui.schema.settings import MachineSettings, PictureSettings
from webui.schema.style import Style
from webui.services.infotext.files import read_metadata
from webui.services.library import Library
from webui.services.outputs import Outputs
from webui.services.run import JobRun

SMALL = {"width": 64, "height": 64, "steps": 3}
INK = Style(name="ink", prompt="ink drawing of {prompt}", negative_prompt="colour")
WAYS: list[dict[str, object]] = [
    {"prompt": "a red house", "seed": 5},
    {"prompt": "a house AND a (red:1.4) boat :0.7", "negative_prompt": "fog", "seed": 6, "batch_size": 2},
    {"prompt": "a [house:boat:0.5] and a [tree|lake]", "seed": -1, "batch_count": 2},
    {"prompt": "a boat", "seed": 7, "subseed": 8, "subseed_strength": 0.3, "batch_size": 3},
    {"prompt": "a tree", "styles": ["ink"], "style_texts": [INK], "seed": 9},
    {"prompt": "a hill", "seed": 10, "subseed": -1, "subseed_strength": 0.2, "seed_resize_from_w": 96, "seed_resize_from_h": 64},
    {"prompt": "a (hill:1.2) " + "by the lake, " * 25, "seed": 11,
     "settings": {"CLIP_stop_at_last_layers": 2, "eta_noise_seed_delta": 31337, "emphasis": "No norm"}},
    {"prompt": "a lake", "seed": 12, "batch_size": 2, "batch_count": 2, "settings": {"randn_source": "NV"}},
]  # fmt: skip
"""Ways to ask, taken in turns. The small random text encoder has a mean of about 0, which emphasis "Original" divides by: one way without it."""

SCHEDULES = ("Automatic", "Karras", "Exponential", "SGM Uniform", "Beta")


class Desk:
    """Jobs run by an engine, with a library and an outputs folder of their own."""

    def __init__(self, folder: Path, engine: Runtime) -> None:
        self.library = Library.open(folder / "library.db")
        self.outputs = Outputs(folder / "outputs", folder / "unsaved", self.library, lambda checkpoint: "ab" * 32)
        self.engine = engine

    def run(self, job_id: str, request: Txt2Img) -> list[PictureRecord]:
        """The pictures of a request."""
        job = Job(id=job_id, lane="device:0", status=JobStatus.RUNNING, request=request, settings=PictureSettings(), created=1.0, started=2.0)
        self.library.add_job(job)
        run = JobRun(job, self.engine, self.outputs, self.library, lambda event: None, CancelToken(), MachineSettings(live_previews_enable=False))
        return run.generate(request)

    def close(self) -> None:
        """Let go of the files."""
        self.outputs.close()
        self.library.close()


@pytest.fixture(scope="module")
def fresh(make_runtime: Callable[[DeviceOptions], Runtime]) -> Iterator[Runtime]:
    """Another engine, which has loaded and encoded everything by itself."""
    made = make_runtime(DeviceOptions(use_cpu=True, precision="full"))
    yield made
    made.close()


@pytest.fixture
def desks(tmp_path: Path, runtime: Runtime, fresh: Runtime) -> Iterator[tuple[Desk, Desk]]:
    """The desk where a picture is made and the one where it is replayed."""
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    both = Desk(tmp_path / "first", runtime), Desk(tmp_path / "second", fresh)
    yield both
    for desk in both:
        desk.close()


@pytest.mark.parametrize(("number", "sampler"), [pytest.param(number, spec.name, id=spec.name) for number, spec in enumerate(SAMPLERS)])
def test_a_replay_gives_the_same_files(desks: tuple[Desk, Desk], number: int, sampler: str) -> None:
    made, again = desks
    way = WAYS[number % len(WAYS)]
    request = Txt2Img.model_validate(SMALL | way | {"sampler": sampler, "scheduler": SCHEDULES[number % len(SCHEDULES)]})
    records = made.run("made", request)
    assert len(records) == request.batch_count * request.batch_size
    last = Path(records[-1].path).read_bytes()
    told = read_metadata(last)
    assert told.kind == "easel" and told.index == len(records) - 1 and told.request is not None and told.request.seed >= 0
    replayed = again.run("again", told.request)  # the whole recorded batch: a batch of another size may differ in the last bit
    assert len(replayed) == len(records)
    for first, second in zip(records, replayed, strict=True):
        assert first.infotext == second.infotext
        with Image.open(first.path) as one, Image.open(second.path) as two:
            assert one.tobytes() == two.tobytes()
        assert Path(first.path).read_bytes() == Path(second.path).read_bytes()
    assert len({Path(record.path).read_bytes() for record in records}) == len(records)


def test_every_way_is_taken() -> None:
    assert len(SAMPLERS) >= max(20, len(WAYS))
