"""From what a person painted to what the engine works with: the picture, the mask at the size it is worked on, and the overlay that keeps the rest
(a1111-contract §4, its order). Pictures in, pictures out; knows no model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image, ImageChops, ImageFilter

from webui.engine.framing import Fit, Grow, Place, Size, frame_image, masked_box, place_of, stretch, widen_box
from webui.engine.painted import ANY, stroke_mask

FILL = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))
"""Radius of the blur, and how often it is laid over the ones before."""

@dataclass(frozen=True)
class MaskUse:
    """How a mask is used. `blur`: radius in x and y. `rounded`: it has no grey levels. `padding`: None = the whole picture is worked on, else only
    the surroundings of the mask. `fill`: what is masked begins as the colours around it."""

    blur: tuple[int, int] = (4, 4)
    invert: bool = False
    rounded: bool = True
    padding: int | None = None
    fill: bool = False


@dataclass(frozen=True)
class Prepared:
    """What a run begins with."""

    image: Image.Image
    """RGB, of the size that is worked on (of its own size when the latents are enlarged instead)."""

    mask: Image.Image | None = None
    """What is made anew, of the size that is worked on."""

    overlay_mask: Image.Image | None = None
    """What is shown of the result, of the finished picture's size."""

    kept: Image.Image | None = None
    """RGB: what is left of the picture where the result is not shown, of the finished picture's size."""

    place: Place | None = None
    """Where the result belongs in the finished picture; None = it is the whole."""

    @property
    def overlay(self) -> Image.Image | None:
        """RGBA, laid over the result."""
        return None if self.kept is None or self.overlay_mask is None else cut_hole(self.kept, self.overlay_mask)


def flatten(image: Image.Image, background: str) -> Image.Image:
    """RGB, with the background (#rrggbb) behind what is transparent."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    whole = Image.new("RGBA", image.size, background)
    whole.alpha_composite(image)
    return whole.convert("RGB")


def blur_mask(mask: Image.Image, radius: tuple[int, int]) -> Image.Image:
    """Gauss' blur, first in x, then in y. OpenCV's, because its rounding decides which pixels of a rounded mask count."""
    pixels = np.array(mask)
    for across, sigma in zip((True, False), radius, strict=True):
        if sigma > 0:
            size = 2 * int(2.5 * sigma + 0.5) + 1
            pixels = cv2.GaussianBlur(pixels, (size, 1) if across else (1, size), sigma)
    return Image.fromarray(pixels)


def cut_hole(image: Image.Image, mask: Image.Image) -> Image.Image:
    """RGBA: the picture without what is masked."""
    left = Image.new("RGBa", image.size)
    left.paste(image.convert("RGBA").convert("RGBa"), mask=ImageChops.invert(mask.convert("L")))
    return left.convert("RGBA")


def fill_hole(image: Image.Image, mask: Image.Image) -> Image.Image:
    """RGB: what is masked gets the colours around it, blurred the more the farther in it lies."""
    left = cut_hole(image, mask).convert("RGBa")
    filled = Image.new("RGBA", image.size)
    for radius, times in FILL:
        blurred = left.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            filled.alpha_composite(blurred)
    return filled.convert("RGB")


def with_strokes(image: Image.Image, colour: Image.Image) -> Image.Image:
    """The picture with strokes of colour (of its size) over it."""
    whole = image.convert("RGBA")
    whole.alpha_composite(colour.convert("RGBA"))
    return whole


def sketch_mask(image: Image.Image, colour: Image.Image, transparency: float, blur: int) -> tuple[Image.Image, Image.Image]:
    """What `inpaint_sketch` begins with (RGB) and its mask (see `stroke_mask`); the strokes are blurred as the mask is."""
    mask = stroke_mask(colour, transparency)
    soft = ImageFilter.GaussianBlur(blur)
    whole = with_strokes(image, colour).convert("RGB")
    return Image.composite(whole.filter(soft), image.convert("RGB"), mask.filter(soft)), mask


def fill_transparent(image: Image.Image, mask: Image.Image, background: str) -> Image.Image:
    """RGB: transparent parts under the mask get the colours around them, others the background. So a picture put into a larger, empty frame has no
    edge towards the part that is to be painted; A1111 sees the background there."""
    flat = flatten(image, background)
    if image.mode != "RGBA" or image.getchannel("A").getextrema()[0] == 255:
        return flat
    hole = image.getchannel("A").point([255 * (value < 255) for value in range(256)])
    under = ImageChops.multiply(hole, mask.point(ANY))
    if under.getbbox() is None or hole.getextrema()[0] == 255:
        return flat
    return Image.composite(fill_hole(flat, hole), flat, under)


def prepare(
    image: Image.Image, mask: Image.Image | None, size: Size, fit: Fit | None, use: MaskUse | None = None, grow: Grow = stretch,
) -> Prepared | None:
    """The picture (RGB) and its grey mask (of the same size) for work at `size`. `fit`: None = the latents are enlarged, not the picture. None when
    only the surroundings of the mask are to be worked on and nothing is masked."""
    if mask is None or use is None:
        return Prepared(image if fit is None else frame_image(image, size, fit, grow))
    mask = blur_mask(ImageChops.invert(mask) if use.invert else mask, use.blur)
    if use.padding is not None:
        return _prepare_part(image, mask, size, use, grow)
    fitted = image if fit is None else frame_image(image, size, fit, grow)
    mask = frame_image(mask, size, fit or "stretch")
    shown = mask.convert("L").point([min(2 * value, 255) for value in range(256)])
    if shown.size == fitted.size:
        over, kept = shown, fitted
    else:  # the latents are enlarged: the result has the frame's size, the picture not yet
        over, kept = shown, frame_image(fitted, size, "stretch", grow)
    begin = Prepared(fitted, mask, over, kept)
    return replace(begin, image=_filled(fitted, mask)) if use.fill else begin


def _prepare_part(image: Image.Image, mask: Image.Image, size: Size, use: MaskUse, grow: Grow) -> Prepared | None:
    box = masked_box(mask, use.padding or 0)
    if box is None:
        return None
    box = widen_box(box, size, mask.size)
    part = frame_image(image.crop(box), size, "fit", grow)
    inner = frame_image(mask.crop(box), size, "fit")
    return Prepared(_filled(part, inner) if use.fill else part, inner, mask, image, place_of(box))


def frame_depth(depth: Image.Image, within: Size, place: Place | None, size: Size, fit: Fit | None) -> Image.Image:
    """A depth map as grey picture, laid over the picture of the size `within`, then framed as that is by `prepare`: cut to `place` where only a part
    is worked on."""
    whole = stretch(depth.convert("L"), within)
    if place is not None:
        left, top, width, height = place
        whole, fit = whole.crop((left, top, left + width, top + height)), "fit"
    return whole if fit is None else frame_image(whole, size, fit).convert("L")


def _filled(image: Image.Image, mask: Image.Image) -> Image.Image:
    return fill_hole(image, mask if mask.size == image.size else mask.resize(image.size))
