"""img2img with models that look at a picture: each gets its own, and what is not masked stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.backend.conftest import Hashes
from tools.random_checkpoint import KINDS, write_checkpoint
from webui.backend.catalog import Catalog
from webui.engine.runtime import Runtime
from webui.engine.tables import register_tables
from webui.engine.tools import Picture, RunTools
from webui.plugins.host import PluginHost
from webui.plugins.registry import Registries
from webui.schema.generation import ImageRef
from webui.schema.img2img import Img2Img
from webui.schema.machine import DeviceOptions
from webui.schema.settings import PictureSettings

NOISE = Image.fromarray(np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8))
MASK = Image.new("L", NOISE.size)
MASK.paste(255, (20, 20, 60, 50))
IMAGE, HOLE = (ImageRef(sha256=letter * 64, width=96, height=64) for letter in "ab")
Make = Callable[..., Picture]


@pytest.fixture(params=["sd1-inpainting", "sd1-edit", "sdxl-inpainting", "sdxl"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def make(kind: str, tmp_path: Path) -> Make:
    write_checkpoint(tmp_path / f"{kind}.safetensors", KINDS["tiny"][kind], 5)
    registries = Registries()
    register_tables(registries)
    runtime = Runtime(DeviceOptions(use_cpu=True, precision="full"), Catalog([tmp_path], Hashes()), registries, PluginHost(registries))

    def run(settings: PictureSettings | None = None, **changes: object) -> Picture:
        asked = {"mode": "inpaint", "image": IMAGE, "mask": HOLE, "mask_blur": 0, "width": 96, "height": 64, "steps": 2, "seed": 1}
        tools = RunTools(settings=settings or PictureSettings(), open_image=lambda ref: NOISE if ref == IMAGE else MASK)
        return next(runtime.generate(Img2Img.model_validate(asked | changes), tools))

    return run


def test_every_kind_of_model_inpaints(make: Make, kind: str) -> None:
    one = make()
    same = (np.asarray(one.image) == np.asarray(NOISE)).all(-1)
    kept = np.asarray(MASK) == 0
    assert same[kept].all() and not same[~kept].all()
    fields = dict(one.plan.extras)
    assert ("Conditional mask weight" in fields) == kind.endswith("inpainting") and ("Image CFG scale" in fields) == kind.endswith("edit")
    if kind.endswith("inpainting"):
        assert make(PictureSettings(inpainting_mask_weight=0.0)).image.tobytes() != one.image.tobytes()
    if kind.endswith("edit"):
        assert make(image_cfg_scale=3.0).image.tobytes() != one.image.tobytes()
        assert make(image_cfg_scale=3.0, cfg_scale=1.0).image.tobytes() != make(image_cfg_scale=1.0, cfg_scale=1.0).image.tobytes()
