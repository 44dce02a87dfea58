"""img2img means something: the demo model puts a star where the mask is, makes a thing of rough strokes, and keeps what it is told to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.backend.conftest import Hashes
from tools.demo_model.judge import judge
from webui.backend.catalog import Catalog
from webui.engine.runtime import Runtime
from webui.engine.tables import register_tables
from webui.engine.tools import RunTools
from webui.plugins.host import PluginHost
from webui.plugins.registry import Registries
from webui.schema.generation import ImageRef
from webui.schema.img2img import Img2Img
from webui.schema.machine import DeviceOptions

pytestmark = pytest.mark.slow
MODELS = Path(__file__).parents[2] / "models" / "Stable-diffusion"
WHITE = (255, 255, 255)
Draw = Callable[..., Image.Image]


@pytest.fixture(scope="module")
def draw() -> Iterator[Draw]:
    registries = Registries()
    register_tables(registries)
    runtime = Runtime(DeviceOptions(use_cpu=True), Catalog([MODELS], Hashes()), registries, PluginHost(registries))

    def run(**changes: Any) -> Image.Image:
        store: dict[str, Image.Image] = {}
        for name, value in changes.items():
            if isinstance(value, Image.Image):
                key = f"{len(store):064x}"
                store[key], changes[name] = value, ImageRef(sha256=key, width=value.width, height=value.height)
        request = Img2Img(**{"width": 256, "height": 256, "steps": 20, "cfg_scale": 5.0, "seed": 3} | changes)
        return next(runtime.generate(request, RunTools(open_image=lambda ref: store[ref.sha256]))).image

    yield run
    runtime.close()


def red_circle(side: int = 256, box: tuple[int, int, int, int] = (70, 70, 186, 186)) -> Image.Image:
    """A flat red circle on white."""
    image = Image.new("RGB", (side, side), WHITE)
    ImageDraw.Draw(image).ellipse(box, fill=(222, 40, 40))
    return image


def box_mask(side: int, box: tuple[int, int, int, int]) -> Image.Image:
    """White where the box is."""
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).rectangle(box, fill=255)
    return mask


def pixels(image: Image.Image) -> np.ndarray:
    """(height, width, 3)"""
    return np.asarray(image).astype(float)


def detail(image: Image.Image) -> float:
    """How sharply the middle of a picture of 1024 is drawn: what is lost when it is made a quarter as large."""
    part = image.crop((348, 348, 676, 676))
    small = part.resize((82, 82), Image.Resampling.LANCZOS).resize(part.size, Image.Resampling.LANCZOS)
    return float(np.abs(pixels(part) - pixels(small)).mean())


STAR = "a yellow star on a white background"
MASK = box_mask(256, (44, 44, 212, 212))


def test_a_star_comes_where_the_mask_is_and_the_rest_stays(draw: Draw) -> None:
    given = red_circle()
    made = draw(mode="inpaint", image=given, mask=MASK, prompt=STAR, denoising_strength=0.95, inpainting_fill="fill")
    assert (judge(made).thing, judge(made).colour) == ("star", "yellow")
    rim = np.ones((256, 256), bool)
    rim[30:226, 30:226] = False
    assert (pixels(made)[rim] == pixels(given)[rim]).all()


def test_rough_strokes_become_the_thing_asked_for(draw: Draw) -> None:
    strokes = Image.new("RGBA", (256, 256))
    ImageDraw.Draw(strokes).ellipse((60, 60, 196, 196), fill=(250, 215, 20, 255))
    made = draw(mode="sketch", image=Image.new("RGB", (256, 256), WHITE), colour=strokes, prompt=STAR, denoising_strength=0.85)
    assert (judge(made).thing, judge(made).colour) == ("star", "yellow")


def test_little_strength_keeps_and_much_changes(draw: Draw) -> None:
    given = red_circle()
    little, much = (draw(image=given, prompt=STAR, denoising_strength=strength) for strength in (0.2, 0.9))
    change = [np.abs(pixels(one) - pixels(given)).mean() for one in (little, much)]
    assert change[0] < 16 and change[1] > 2 * change[0], change
    inside, outside = (128, 128), (20, 20)
    red, green, _ = little.getpixel(inside)  # type: ignore[misc]
    assert red > 180 and green < 90 and min(little.getpixel(outside)) > 225  # type: ignore[type-var]  # the circle, where it was
    assert (judge(much).thing, judge(much).colour) == ("star", "yellow")


def test_soft_inpainting_leaves_no_seam(draw: Draw) -> None:
    """Across the edge of the mask the picture steps no more than it does within either half; a hard mask makes it step there."""
    given = Image.linear_gradient("L").resize((256, 256)).convert("RGB")
    mask = box_mask(256, (0, 0, 127, 255))
    seam = []
    for soft in (False, True):
        made = draw(mode="inpaint", image=given, mask=mask, prompt="a blue sky", denoising_strength=0.8, mask_blur=16 * soft, soft_inpainting=soft)
        steps = np.abs(np.diff(pixels(made), axis=1)).mean((0, 2))  # from each column to the next
        within = max(steps[8:96].max(), steps[160:248].max())
        seam.append(steps[112:144].max() / within)
        assert np.abs(pixels(made) - pixels(given))[:, :96].mean() > 20  # something else is there now
    hard, softened = seam
    assert hard > 2 and softened < 1.2, seam


def test_only_masked_draws_small_things_with_all_pixels(draw: Draw) -> None:
    """A 256 pixel model on a part of a picture of 1024: a star where it would have seen 64 pixels, and nothing else changed."""
    given = red_circle(1024, (400, 400, 600, 600))
    made = draw(
        mode="inpaint", image=given, mask=box_mask(1024, (380, 380, 620, 620)), prompt=STAR, denoising_strength=0.95, inpainting_fill="fill",
        inpaint_full_res=True,
    )
    assert made.size == (1024, 1024)
    whole = draw(
        mode="inpaint", image=given.resize((256, 256)), mask=box_mask(256, (95, 95, 155, 155)), prompt=STAR, denoising_strength=0.95,
        inpainting_fill="fill",
    ).resize((1024, 1024), Image.Resampling.LANCZOS)  # what the model makes of that part when it sees all of the picture
    assert detail(made) > 1.5 * detail(whole)
    seen = judge(made.crop((348, 348, 652, 652)))
    assert (seen.thing, seen.colour) == ("star", "yellow")
    far = np.ones((1024, 1024), bool)
    far[360:640, 360:640] = False
    assert (pixels(made)[far] == pixels(given)[far]).all()


def test_a_picture_in_a_larger_frame_goes_on(draw: Draw) -> None:
    """Outpainting: the margin was transparent, and becomes what stands next to it."""
    frame = Image.new("RGBA", (384, 256))
    frame.paste(Image.new("RGB", (256, 256), (90, 160, 240)), (0, 0))
    mask = Image.new("L", frame.size)
    mask.paste(255, (240, 0, 384, 256))
    made = draw(mode="inpaint", image=frame, mask=mask, width=384, prompt="a blue background", denoising_strength=0.6)
    assert np.abs(pixels(made)[:, 270:].mean((0, 1)) - (90, 160, 240)).max() < 60
