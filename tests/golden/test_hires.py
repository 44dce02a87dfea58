"""Sizes of hires fix, case by case: through the plan, so that what is tested is what runs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.golden.vectors import cases
from webui.engine.hires import CELL, first_pass_size, size_of
from webui.engine.plan import make_plan
from webui.engine.tables import register_tables
from webui.plugins.registry import Registries
from webui.schema.generation import Txt2Img
from webui.schema.model import Checkpoint
from webui.schema.settings import PictureSettings

CHECKPOINT = Checkpoint(name="a.safetensors", path="/a", size=1, mtime=1, family="sd1")


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in cases("hires_size")])
def test_sizes_of_both_passes(case: dict[str, Any]) -> None:
    if case.get("kind") == "old_first_pass":
        assert list(first_pass_size(case["width"], case["height"])) == case["first_pass"]
        return
    registries, settings = Registries(), PictureSettings(use_old_hires_fix_width_height=case["use_old_hires_fix_width_height"])
    register_tables(registries)
    sizes = {name: case[name] for name in ("width", "height", "hr_scale", "hr_resize_x", "hr_resize_y")}
    request = Txt2Img(seed=1, enable_hr=True, **sizes)
    plan = make_plan(request, CHECKPOINT, registries, settings=settings)
    first, second = plan.passes
    assert second.enlarge is not None
    assert [first.width, first.height] == case["first_pass"]
    assert [second.enlarge.width, second.enlarge.height] == case["upscale_to"]
    assert list(second.enlarge.cut) == case["truncate_latent"]
    cells = [side // CELL - cut for side, cut in zip(case["upscale_to"], case["truncate_latent"], strict=True)]
    assert [second.width // CELL, second.height // CELL] == cells
    assert (second.width, second.height) == size_of(request, settings).final
    assert {key: value for key, value in plan.extras if key in ("Hires upscale", "Hires resize")} == case["infotext"]
