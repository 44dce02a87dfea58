"""Names, numbers and safety of saved files."""

from __future__ import annotations

import csv
import errno
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.services.conftest import CHECKPOINT, PaintEngine
from webui.engine.plan import make_plan
from webui.engine.tools import Companion, Picture
from webui.schema.errors import StorageError
from webui.schema.generation import Txt2Img
from webui.schema.job import Job
from webui.schema.result import PictureRecord
from webui.schema.settings import PictureSettings
from webui.services.grids import grid_shape
from webui.services.infotext.files import read_metadata
from webui.services.library import Library
from webui.services.outputs import Outputs, copy_to_log
from webui.services.placing import next_number
from webui.services.sheets import Saving


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

    monkeypatch.setattr(os, "fsync", full)
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


def with_settings(saving: Saving, **changes: object) -> Saving:
    """The same picture of a job with other settings."""
    return Saving(saving.job.revise(settings=saving.job.settings.revise(**changes)), saving.key, saving.picture)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, r"\d{4}-\d\d-\d\d/00000-10\.png"),
        ({"save_to_dirs": False}, r"00000-10-a house\.png"),
        ({"samples_filename_pattern": "[prompt_words] by [sampler]", "directories_filename_pattern": "[width]/[model_name]"},
         r"64/some model/00000-a house by DPM\+\+ 2M\.png"),
        ({"outdir_samples": "all", "save_to_dirs": False}, r"all/00000-10-a house\.png"),
        ({"samples_filename_pattern": "x/[seed]", "save_images_add_number": False, "save_to_dirs": False}, r"x/10\.png"),
        ({"samples_filename_pattern": "../../[seed]", "outdir_txt2img_samples": "../up/..", "directories_filename_pattern": "/etc"},
         r"etc/00000-10\.png"),
        ({"samples_filename_pattern": "[prompt]-[seed]", "filenames_max_length": 4, "save_to_dirs": False}, "00000-a_ho-10[.]png"),
        ({"samples_filename_pattern": "ü" * 400, "save_to_dirs": False}, "00000-ü{110}[.]png"),
    ],
)  # fmt: skip
def test_names_follow_the_patterns_and_stay_below_the_folder(outputs: Outputs, saving: Saving, changes: dict[str, object], expected: str) -> None:
    path = Path(save(outputs, with_settings(saving, **changes)).path)
    inside = path.relative_to(outputs.folder).as_posix()
    assert re.fullmatch(expected, inside.removeprefix("txt2img-images/").removeprefix("up/")), inside


def test_without_numbers_a_file_is_replaced_or_gets_a_suffix(outputs: Outputs, saving: Saving) -> None:
    plain = with_settings(saving, save_images_add_number=False)
    first = save(outputs, plain).path
    assert Path(first).name == "10.png" and save(outputs, plain).path == first
    other = with_settings(plain, save_images_replace_action="Add number suffix")
    assert [Path(save(outputs, other).path).name for _ in range(2)] == ["10-1.png", "10-2.png"]


@pytest.mark.parametrize("form", ["jpg", "jpeg", "webp", "avif"])
def test_other_formats_carry_infotext_and_request(outputs: Outputs, saving: Saving, form: str) -> None:
    record = save(outputs, with_settings(saving, samples_format=form))
    assert record.path.endswith(f"00000-10.{form}")
    found = read_metadata(Path(record.path).read_bytes())
    assert found.text == record.infotext and found.kind == "easel" and found.request == saving.picture.plan.request


def test_webp_can_be_lossless_and_jpeg_quality_counts(outputs: Outputs, saving: Saving) -> None:
    noise = Picture(Image.effect_noise((256, 256), 90).convert("RGB"), saving.picture.plan, 0)
    noisy = Saving(saving.job, "0", noise)
    lossless = save(outputs, with_settings(noisy, samples_format="webp", webp_lossless=True))
    with Image.open(lossless.path) as image:
        assert image.tobytes() == noise.image.tobytes()
    sizes = [Path(save(outputs, with_settings(noisy, samples_format="jpg", jpeg_quality=quality)).path).stat().st_size for quality in (20, 95)]
    assert sizes[1] > 2 * sizes[0]


def test_a_format_that_cannot_hold_the_picture_becomes_png(outputs: Outputs, saving: Saving) -> None:
    wide = Picture(Image.new("RGB", (16_500, 4)), saving.picture.plan, 0)
    assert save(outputs, with_settings(Saving(saving.job, "0", wide), samples_format="webp", export_for_4chan=False)).path.endswith(".png")


def test_infotext_beside_the_picture(outputs: Outputs, saving: Saving) -> None:
    record = save(outputs, with_settings(saving, save_txt=True))
    assert Path(record.path).with_suffix(".txt").read_text(encoding="utf-8") == record.infotext + "\n"


def test_an_infotext_too_long_for_jpeg_is_put_beside_it(outputs: Outputs, saving: Saving, job: Job, engine: PaintEngine) -> None:
    assert isinstance(job.request, Txt2Img)
    request = job.request.revise(prompt="long " * 3900, negative_prompt="longer " * 2800)
    picture = Picture(saving.picture.image, make_plan(request, CHECKPOINT, engine.registries), 0)
    record = save(outputs, with_settings(Saving(job, "0", picture), samples_format="jpg"))
    assert read_metadata(Path(record.path).read_bytes()).kind == "none"
    assert Path(record.path).with_suffix(".txt").read_text(encoding="utf-8") == record.infotext + "\n"


@pytest.mark.parametrize(
    ("size", "changes", "expected"),
    [
        ((100, 50), {}, None),
        ((100, 50), {"target_side_length": 64}, (64, 32)),
        ((50, 100), {"target_side_length": 64}, (32, 64)),
        ((64, 64), {"img_downscale_threshold": 0.0001}, (64, 64)),
        ((100, 50), {"target_side_length": 64, "export_for_4chan": False}, None),
    ],
)
def test_a_large_picture_gets_a_jpg_copy(
    outputs: Outputs, saving: Saving, size: tuple[int, int], changes: dict[str, object], expected: tuple[int, int] | None
) -> None:
    large = Saving(saving.job, "0", Picture(Image.new("RGB", size, "blue"), saving.picture.plan, 0))
    record = save(outputs, with_settings(large, **changes))
    copy = Path(record.path).with_suffix(".jpg")
    assert copy.exists() == (expected is not None)
    if expected:
        with Image.open(copy) as image:
            assert image.size == expected and read_metadata(copy.read_bytes()).text == record.infotext


@pytest.mark.parametrize(
    ("count", "changes", "expected"),
    [(1, {}, (1, 1)), (4, {}, (2, 2)), (5, {}, (3, 2)), (5, {"grid_prevent_empty_spots": True}, (5, 1)), (6, {"n_rows": 3}, (2, 3)),
     (2, {"n_rows": 16}, (1, 2)), (6, {"n_rows": 0}, (3, 2)), (12, {"grid_prevent_empty_spots": True}, (4, 3))],
)  # fmt: skip
def test_shape_of_a_grid(count: int, changes: dict[str, object], expected: tuple[int, int]) -> None:
    assert grid_shape(count, 2, PictureSettings().revise(**changes)) == expected


def test_a_grid_holds_the_pictures_in_order(outputs: Outputs, saving: Saving, job: Job) -> None:
    plan = saving.picture.plan
    pictures = [Picture(Image.new("RGB", (64, 64), colour), plan, number) for number, colour in enumerate(("red", "lime", "blue"))]
    records = [save(outputs, Saving(job, str(picture.index), picture)) for picture in pictures]
    path = outputs.save_grid(saving, records).result(10)
    assert path and path.name == "grid-0000.png" and path.parent.parent.name == "txt2img-grids"
    with Image.open(path) as grid:
        assert grid.size == (128, 128)
        assert [grid.getpixel(spot) for spot in ((5, 5), (70, 5), (5, 70), (70, 70))] == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
        assert grid.text["parameters"] == records[0].infotext  # type: ignore[attr-defined]
    extended = with_settings(saving, grid_extended_filename=True, grid_format="jpg", grid_save_to_dirs=False)
    other = outputs.save_grid(extended, records).result(10)
    assert other and other.name == "grid-0000-10.jpg" and other.parent.name == "txt2img-grids"
    assert outputs.save_grid(with_settings(saving, grid_save=False), records).result(10) is None
    assert outputs.save_grid(saving, records[:1]).result(10) is None
    gone = [record.revise(path=f"{record.path}.gone") for record in records]
    assert outputs.save_grid(saving, gone).result(10) is None
    assert outputs.save_grid(with_settings(saving, img_max_size_mp=1), [records[0]] * 400).result(10) is None


@pytest.mark.parametrize("kept", [True, False])
def test_a_mask_that_is_to_be_shown_is_a_picture_of_its_own(outputs: Outputs, saving: Saving, library: Library, kept: bool) -> None:
    """After the picture, as in A1111. Without save_mask its file lies where nothing is kept for ever."""
    mask = Companion("mask", Image.new("RGBA", (32, 48), (0, 0, 255, 90)), kept, shown=True)
    heard: list[PictureRecord] = []
    record = outputs.save(replace(saving, picture=replace(saving.picture, companions=(mask,))), heard.append).result(10)
    rows = library.pictures_of(saving.job.id)
    assert rows == heard and [row.key for row in rows] == ["0", "0.mask"] and rows[0] == record
    assert (rows[1].width, rows[1].height, rows[1].seed, rows[1].infotext) == (32, 48, 10, record.infotext)
    path = Path(rows[1].path)
    assert path.name.endswith("-10-mask.png") and path.is_relative_to(outputs.folder if kept else outputs.scratch)
    assert Path(record.path).is_relative_to(outputs.folder)
    with Image.open(path) as image:
        assert image.getpixel((1, 1)) == (0, 0, 255, 90)


def test_the_copy_of_the_first_pass_lies_beside_the_picture(outputs: Outputs, saving: Saving, library: Library) -> None:
    picture = replace(saving.picture, companions=(Companion("before-highres-fix", Image.new("RGB", (32, 32), "blue")),))
    record = save(outputs, replace(saving, picture=picture))
    copy, whole = sorted(Path(record.path).parent.glob("*.png"))
    assert (copy.name, whole.name) == ("00000-10-before-highres-fix.png", "00001-10.png")
    assert Path(record.path) == whole
    with Image.open(copy) as image:
        assert image.size == (32, 32) and image.text["parameters"] == record.infotext  # type: ignore[attr-defined]
    assert len(library.pictures_of(saving.job.id)) == 1  # a file, no row: pages show the finished picture
