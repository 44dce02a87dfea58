"""img2img on the tiny checkpoint: what stays, how many steps are done, what is refused, what the line says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from webui.engine.img2img import size_of
from webui.engine.runtime import Runtime
from webui.engine.soft_inpainting import shown_mask
from webui.engine.tools import Picture, RunTools, Step
from webui.schema.errors import RequestError
from webui.schema.generation import ImageRef
from webui.schema.img2img import Img2Img, SoftInpainting
from webui.schema.settings import PictureSettings

Make = Callable[..., list[Picture]]
NOISE = Image.fromarray(np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8))
"""The picture that is worked on: every pixel tells whether it is the one that was given."""

CIRCLE = Image.new("L", NOISE.size)
ImageDraw.Draw(CIRCLE).ellipse((30, 20, 60, 44), fill=255)
STROKES = Image.new("RGBA", NOISE.size)
ImageDraw.Draw(STROKES).rectangle((10, 10, 40, 40), fill=(250, 0, 0, 255))


def array(image: Image.Image) -> np.ndarray:
    """(height, width, channels)"""
    return np.asarray(image).astype(int)


def beside(picture: Picture) -> dict[str, Image.Image]:
    """What is made beside a picture, by the ending of its name."""
    return {one.ending: one.image for one in picture.companions}


class Store:
    """Pictures by their names, as the image store gives them."""

    def __init__(self) -> None:
        self.images: dict[str, Image.Image] = {}

    def put(self, image: Image.Image) -> ImageRef:
        name = f"{len(self.images):064x}"
        self.images[name] = image
        return ImageRef(sha256=name, width=image.width, height=image.height)

    def open(self, ref: ImageRef) -> Image.Image:
        return self.images[ref.sha256]


@pytest.fixture(scope="module")
def make(runtime: Runtime) -> Make:
    """Pictures of a small request; pictures among the keywords are put into the store, `settings` are the job's."""

    def run(settings: PictureSettings | None = None, report: Callable[[Step], None] | None = None, **changes: Any) -> list[Picture]:
        store = Store()
        values = {"image": NOISE, "prompt": "a red house", "seed": 7, "steps": 4, "width": 96, "height": 64} | changes
        values = {name: store.put(value) if isinstance(value, Image.Image) else value for name, value in values.items()}
        tools = RunTools(settings=settings or PictureSettings(), open_image=store.open, report=report or (lambda step: None))
        return list(runtime.generate(Img2Img(**values), tools))

    return run


@pytest.mark.parametrize("mode", ["img2img", "sketch", "inpaint", "inpaint_sketch", "inpaint_upload"])
def test_every_mode_gives_a_picture_of_the_right_size(make: Make, mode: str) -> None:
    one = make(mode=mode, mask=CIRCLE, colour=STROKES)[0]
    assert one.image.size == (96, 64) and one.image.mode == "RGB"
    assert one.image.tobytes() != NOISE.tobytes()
    assert make(mode=mode, mask=CIRCLE, colour=STROKES)[0].image.tobytes() == one.image.tobytes()


@pytest.mark.parametrize("changes", [
    {"mask_blur": 4}, {"mask_blur": 0}, {"inpaint_full_res": True, "inpaint_full_res_padding": 8}, {"inpainting_fill": "latent noise"},
    {"inpainting_fill": "fill"}, {"inpainting_fill": "latent nothing"}, {"soft_inpainting": True, "mask_blur": 2, "soft_threshold": 8},
    {"resize_mode": "Crop and resize"}, {"resize_mode": "Just resize (latent upscale)"}, {"inpainting_mask_invert": True, "mask_blur": 1},
    {"sampler": "DDIM"},
])  # fmt: skip
def test_what_is_not_masked_stays_to_the_bit(make: Make, changes: dict[str, Any]) -> None:
    """The mask that is saved says what of the result is shown."""
    one = make(PictureSettings(save_mask=True), mode="inpaint", mask=CIRCLE, **changes)[0]
    same = (array(one.image) == array(NOISE)).all(-1)
    hidden = np.asarray(beside(one)["mask"].convert("L")) == 0
    assert hidden.sum() > 100 and same[hidden].all()
    assert not same[~hidden].all()
    if changes == {"mask_blur": 0}:
        assert (hidden == (np.asarray(CIRCLE) == 0)).all()


def test_soft_inpainting_shows_only_what_changed() -> None:
    before = torch.zeros(4, 8, 12)
    after = before.clone()
    after[:, :, 6:] = 10.0
    shown = np.asarray(shown_mask(before, after, torch.ones(8, 12), SoftInpainting(), (96, 64)))
    assert shown.shape == (64, 96) and (shown[:, :8] < 5).all() and (shown[:, 72:] > 250).all()  # its filters reach some cells far
    with_mask = SoftInpainting(soft_influence=1.0)  # cells that were to be kept need a larger distance
    assert np.asarray(shown_mask(before, after, torch.zeros(8, 12), with_mask, (96, 64))).max() < 10


@pytest.mark.parametrize(("strength", "exact", "done"), [(0.5, False, 6), (1.0, False, 10), (0.0, False, 1), (0.75, False, 8), (0.5, True, 10)])
def test_steps_that_are_done(make: Make, strength: float, exact: bool, done: int) -> None:
    told: list[Step] = []
    settings = PictureSettings(img2img_fix_steps=exact)
    one = make(settings, told.append, denoising_strength=strength, steps=10, sampler="Euler")[0]
    assert one.plan.passes[0].done == done
    steps = [step.step for step in told if step.phase == "sampling"]
    assert steps == list(range(done + 1)) and told[-1].steps == done


@pytest.mark.parametrize("sampler", ["DDIM", "PLMS", "UniPC", "Euler a", "DPM++ 2M SDE", "DPM fast", "DPM adaptive", "LCM", "Restart"])
@pytest.mark.parametrize("strength", [0.0, 0.05, 1.0])
def test_no_strength_is_too_little_or_too_much(make: Make, sampler: str, strength: float) -> None:
    one = make(sampler=sampler, denoising_strength=strength)[0]
    assert one.image.size == (96, 64) and not one.partial


def test_strength_decides_how_much_changes(make: Make) -> None:
    little, much = (np.abs(array(make(denoising_strength=value, steps=10)[0].image) - array(NOISE)).mean() for value in (0.1, 0.9))
    assert little < much


def test_sizes() -> None:
    image = ImageRef(sha256="0" * 64, width=101, height=50)
    assert size_of(Img2Img(image=image, width=96, height=64)) == (96, 64)
    assert size_of(Img2Img(image=image, resize_by=2.0)) == (200, 96)


def test_only_masked_keeps_the_picture_s_size(make: Make) -> None:
    large = NOISE.resize((300, 200))
    mask = Image.new("L", large.size)
    ImageDraw.Draw(mask).rectangle((100, 100, 140, 130), fill=255)
    one = make(image=large, mode="inpaint", mask=mask, inpaint_full_res=True, width=64, height=64)[0]
    assert one.image.size == large.size
    changed = (array(one.image) != array(large)).any(-1)
    ys, xs = np.nonzero(changed)
    assert xs.min() > 80 and xs.max() < 160 and ys.min() > 80 and ys.max() < 150


def test_a_batch_begins_with_the_same_picture_and_has_its_own_noise(make: Make) -> None:
    pictures = make(batch_size=2, batch_count=2, mode="inpaint", mask=CIRCLE, inpainting_fill="latent noise")
    assert len({one.image.tobytes() for one in pictures}) == 4
    assert [one.seed for one in pictures] == [7, 8, 9, 10]


@pytest.mark.parametrize(("changes", "field"), [
    ({"image": None}, "image"), ({"mode": "inpaint"}, "mask"), ({"mode": "inpaint_upload"}, "mask"), ({"mode": "inpaint_sketch"}, "colour"),
    ({"mode": "inpaint", "mask": Image.new("L", (8, 8), 255)}, "mask"), ({"resize_by": 0.1}, "resize_by"), ({"resize_by": 16.0, "image":
    Image.new("RGB", (1000, 1000))}, "resize_by"), ({"mode": "inpaint", "mask": Image.new("L", NOISE.size)}, "mask"),
    ({"mode": "inpaint", "mask": Image.new("L", NOISE.size, 255), "inpainting_mask_invert": True}, "mask"),
    ({"mode": "inpaint_sketch", "colour": Image.new("RGBA", NOISE.size)}, "colour"),
    ({"image": Image.new("RGB", (5, 500)), "resize_mode": "Just resize (latent upscale)"}, "resize_mode"),
    ({"settings": PictureSettings(img2img_fix_steps=True), "denoising_strength": 0.0}, "denoising_strength"),
    ({"settings": PictureSettings(upscaler_for_img2img="nothing")}, "settings.upscaler_for_img2img"),
    ({"settings": PictureSettings(upscaler_for_img2img="Latent")}, "settings.upscaler_for_img2img"),
])  # fmt: skip
def test_what_cannot_be_done_is_refused_at_its_field(make: Make, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        make(**changes)
    assert caught.value.field == field and caught.value.hint


def test_the_line_says_how(make: Make) -> None:
    settings = PictureSettings(initial_noise_multiplier=0.9, img2img_extra_noise=0.1, save_init_img=True)
    one = make(
        settings, mode="inpaint", mask=CIRCLE, inpaint_full_res=True, inpainting_fill="latent noise", soft_inpainting=True,
        inpainting_mask_invert=True, resize_mode="Resize and fill", sampler="Euler",
    )[0]
    fields = dict(one.plan.extras)
    assert list(fields) == [
        "Soft inpainting enabled", "Soft inpainting schedule bias", "Soft inpainting preservation strength",
        "Soft inpainting transition contrast boost", "Soft inpainting mask influence", "Soft inpainting difference threshold",
        "Soft inpainting difference contrast", "Denoising strength",
        "Mask mode", "Mask blur", "Inpaint area", "Masked area padding", "Masked content", "Noise multiplier", "Resize mode", "Extra noise",
        "Init image hash",
    ]
    assert fields["Masked content"] == "latent noise" and fields["Mask mode"] == "Inpaint not masked" and fields["Masked area padding"] == 32
    assert one.original is NOISE


def test_transparent_parts_get_the_background_or_what_is_around_them(make: Make) -> None:
    """A picture in a larger, empty frame: under the mask it begins with the colours next to it, elsewhere with the background."""
    frame = Image.new("RGBA", (96, 64))
    frame.paste(Image.new("RGB", (64, 64), (200, 30, 30)), (0, 0))
    mask = Image.new("L", frame.size)
    mask.paste(255, (56, 0, 96, 32))
    one = make(image=frame, mode="inpaint", mask=mask, denoising_strength=0.0, mask_blur=0, settings=PictureSettings(overlay_inpaint=True))[0]
    assert tuple(array(one.image)[60, 90]) == (255, 255, 255)
    assert tuple(array(one.image)[60, 10]) == (200, 30, 30)
    plain = make(image=frame, settings=PictureSettings(img2img_background_color="#000000"))[0]
    assert plain.image.tobytes() != make(image=frame)[0].image.tobytes()


@pytest.mark.parametrize("method", ["Histogram", "Wavelet", "AdaIN"])
def test_colour_correction_brings_the_colours_back(make: Make, method: str) -> None:
    target = Image.new("RGB", NOISE.size, (40, 90, 160))
    means = []
    for on in (False, True):
        settings = PictureSettings(img2img_color_correction=on, color_correction_method=method, save_images_before_color_correction=True)
        one = make(settings, image=target, denoising_strength=0.9)[0]
        means.append(np.abs(array(one.image).mean((0, 1)) - (40, 90, 160)).sum())
        assert [*beside(one)] == ["before-color-correction"] * on
    assert means[1] < means[0]


def test_masks_are_saved_beside_when_asked(make: Make) -> None:
    one = make(PictureSettings(save_mask=True, save_mask_composite=True), mode="inpaint", mask=CIRCLE, mask_blur=0)[0]
    found = beside(one)
    assert found["mask"].tobytes() == CIRCLE.convert("RGB").tobytes()
    assert found["mask-composite"].mode == "RGBA" and found["mask-composite"].getpixel((2, 2)) == (0, 0, 0, 0)
    assert all(one.kept and not one.shown for one in one.companions)
    settings = PictureSettings(save_mask=True, return_mask=True, return_mask_composite=True)
    one = make(settings, mode="inpaint", mask=CIRCLE, mask_blur=0)[0]
    assert [(other.ending, other.kept, other.shown) for other in one.companions] == [("mask", True, True), ("mask-composite", False, True)]
    assert make(PictureSettings(return_mask=True))[0].companions == ()  # there is no mask


def test_without_the_overlay_all_is_the_model_s(make: Make) -> None:
    one = make(PictureSettings(overlay_inpaint=False), mode="inpaint", mask=CIRCLE)[0]
    assert (array(one.image) != array(NOISE)).any(-1).mean() > 0.9


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (7, 9)])
def test_pictures_of_odd_shapes(make: Make, size: tuple[int, int]) -> None:
    image, mask = Image.new("RGB", size, (200, 100, 50)), Image.new("L", size, 255)
    for mode in ("Just resize", "Crop and resize", "Resize and fill"):
        for only_masked in (False, True):
            one = make(image=image, mode="inpaint", mask=mask, resize_mode=mode, inpaint_full_res=only_masked, steps=1, sampler="Euler")[0]
            assert one.image.size == (size if only_masked else (96, 64))
