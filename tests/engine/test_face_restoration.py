"""Faces of pictures that are made: restored before anything is laid over them, told in the line, refused before the job when files are missing. The
networks themselves are those of Extras."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.backend.conftest import Hashes
from webui.backend.catalog import Catalog
from webui.backend.image_models import ImageModels
from webui.backend.network_files import NetworkFiles
from webui.engine.extras.faces import UPRIGHT, Face
from webui.engine.runtime import Runtime
from webui.engine.tables import register_tables
from webui.engine.tools import Picture, RunTools
from webui.plugins.registry import Registries
from webui.schema.errors import ModelError
from webui.schema.generation import ImageRef, Txt2Img
from webui.schema.img2img import Img2Img
from webui.schema.machine import DeviceOptions
from webui.schema.settings import PictureSettings
from webui.services.infotext.reader import parse_infotext
from webui.services.infotext.restore import Known, to_request
from webui.services.infotext.writer import write_infotext

FACE = Face((20.0, 20.0, 24.0, 24.0), (UPRIGHT / 16 + (16, 16)).astype(np.float32))
"""In a square of 32 pixels in the middle of 64."""


@pytest.fixture
def runtime(tiny_checkpoint: Path, tmp_path: Path) -> Iterator[Runtime]:
    for name in ("Codeformer/codeformer.pth", "GFPGAN/GFPGANv1.4.pth", "opencv/face_detection_yunet_2023mar.onnx"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    files = NetworkFiles(
        {"face_restorer": (tmp_path / "GFPGAN", tmp_path / "Codeformer"), "face_detector": (tmp_path / "opencv",)}, Hashes(), Hashes(),
    )
    registries = Registries()
    register_tables(registries)
    made = Runtime(DeviceOptions(use_cpu=True, precision="full"), Catalog([tiny_checkpoint.parent], Hashes()), registries, files=files)
    yield made
    made.close()


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, float]]]:
    """Every picture has one face, which becomes red; what did it, with its options."""
    seen: list[tuple[str, dict[str, float]]] = []

    def renewing(model: Path, **options: float) -> Any:
        seen.append((model.name, options))
        return lambda face: np.broadcast_to(np.array((255, 0, 0), np.uint8), face.shape).copy()

    monkeypatch.setattr("webui.engine.extras.faces.find_faces", lambda image, detector: [FACE])
    monkeypatch.setattr("webui.engine.extras.faces.renewing", renewing)
    monkeypatch.setattr(ImageModels, "get", lambda self, path: path)
    return seen


def make(runtime: Runtime, request: Any = None, **settings: Any) -> Picture:
    request = request or Txt2Img(prompt="a red house", steps=2, width=64, height=64, seed=7)
    return next(iter(runtime.generate(request, RunTools(settings=PictureSettings(**settings), open_image=lambda ref: STORE[ref.sha256]))))


STORE = {"a" * 64: Image.new("RGB", (64, 64), (10, 200, 30)), "b" * 64: Image.new("L", (64, 64))}
STORE["b" * 64].paste(255, (30, 30, 64, 64))


def test_a_face_is_restored_and_the_rest_is_not(runtime: Runtime, used: list[tuple[str, dict[str, float]]]) -> None:
    plain, made = make(runtime).image, make(runtime, face_restoration=True, code_former_weight=0.25)
    assert used == [("codeformer.pth", {"weight": 0.25})]
    assert made.image.getpixel((32, 32)) == (255, 0, 0) and made.image.getpixel((3, 3)) == plain.getpixel((3, 3)) and made.companions == ()
    saved = make(runtime, face_restoration=True, face_restoration_model="GFPGAN", save_images_before_face_restoration=True)
    assert used[1:] == [("GFPGANv1.4.pth", {})]
    assert [(one.ending, one.image.tobytes()) for one in saved.companions] == [("before-face-restoration", plain.tobytes())]


def test_what_is_not_masked_is_kept_over_a_restored_face(runtime: Runtime, used: list[Any]) -> None:
    image, mask = (ImageRef(sha256=name, width=64, height=64) for name in STORE)
    request = Img2Img(mode="inpaint", image=image, mask=mask, mask_blur=0, steps=2, width=64, height=64, seed=7)
    made = make(runtime, request, face_restoration=True).image
    assert made.getpixel((34, 34)) == (255, 0, 0) and made.getpixel((26, 26)) == (10, 200, 30) and len(used) == 1


@pytest.mark.parametrize(("settings", "told"), [
    ({}, ""), ({"face_restoration": True}, "Face restoration: CodeFormer, "),
    ({"face_restoration": True, "face_restoration_model": "GFPGAN", "code_former_weight": 0.2}, "Face restoration: GFPGAN, "),
    ({"face_restoration": True, "code_former_weight": 0.2}, "CodeFormer weight: 0.2"),
])
def test_the_line_says_so_both_ways(runtime: Runtime, settings: dict[str, Any], told: str) -> None:
    request = Txt2Img(steps=2, width=64, height=64, seed=7, enable_hr=True)
    line = write_infotext(runtime.plan(request, PictureSettings(**settings)), 0, None)
    assert told in line and ("Face restoration" in line) == bool(settings)
    read, _ = to_request(parse_infotext(line), Known())
    assert read.settings == {name: value for name, value in settings.items() if told.endswith("0.2") or name != "code_former_weight"}
    same, _ = to_request(parse_infotext(line), Known(settings=PictureSettings(**settings)))
    assert same.settings == {}


def test_other_restorers_are_named() -> None:
    read, comments = to_request(parse_infotext("a\nSteps: 20, Sampler: Euler, CFG scale: 7, Face restoration: Other"), Known())
    assert read.settings == {"face_restoration": True} and comments[-1:] == ["There is no face restorer “Other” here; CodeFormer is taken."]


def test_the_field_of_a_request_stands_for_the_setting() -> None:
    assert Txt2Img(settings={"eta_ddim": 1}).overrides == {"eta_ddim": 1}
    assert Txt2Img(restore_faces=True, settings={"eta_ddim": 1}).overrides == {"eta_ddim": 1, "face_restoration": True}
    assert Txt2Img(restore_faces=False).overrides == {"face_restoration": False}


def test_files_that_went_meanwhile_are_an_error(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "opencv" / "face_detection_yunet_2023mar.onnx").unlink()
    with pytest.raises(ModelError, match="not there any more"):
        make(runtime, face_restoration=True)
