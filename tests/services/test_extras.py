"""The desk of Extras: what is refused where, what is saved under which name with which words, and what an interrupted job does again."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.backend.conftest import Hashes
from tests.backend.image_networks import save_esrgan
from webui.backend.network_files import NetworkFiles
from webui.engine.cancel import CancelToken
from webui.engine.extras.piece import Piece
from webui.engine.tables import file_upscalers, register_tables
from webui.engine.tools import RunTools, Step
from webui.plugins.registry import Registries
from webui.schema.errors import Cancelled, ModelError, RequestError
from webui.schema.event import Described, Event, Notice, PictureSaved, Progress
from webui.schema.extras import Extras, Interrogate, NamedPicture
from webui.schema.job import Job, JobView
from webui.schema.settings import PictureSettings, Settings
from webui.services.extras import ExtrasDesk, Shop
from webui.services.extras_files import merge_captions, read_picture
from webui.services.images import ImageStore
from webui.services.infotext.files import read_metadata
from webui.services.library import Library
from webui.services.picture_folders import PictureFolders
from webui.services.queue import JobQueue

LINE = "a cat\nSteps: 4, Seed: 1, Size: 64x64"


class Doubler:
    """Stands for the engine: every picture twice as large, and a mirrored copy when asked."""

    def __init__(self) -> None:
        self.seen: list[Image.Image] = []
        self.tidied = 0
        self.before: Callable[[int], None] = lambda number: None

    def process(self, image: Image.Image, request: Extras, tools: RunTools) -> list[Piece]:
        self.before(len(self.seen))
        tools.cancel.raise_if_stopped()
        self.seen.append(image)
        tools.report(Step("upscaling", 0, 1, 1, 2, 0.5))
        piece = Piece(image.resize((image.width * 2, image.height * 2)), {"Postprocess upscale by": 2.0, "Postprocess upscaler": "a, b"})
        if request.caption:
            piece = Piece(piece.image, caption="a red square")
        return [piece, Piece(piece.image, piece.notes, ("horizontal",))] if request.flip else [piece]

    def describe(self, image: Image.Image, kind: str, settings: PictureSettings) -> str:
        return f"{kind} of {image.width}"

    def tidy(self, keep_captioner: bool = False) -> None:
        self.tidied += 1


class Desk:
    """The desk with all that belongs to it, and a way to run a job."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.library = Library.open(root / "library.db")
        self.images = ImageStore(root / ".easel" / "images")
        self.registries, self.settings, self.engine = Registries(), Settings(), Doubler()
        register_tables(self.registries)
        models = root / "models"
        files = NetworkFiles(
            {"upscaler": (models / "ESRGAN",), "face_restorer": (models / "GFPGAN", models / "Codeformer"), "face_detector": (models / "opencv",)},
            Hashes(), Hashes(),
        )
        self.registries.upscalers.follow(lambda: file_upscalers(files))
        self.events: list[Event] = []
        self.queue = JobQueue(self.library, self.events.append)
        allowed = PictureFolders([root, root / "outputs"])
        shop = Shop(self.registries.upscalers, files, self.images, allowed, self.library, root / "outputs", models)
        self.desk = ExtrasDesk(shop, self.queue, lambda: self.settings)

    def store(self, name: str = "", size: tuple[int, int] = (8, 6), form: str = "PNG", **more: Any) -> NamedPicture:
        """A picture in the store."""
        return NamedPicture(image=self.images.put(picture_bytes(size, form, **more)), name=name)

    def run(self, request: Extras | Interrogate, token: CancelToken | None = None) -> Job:
        """Submit and run."""
        job = self.desk.submit(request)
        self.again(job, token)
        return job

    def again(self, job: Job, token: CancelToken | None = None) -> None:
        """Run a job (again)."""
        self.desk.run(job, self.engine, self.events.append, token or CancelToken())

    def saved(self, folder: str = "outputs/extras-images") -> list[str]:
        """Names of the files in a folder."""
        return sorted(path.name for path in (self.root / folder).glob("*"))


def picture_bytes(size: tuple[int, int] = (8, 6), form: str = "PNG", colour: str = "red", **more: Any) -> bytes:
    """A file of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, form, **more)
    return buffer.getvalue()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.library.close()


def test_one_picture_is_numbered_and_keeps_its_words(desk: Desk) -> None:
    info = PngInfo()
    info.add_text("parameters", LINE)
    info.add_text("easel", "{}")
    info.add_text("Comment", "mine")
    job = desk.run(Extras(images=(desk.store("cat.png", pnginfo=info),)))
    assert desk.saved() == ["00000.png"]
    with Image.open(desk.root / "outputs/extras-images/00000.png") as image:
        assert image.size == (16, 12)
        line = 'Postprocess upscale by: 2.0, Postprocess upscaler: "a, b"'
        assert image.info == {"parameters": LINE, "Comment": "mine", "postprocessing": line, "extras": line}
    (record,) = desk.library.pictures_of(job.id)
    assert (record.key, record.width, record.infotext) == ("0/0", 16, line)
    assert [event.picture.id for event in desk.events if isinstance(event, PictureSaved)] == [record.id]
    assert desk.engine.tidied == 1


def test_several_keep_their_names_and_nothing_is_replaced(desk: Desk) -> None:
    pictures = (desk.store("a.png"), desk.store("b.jpeg", (4, 4)), desk.store("../../a.png", (5, 5)))
    desk.run(Extras(images=pictures, flip=True))
    assert desk.saved() == ["a-1.png", "a-horizontal-1.png", "a-horizontal.png", "a.png", "b-horizontal.png", "b.png"]
    desk.settings = Settings(use_original_name_batch=False)
    desk.run(Extras(images=pictures[:2], flip=True))
    assert desk.saved()[:4] == ["00000.png", "00001-horizontal.png", "00002.png", "00003-horizontal.png"]


def test_formats_without_chunks_keep_both_lines_in_one(desk: Desk) -> None:
    desk.settings = Settings(samples_format="jpg")
    info = PngInfo()
    info.add_text("parameters", LINE)
    desk.run(Extras(images=(desk.store("cat.png", pnginfo=info),)))
    found = read_metadata((desk.root / "outputs/extras-images/00000.jpg").read_bytes())
    assert found.text == f'{LINE}, Postprocess upscale by: 2.0, Postprocess upscaler: "a, b"'


def test_nothing_is_written_into_files_without_enable_pnginfo(desk: Desk) -> None:
    desk.settings = Settings(enable_pnginfo=False)
    info = PngInfo()
    info.add_text("parameters", LINE)
    desk.run(Extras(images=(desk.store("cat.png", pnginfo=info),)))
    with Image.open(desk.root / "outputs/extras-images/00000.png") as image:
        assert image.info == {}


def fill_folder(desk: Desk) -> Path:
    folder = desk.root / "in"
    folder.mkdir()
    for name in ("b.png", "a.jpg"):
        (folder / name).write_bytes(picture_bytes(form="PNG" if name.endswith("png") else "JPEG"))
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "a.txt").write_text("old words", encoding="utf-8")
    return folder


def test_a_folder_and_captions(desk: Desk) -> None:
    folder = fill_folder(desk)
    before = sorted((path.name, path.read_bytes()) for path in folder.iterdir())
    desk.settings = Settings(postprocessing_existing_caption_action="Prepend")
    blip = desk.root / "models" / "BLIP"
    blip.mkdir(parents=True)
    (blip / "config.json").write_text("{}")
    desk.run(Extras(input_dir="in", output_dir="prepared", caption=True, show_extras_results=False))
    assert desk.saved("outputs/prepared") == ["a.png", "a.txt", "b.png", "b.txt"]
    assert (desk.root / "outputs/prepared/a.txt").read_text() == "old words a red square"
    assert (desk.root / "outputs/prepared/b.txt").read_text() == "a red square"
    assert sorted((path.name, path.read_bytes()) for path in folder.iterdir()) == before
    assert not any(isinstance(event, PictureSaved) for event in desk.events)
    (notice,) = [event.message for event in desk.events if isinstance(event, Notice)]
    assert notice == "1 of 3 files could not be read as pictures and were left out: broken.png"


@pytest.mark.parametrize(("action", "text"), [("Ignore", "new"), ("Keep", "old"), ("Prepend", "old new"), ("Append", "new old")])
def test_captions_that_are_there_already(action: str, text: str) -> None:
    assert merge_captions("new", "old", action) == text
    assert merge_captions(" new ", "", action) == "new"


def refusal(desk: Desk, **fields: Any) -> RequestError | ModelError:
    with pytest.raises((RequestError, ModelError)) as caught:
        desk.desk.submit(Extras(**fields))
    assert desk.queue.waiting() == []
    return caught.value


def test_wrong_requests_are_refused_at_their_field(desk: Desk) -> None:
    one = (desk.store("a.png"),)
    fill_folder(desk)
    assert refusal(desk).field == "images"
    assert refusal(desk, images=one, upscale=False).field == "upscale"
    assert refusal(desk, images=one, upscaler_1="nothing").field == "upscaler_1"
    assert refusal(desk, images=one, upscaler_2="Latent").field == "upscaler_2"
    assert refusal(desk, images=one, input_dir="in").field == "input_dir"
    assert refusal(desk, input_dir="/etc").field == "input_dir"
    assert refusal(desk, input_dir=".easel").field == "input_dir"
    assert refusal(desk, input_dir="in", output_dir=str(desk.root / "in")).field == "output_dir"
    assert refusal(desk, input_dir="in", output_dir="/etc").field == "output_dir"
    assert refusal(desk, images=one, autosized_crop=True, mindim=768, maxdim=384).field == "maxdim"
    (desk.root / "empty").mkdir()
    assert refusal(desk, input_dir="empty").field == "input_dir"


def test_missing_models_say_where_they_belong(desk: Desk) -> None:
    one = (desk.store("a.png"),)
    error = refusal(desk, images=one, gfpgan=True)
    assert error.field == "gfpgan" and "models/GFPGAN" in (error.hint or "")
    error = refusal(desk, images=one, codeformer=True)
    assert error.field == "codeformer" and "spandrel-extra-arches" in (error.hint or "")
    error = refusal(desk, images=one, caption=True)
    assert error.field == "captions" and "models/BLIP" in (error.hint or "")
    save_esrgan(desk.root / "models" / "GFPGAN" / "GFPGANv1.4.safetensors")
    error = refusal(desk, images=one, gfpgan=True)
    assert "face_detection_yunet" in (error.hint or "") and "models/opencv" in (error.hint or "")
    (desk.root / "models" / "opencv").mkdir()
    (desk.root / "models" / "opencv" / "face_detection_yunet_2023mar.onnx").write_bytes(b"")
    assert desk.desk.submit(Extras(images=one, gfpgan=True)).lane == "device:0"


def test_the_form_lists_files_of_upscalers_but_no_latent_ones(desk: Desk) -> None:
    save_esrgan(desk.root / "models" / "ESRGAN" / "net.safetensors")
    form = desk.desk.form()
    choices = {field["key"]: field["choices"] for field in form["fields"]}
    assert choices["upscaler_1"] == ["None", "Lanczos", "Nearest", "net"]
    elements = {field["elem"] for field in form["fields"]}
    assert elements >= {"upscaler_1", "upscaling_resize", "upscaling_crop", "gfpgan_visibility", "codeformer_weight"}


def test_an_interrupted_job_goes_on_where_it_stopped(desk: Desk) -> None:
    token = CancelToken()
    desk.engine.before = lambda number: token.interrupt() if number == 1 else None
    job = desk.desk.submit(Extras(images=(desk.store("a.png"), desk.store("b.png", (4, 4)), desk.store("c.png", (5, 5)))))
    with pytest.raises(Cancelled):
        desk.again(job, token)
    assert desk.saved() == ["a.png"]
    desk.engine.before = lambda number: None
    desk.again(job)
    assert desk.saved() == ["a.png", "b.png", "c.png"]
    assert [image.size for image in desk.engine.seen] == [(8, 6), (4, 4), (5, 5)]


def test_progress_is_of_the_whole_job(desk: Desk) -> None:
    job = desk.run(Extras(images=(desk.store("a.png"), desk.store("b.png", (4, 4)))))
    told = [(event.picture, event.phase, event.fraction) for event in desk.events if isinstance(event, Progress)]
    assert told == [(1, "upscaling", 0.25), (1, "saving", 0.5), (2, "upscaling", 0.75), (2, "saving", 1.0)]
    view = JobView.of(job, 2)
    assert (view.kind, view.title, view.planned) == ("extras", "a.png", 2)


def test_interrogate(desk: Desk) -> None:
    with pytest.raises(ModelError) as caught:
        desk.desk.submit(Interrogate(image=desk.store().image))
    assert caught.value.field == "model" and "models/BLIP" in (caught.value.hint or "")
    blip = desk.root / "models" / "BLIP" / "base"
    blip.mkdir(parents=True)
    (blip / "config.json").write_text("{}")
    job = desk.run(Interrogate(image=desk.store().image))
    assert desk.desk.description(job.id) == "CLIP of 8"
    assert [event.text for event in desk.events if isinstance(event, Described)] == ["CLIP of 8"]
    assert not any(isinstance(event, Notice) for event in desk.events)
    (desk.root / "interrogate").mkdir()
    (desk.root / "interrogate" / "mediums.txt").write_text("ink")
    desk.run(Interrogate(image=desk.store().image))
    assert "models/clip-interrogator" in next(event.message for event in desk.events if isinstance(event, Notice))


def odd(mode: str, form: str, **more: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (9, 5)).save(buffer, form, **more)
    return buffer.getvalue()


@pytest.mark.parametrize("content", [
    odd("L", "PNG"), odd("P", "PNG"), odd("1", "PNG"), odd("I;16", "PNG"), odd("CMYK", "JPEG"), odd("LA", "PNG"), odd("P", "GIF"), odd("F", "TIFF"),
    odd("RGBA", "WEBP"),
])
def test_odd_pictures_are_read(content: bytes) -> None:
    image = read_picture(content)
    assert image.size == (9, 5) and image.mode in ("RGB", "RGBA")


def test_a_turned_picture_is_upright_and_sixteen_bits_keep_their_range() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_picture(picture_bytes((8, 6), "JPEG", exif=exif)).size == (6, 8)
    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("I").point(lambda value: value * 257).convert("I;16").save(buffer, "PNG")
    low, high = read_picture(buffer.getvalue()).getextrema()[0]  # pyright: ignore[reportGeneralTypeIssues, reportIndexIssue]
    assert (low, high) == (0, 255)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    def chunk(content: bytes) -> bytes:
        return (len(content) - 4).to_bytes(4, "big") + content + zlib.crc32(content).to_bytes(4, "big")

    for side in (60_000, 15_000):
        header = chunk(b"IHDR" + side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0")
        with pytest.raises(RequestError, match=r"not a picture|megapixels are possible"):
            read_picture(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT" + zlib.compress(b"\0" * 100)))


@pytest.mark.parametrize("content", [b"", b"text", picture_bytes()[:40], b"\x89PNG\r\n\x1a\n" + b"\0" * 100])
def test_what_is_no_picture_is_refused_in_words(content: bytes) -> None:
    with pytest.raises(RequestError, match="not a picture"):
        read_picture(content, "images.0")
