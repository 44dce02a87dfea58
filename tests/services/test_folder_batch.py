"""img2img over a folder: which pictures in which order, masks and infotexts by name, broken ones named, names and places of results, resuming."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.services.conftest import PaintEngine, Recorder
from webui.engine.cancel import CancelToken
from webui.engine.tools import Picture, RunTools
from webui.schema.errors import Cancelled, RequestError
from webui.schema.event import Notice, PictureSaved, Progress
from webui.schema.img2img import FolderBatch, Img2Img
from webui.schema.job import Job, JobStatus, JobView
from webui.schema.settings import MachineSettings, PictureSettings
from webui.services.folder_batch import FolderBatches, shown_of
from webui.services.images import HeldPictures, ImageStore
from webui.services.infotext.files import read_metadata
from webui.services.infotext.restore import Known
from webui.services.library import Library
from webui.services.outputs import Outputs
from webui.services.picture_folders import PictureFolders
from webui.services.run import JobRun

LINE = "a cat\nNegative prompt: fog\nSteps: 3, Sampler: Euler a, CFG scale: 5, Seed: 77, Size: 64x64"


class SeeingEngine(PaintEngine):
    """The stand-in, which opens what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Img2Img, Image.Image, Image.Image | None]] = []

    def generate(self, request: Img2Img, tools: RunTools) -> Iterator[Picture]:
        assert request.image is not None and request.batch is None
        mask = tools.picture(request.mask, "mask") if request.mask else None
        self.seen.append((request, tools.picture(request.image, "image"), mask))
        yield from super().generate(request, tools)


class Bench:
    """Folders, engine and what runs a batch over them."""

    def __init__(self, root: Path, library: Library, outputs: Outputs, events: Recorder) -> None:
        self.root, self.library, self.outputs, self.events, self.engine = root, library, outputs, events, SeeingEngine()
        self.store = ImageStore(root / ".easel" / "images")
        known = Known(self.engine.registries.samplers.values(), self.engine.registries.schedulers.values(), [])
        self.batches = FolderBatches(PictureFolders([root, root / "outputs"]), lambda content: read_metadata(content, known))

    def job(self, settings: PictureSettings | None = None, **values: Any) -> Job:
        """A running job; what does not name a field of the batch is the request's."""
        own = {name: values.pop(name) for name in list(values) if name in FolderBatch.model_fields}
        request = Img2Img(**{"width": 64, "height": 64, "steps": 2, "seed": 5} | values, batch=FolderBatch(**{"input_dir": "in"} | own))
        assert request.batch is not None
        self.batches.check(request, request.batch)
        made = Job(id="j", lane="device:0", status=JobStatus.RUNNING, request=request, settings=settings or PictureSettings(), created=1, started=2)
        self.library.add_job(made)
        return made

    def run(self, job: Job, token: CancelToken | None = None) -> None:
        """All of it, with the saving."""
        held = HeldPictures(self.store)
        parts = self.engine, self.outputs, self.library, self.events.publish
        run = JobRun(job, *parts, token or CancelToken(), MachineSettings(), open_image=held.open)
        assert isinstance(job.request, Img2Img) and job.request.batch is not None
        self.batches.run(run, job.request, job.request.batch, held)()

    def saved(self, folder: str) -> list[str]:
        """Files below a folder of the test."""
        return sorted(path.name for path in (self.root / folder).rglob("*.*"))

    @property
    def said(self) -> str:
        """Every notice."""
        return " ".join(event.message for event in self.events if isinstance(event, Notice))


@pytest.fixture
def bench(tmp_path: Path, library: Library, outputs: Outputs, events: Recorder) -> Bench:
    return Bench(tmp_path, library, outputs, events)


def put(folder: Path, name: str, size: tuple[int, int] = (64, 64), colour: str = "red", line: str = "") -> None:
    """A picture in a folder."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    info = PngInfo()
    if line:
        info.add_text("parameters", line)
    Image.new("RGB", size, colour).save(path, "PNG", pnginfo=info)


def refused(bench: Bench, **values: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        bench.job(**values)
    return caught.value


def test_all_pictures_in_the_order_people_count(bench: Bench) -> None:
    for number, name in enumerate(["a10.png", "a2.png", "b/c.png"]):
        put(bench.root / "in", name, size=(64, 64 + 8 * number))
    put(bench.root / "in" / ".hidden", "x.png")
    bench.run(bench.job())
    assert [image.size for _, image, _ in bench.engine.seen] == [(64, 72), (64, 64), (64, 80)]
    assert [row.key for row in bench.library.pictures_of("j")] == ["a2.png/0", "a10.png/0", "b/c.png/0"]
    assert all(request.mode == "img2img" and request.seed == 5 for request, _, _ in bench.engine.seen)
    assert not list((bench.root / ".easel").rglob("*.bin"))  # a folder is not copied into the store
    assert bench.said == ""


def test_a_broken_picture_is_left_out_and_named(bench: Bench) -> None:
    put(bench.root / "in", "a.png")
    (bench.root / "in" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    put(bench.root / "in", "c.png")
    bench.run(bench.job())
    assert [row.key for row in bench.library.pictures_of("j")] == ["a.png/0", "c.png/0"]
    assert "1 of 3 pictures were left out: b.png (" in bench.said
    told = [event for event in bench.events if isinstance(event, Progress)]
    assert told[-1].fraction == 1.0 and told[-1].pictures == 3


def test_when_all_are_broken_the_job_fails(bench: Bench) -> None:
    (bench.root / "in").mkdir()
    (bench.root / "in" / "b.png").write_bytes(b"nothing")
    with pytest.raises(RequestError) as caught:
        bench.run(bench.job())
    assert caught.value.field == "batch.input_dir" and "b.png" in caught.value.message


def test_masks_by_name(bench: Bench) -> None:
    for name in ("a.png", "b.png", "c.png"):
        put(bench.root / "in", name)
    put(bench.root / "masks", "A.png", colour="#101010")
    put(bench.root / "masks", "b.webp", size=(32, 32), colour="#202020")
    bench.run(bench.job(inpaint_mask_dir="masks"))
    assert [(request.mode, mask and mask.size, mask and mask.getpixel((5, 5))) for request, _, mask in bench.engine.seen] == [
        ("inpaint_upload", (64, 64), (16, 16, 16)), ("inpaint_upload", (64, 64), (32, 32, 32)),
    ]
    assert "1 of 3 pictures were left out: c.png (there is no mask of its name)" in bench.said
    assert "1 masks had another size" in bench.said


def test_a_single_mask_is_for_all(bench: Bench) -> None:
    for name in ("a.png", "b.png"):
        put(bench.root / "in", name)
    put(bench.root / "masks", "any.png", colour="white")
    bench.run(bench.job(inpaint_mask_dir="masks"))
    assert [mask is not None for _, _, mask in bench.engine.seen] == [True, True]


def test_what_pictures_say_of_themselves(bench: Bench) -> None:
    put(bench.root / "in", "a.png", line=LINE)
    put(bench.root / "in", "b.png")
    bench.run(bench.job(use_png_info=True, prompt="a house", negative_prompt=""))
    first, second = (request for request, _, _ in bench.engine.seen)
    assert (first.prompt, first.negative_prompt, first.seed, first.cfg_scale, first.sampler, first.steps) == (
        "a house a cat", "fog", 77, 5.0, "Euler a", 3,
    )
    assert (second.prompt, second.seed, second.steps) == ("a house", 5, 2)
    assert "1 pictures say nothing" in bench.said


def test_only_what_is_wanted_and_from_another_folder(bench: Bench) -> None:
    put(bench.root / "in", "a.png")
    put(bench.root / "told", "a.png", line=LINE)
    bench.run(bench.job(use_png_info=True, png_info_dir="told", png_info_props=("seed",), prompt="a house"))
    request = bench.engine.seen[0][0]
    assert (request.prompt, request.seed, request.steps) == ("a house", 77, 2)


def test_an_output_folder_takes_all_flat_and_keeps_names_if_wanted(bench: Bench) -> None:
    put(bench.root / "in", "x/cat.png")
    put(bench.root / "in", "y/cat.png")
    settings = PictureSettings(img2img_batch_use_original_name=True, save_images_add_number=False, save_to_dirs=True)
    bench.run(bench.job(settings, output_dir="done"))
    assert bench.saved("outputs/done") == ["cat-1.png", "cat.png"]
    with Image.open(bench.root / "outputs" / "done" / "cat.png") as image:
        assert "Seed: 5" in image.info["parameters"] and "easel" in image.info


def test_several_of_each_are_numbered(bench: Bench) -> None:
    put(bench.root / "in", "cat.png")
    settings = PictureSettings(img2img_batch_use_original_name=True, save_images_add_number=False, save_to_dirs=False)
    bench.run(bench.job(settings, batch_size=2))
    assert bench.saved("outputs/img2img-images") == ["cat-1.png", "cat-2.png"]


def test_by_default_names_are_the_patterns(bench: Bench) -> None:
    put(bench.root / "in", "cat.png")
    bench.run(bench.job(output_dir="done"))
    assert bench.saved("outputs/done") == ["00000-5.png"]


@pytest.mark.parametrize(("limit", "shown"), [(2, ["a.png/0", "b.png/0"]), (0, []), (-1, ["a.png/0", "b.png/0", "c.png/0"])])
def test_pages_are_shown_the_first_results_and_all_are_saved(bench: Bench, limit: int, shown: list[str]) -> None:
    for name in ("a.png", "b.png", "c.png"):
        put(bench.root / "in", name)
    job = bench.job(PictureSettings(img2img_batch_show_results_limit=limit), output_dir="done")
    token = CancelToken()
    bench.engine.at_step = lambda step: token.interrupt() if len(bench.engine.seen) == 2 else None
    with pytest.raises(Cancelled):
        bench.run(job, token)
    bench.engine.at_step = lambda step: None
    bench.run(job)  # in line again: what was shown counts
    told = [event.picture for event in bench.events if isinstance(event, PictureSaved)]
    assert [picture.key for picture in told if not picture.partial] == shown
    rows = [row for row in bench.library.pictures_of("j") if not row.partial]
    assert [row.key for row in rows] == ["a.png/0", "b.png/0", "c.png/0"]
    assert [row.key for row in shown_of(job, rows)] == shown  # for a page that is opened later


def test_an_interrupted_job_goes_on_where_it_stopped(bench: Bench) -> None:
    for name in ("a.png", "b.png", "c.png"):
        put(bench.root / "in", name)
    token = CancelToken()
    bench.engine.at_step = lambda step: token.interrupt() if len(bench.engine.seen) == 2 else None
    job = bench.job(output_dir="in2")
    with pytest.raises(Cancelled):
        bench.run(job, token)
    assert [row.key for row in bench.library.pictures_of("j") if not row.partial] == ["a.png/0"]
    bench.engine.at_step = lambda step: None
    bench.run(job)
    assert len(bench.engine.seen) == 4  # a, b that was stopped, b, c
    assert [row.key for row in bench.library.pictures_of("j") if not row.partial] == ["a.png/0", "b.png/0", "c.png/0"]


def test_its_own_results_are_no_input_when_it_goes_on(bench: Bench) -> None:
    put(bench.root / "outputs", "a.png")
    job = bench.job(input_dir="outputs")
    bench.run(job)
    bench.run(job)
    assert len(bench.engine.seen) == 1 and len(bench.library.pictures_of("j")) == 1


def test_a_skip_ends_one_picture_only(bench: Bench) -> None:
    for name in ("a.png", "b.png"):
        put(bench.root / "in", name)
    token = CancelToken()
    bench.engine.at_step = lambda step: token.skip() if len(bench.engine.seen) == 1 else None
    bench.run(bench.job(), token)
    rows = bench.library.pictures_of("j")
    assert [row.partial for row in rows] == [True, False] and rows[1].key == "b.png/0"


def test_what_is_refused_at_its_field(bench: Bench) -> None:
    put(bench.root / "in", "a.png")
    (bench.root / "empty").mkdir()
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    ref = bench.store.put(buffer.getvalue())
    for values, field in (
        ({"input_dir": "/etc"}, "batch.input_dir"), ({"input_dir": ""}, "batch.input_dir"), ({"input_dir": "empty"}, "batch.input_dir"),
        ({"image": ref}, "batch.input_dir"), ({"inpaint_mask_dir": "empty"}, "batch.inpaint_mask_dir"),
        ({"inpaint_mask_dir": ".."}, "batch.inpaint_mask_dir"), ({"mode": "inpaint_upload"}, "batch.inpaint_mask_dir"), ({"mode": "sketch"}, "mode"),
        ({"output_dir": "/etc"}, "batch.output_dir"), ({"output_dir": str(bench.root / "in" / "out")}, "batch.output_dir"),
        ({"use_png_info": True, "png_info_dir": "nowhere"}, "batch.png_info_dir"), ({"script": "prompts_from_file"}, "script"),
    ):
        error = refused(bench, **values)
        assert error.field == field and error.hint, values


def test_the_queue_names_the_folder(bench: Bench) -> None:
    put(bench.root / "in", "a.png")
    view = JobView.of(bench.job(prompt="a house"), 0)
    assert (view.title, view.planned) == ("in a house", 0)
