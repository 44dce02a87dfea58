"""The operations of Extras on pictures: A1111's sizes, notes and names, and what each does to the pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from tests.backend.image_networks import save_esrgan
from webui.backend.device import Device
from webui.backend.image_models import ImageModels
from webui.engine.captions import Captioner
from webui.engine.enlarging import Enlarger
from webui.engine.extras import faces as face_module
from webui.engine.extras.crops import Autosize, Hints, autosized, fill_size, focal_point, split_oversized
from webui.engine.extras.faces import UPRIGHT, Face, Mender, find_faces, restore
from webui.engine.extras.piece import Piece, endings
from webui.engine.extras.pipeline import DO, Bench, limited, process, target_size
from webui.engine.tables import register_tables
from webui.engine.tools import RunTools, Step
from webui.plugins.registry import Registries
from webui.schema.errors import Cancelled, ModelError, RequestError
from webui.schema.extras import OPERATIONS, Extras
from webui.schema.sampling import UpscalerSpec

CPU = Device(torch.device("cpu"), torch.float32, torch.float32, "sdpa")


def picture(width: int, height: int) -> Image.Image:
    """Colours that say where they are."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    registries, models = Registries(), ImageModels(CPU)
    register_tables(registries)
    registries.add_upscaler(UpscalerSpec(name="net", file=str(save_esrgan(tmp_path / "net.safetensors"))))
    return Bench(Enlarger(models), Mender(models, lambda kind, name: None), registries.upscalers, Captioner(CPU, None), RunTools())


def run(bench: Bench, image: Image.Image, **fields: Any) -> list[Piece]:
    return process(image, Extras(**{"upscale": False, **fields}), bench)


def test_every_operation_has_a_function_and_a_switch() -> None:
    assert list(DO) == list(OPERATIONS)
    for name, fields in OPERATIONS.items():
        assert Extras.model_fields[name].annotation is bool
        assert set(fields) <= set(Extras.model_fields)


def test_scale_by(bench: Bench) -> None:
    (piece,) = run(bench, picture(50, 30), upscale=True, upscaler_1="Lanczos", upscaling_resize=3)
    assert piece.image.size == (144, 88)  # whole multiples of 8, as in A1111
    assert piece.notes == {"Postprocess upscale by": 3.0, "Postprocess upscaler": "Lanczos"}


def test_max_side_length(bench: Bench) -> None:
    (piece,) = run(bench, picture(64, 32), upscale=True, upscaler_1="Lanczos", upscaling_resize=4, max_side_length=128)
    assert piece.image.size == (128, 64)
    assert piece.notes == {"Postprocess upscale by": 4.0, "Max side length": 128, "Postprocess upscaler": "Lanczos"}
    assert limited((300, 200), 150) == (150, 100) and limited((200, 300), 150) == (100, 150) and limited((20, 30), 150) == (20, 30)


def test_scale_to_crops_the_middle_or_covers(bench: Bench) -> None:
    fields = {"upscale": True, "upscaler_1": "Lanczos", "resize_mode": "Scale to", "upscaling_resize_w": 128, "upscaling_resize_h": 128}
    (piece,) = run(bench, picture(64, 32), **fields)
    assert piece.image.size == (128, 128)
    assert piece.notes["Postprocess upscale to"] == "128x128" and piece.notes["Postprocess crop to"] == "128x128"
    red = np.asarray(piece.image)[:, :, 0].astype(int)
    assert abs(red[:, 64].mean() - 127) < 4  # the middle stays the middle
    (whole,) = run(bench, picture(64, 32), **fields, upscaling_crop=False)
    assert whole.image.size == (256, 128)


def test_two_upscalers_are_mixed(bench: Bench) -> None:
    fields: dict[str, Any] = {"upscale": True, "upscaler_1": "Lanczos", "upscaling_resize": 2}
    one, two = (run(bench, picture(32, 32), **fields | {"upscaler_1": name})[0].image for name in ("Lanczos", "Nearest"))
    (mixed,) = run(bench, picture(32, 32), **fields, upscaler_2="Nearest", upscaler_2_visibility=0.25)
    assert mixed.notes["Postprocess upscaler 2"] == "Nearest"
    assert np.array_equal(np.asarray(mixed.image), np.asarray(Image.blend(one, two, 0.25)))
    (alone,) = run(bench, picture(32, 32), **fields, upscaler_2="Nearest", upscaler_2_visibility=0)
    assert "Postprocess upscaler 2" not in alone.notes


def test_transparency_survives_a_network(bench: Bench) -> None:
    image = picture(32, 32)
    image.putalpha(Image.linear_gradient("L").resize((32, 32)))
    (piece,) = run(bench, image, upscale=True, upscaler_1="net", upscaling_resize=2)
    assert piece.image.mode == "RGBA" and piece.image.size == (64, 64)
    alpha = np.asarray(piece.image.getchannel("A")).astype(int)
    assert alpha[0].mean() < 10 < 245 < alpha[-1].mean()


def test_none_leaves_the_picture(bench: Bench) -> None:
    image = picture(33, 21)
    (piece,) = run(bench, image, upscale=True, upscaler_1="None")
    assert piece.image is image and piece.notes == {}


def test_what_is_too_large_is_refused_before_it_is_made(bench: Bench) -> None:
    with pytest.raises(RequestError, match="32768") as caught:
        run(bench, Image.new("RGB", (4096, 4096)), upscale=True, upscaler_1="Lanczos", upscaling_resize=8)
    assert caught.value.field == "upscaling_resize"


def test_the_target_size_is_that_of_upscaling_also_without_it() -> None:
    assert target_size((100, 50), Extras(upscale=False, upscaling_resize=2)) == (200, 100)
    assert target_size((100, 50), Extras(upscaling_resize=4, max_side_length=100)) == (100, 50)
    assert target_size((100, 50), Extras(resize_mode="Scale to", upscaling_resize_w=64, upscaling_resize_h=72)) == (64, 72)


def test_split_covers_a_long_picture_with_overlap() -> None:
    parts = split_oversized(picture(100, 400), (100, 100), 0.5, 0.2)
    assert [part.size for part in parts] == [(100, 100)] * 5
    tops = [np.asarray(part)[0, :, 1].mean() for part in parts]
    assert tops == sorted(tops) and tops[0] < 3
    assert np.asarray(parts[-1])[-1, :, 1].mean() > 252
    assert [part.size for part in split_oversized(picture(400, 100), (100, 100), 0.5, 0.2)] == [(100, 100)] * 5
    assert split_oversized(same := picture(100, 150), (100, 100), 0.5, 0.2) == [same]


def test_pieces_are_named_like_in_a1111(bench: Bench) -> None:
    size = {"resize_mode": "Scale to", "upscaling_resize_w": 64, "upscaling_resize_h": 64}
    pieces = run(bench, picture(64, 256), split=True, flip=True, flips=["Horizontal"], **size)
    assert endings(pieces)[:4] == ["", "-horizontal", "-1", "-horizontal-1"]
    first, mirrored = pieces[0].image, pieces[1].image
    assert np.array_equal(np.asarray(first)[:, ::-1], np.asarray(mirrored))


def test_flips(bench: Bench) -> None:
    image = picture(16, 8)
    pieces = run(bench, image, flip=True, flips=["Vertical", "Both"])
    assert [piece.tags for piece in pieces] == [(), ("vertical",), ("both",)]
    assert np.array_equal(np.asarray(pieces[1].image), np.asarray(image)[::-1])
    assert np.array_equal(np.asarray(pieces[2].image), np.asarray(image)[::-1, ::-1])


def test_autosized_crop() -> None:
    limits = Autosize((384, 768), (64 * 64, 640 * 640), True, 0.1)
    made = autosized(picture(900, 600), limits)
    assert made is not None and made.size == (768, 512)
    assert autosized(picture(2000, 100), limits) is None
    near = autosized(picture(900, 600), Autosize((384, 768), (64 * 64, 640 * 640), False, 0.1))
    assert near is not None and near.width / near.height == pytest.approx(1.5)


def test_focal_point_follows_what_is_there() -> None:
    image = Image.new("RGB", (400, 200), "#808080")
    spots = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    image.paste(Image.fromarray(spots), (320, 100))
    x, _ = focal_point(image, Hints([], 0, 0, 1))
    assert x > 0.75
    x, _ = focal_point(image, Hints([], 0, 1, 0))
    assert x > 0.6
    assert focal_point(image, Hints([((0.1, 0.2), 5.0)], 1, 0, 0)) == (0.1, 0.2)
    assert focal_point(Image.new("RGB", (64, 64)), Hints([], 0.9, 0, 0.5)) == (0.5, 0.5)


def test_fill_size_stays_inside() -> None:
    made = np.asarray(fill_size(picture(400, 200), (100, 100), (0.99, 0.5)))
    assert made.shape == (100, 100, 3)
    assert made[:, -1, 0].mean() > 250 and 120 < made[:, 0, 0].mean() < 135


def test_focal_crop_shows_its_point_as_a_picture_of_its_own(bench: Bench) -> None:
    pieces = run(bench, picture(64, 32), focal_crop=True, focal_debug=True, resize_mode="Scale to", upscaling_resize_w=64, upscaling_resize_h=64,
                 flip=True)
    assert endings(pieces) == ["", "-horizontal", "-focal-crop-debug"]  # the sheet is not flipped
    assert pieces[0].image.size == (64, 64)


def test_faces_are_changed_and_the_rest_is_not() -> None:
    image = picture(600, 400)
    points = (UPRIGHT / 512 * 120 + (200, 100)).astype(np.float32)
    seen = []

    def renew(face: np.ndarray) -> np.ndarray:
        seen.append(face.shape)
        return np.zeros_like(face)

    made = np.asarray(restore(image, [Face((200, 100, 120, 120), points)], renew)).astype(int)
    before = np.asarray(image).astype(int)
    assert seen == [(512, 512, 3)]
    assert made[160, 260].max() < 5
    assert np.array_equal(made[:80], before[:80]) and np.array_equal(made[:, 350:], before[:, 350:])


def test_a_face_is_set_upright() -> None:
    image = Image.new("RGB", (512, 512))
    draw = ImageDraw.Draw(image)
    turned = np.array([(512 - y, x) for x, y in UPRIGHT], np.float32)  # lying on its side
    draw.ellipse((turned[2, 0] - 12, turned[2, 1] - 12, turned[2, 0] + 12, turned[2, 1] + 12), fill="red")
    faces: list[np.ndarray] = []
    restore(image, [Face((0, 0, 512, 512), turned)], lambda face: faces.append(face) or face)
    y, x = np.argwhere(faces[0][:, :, 0] > 128).mean(0)
    assert (x, y) == pytest.approx(tuple(UPRIGHT[2]), abs=4)


def test_a_file_that_finds_no_faces_is_named(tmp_path: Path) -> None:
    path = tmp_path / "face_detection_yunet.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(ModelError, match="face_detection_yunet"):
        find_faces(picture(64, 64), path)


def test_gfpgan_notes_its_visibility(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []

    def find(kind: str, name: str) -> Path:
        seen.append((kind, name))
        return tmp_path / "net.safetensors"

    monkeypatch.setattr("webui.engine.extras.faces.find_faces", lambda image, detector: [])
    mender = replace(bench.mender, find_file=find)
    made = process(picture(32, 32), Extras(upscale=False, gfpgan=True, gfpgan_visibility=0.5), replace(bench, mender=mender))
    assert made[0].notes == {"GFPGAN visibility": 0.5}
    assert ("gfpgan", "") in seen and ("face_detector", "") in seen
    with pytest.raises(ModelError, match="not there any more"):
        run(bench, picture(32, 32), codeformer=True)
    assert face_module.SIDE == 512


def test_progress_grows_and_a_stop_is_obeyed(bench: Bench) -> None:
    shares: list[float] = []

    def report(step: Step) -> None:
        shares.append(step.share or 0.0)
        if len(shares) == 4:
            tools.cancel.interrupt()

    tools = RunTools(report=report)
    with pytest.raises(Cancelled):
        process(picture(300, 300), Extras(upscaler_1="net", upscaling_resize=4, flip=True), replace(bench, tools=tools))
    assert shares == sorted(shares) and 0 < shares[-1] < 0.5
