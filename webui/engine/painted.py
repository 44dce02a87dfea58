"""What a person painted or gave as a mask, read as grey levels, and what is refused of it. Pillow only: requests are checked with it."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from webui.schema.errors import RequestError
from webui.schema.generation import ImageRef
from webui.schema.img2img import Img2Img

ROUND_ABOVE = 128
"""Of a mask in a picture's transparency: more than this is masked."""

ANY = [255 * (value > 0) for value in range(256)]
"""Everything that is not black becomes white."""

Open = Callable[[ImageRef, str], Image.Image]
"""A picture that a field of the request names."""


def read_mask(image: Image.Image, rounded: bool) -> Image.Image:
    """A grey mask: the opacity of a picture with transparency, of any other its brightness."""
    if image.mode != "RGBA" or image.getchannel("A").getextrema() == (255, 255):
        return image.convert("L")
    opacity = image.getchannel("A")
    return opacity.point([255 * (value > ROUND_ABOVE) for value in range(256)]) if rounded else opacity


def stroke_mask(colour: Image.Image, transparency: float) -> Image.Image:
    """The grey mask of strokes of colour: what was painted on, darker by `transparency` per cent."""
    share = 1 - transparency / 100
    return colour.convert("RGBA").getchannel("A").point(ANY).point([int(value * share) for value in range(256)])


def check_painted(request: Img2Img, mask: Image.Image) -> None:
    """Raises `RequestError` when a mask leaves nothing to be made anew."""
    dark, light = mask.getextrema()
    if (dark if request.inpainting_mask_invert else light) == (255 if request.inpainting_mask_invert else 0):
        field = "colour" if request.mode == "inpaint_sketch" else "mask"
        words = "Everything is masked, and what is not masked was to be replaced." if request.inpainting_mask_invert else "Nothing is masked."
        raise RequestError(words, field=field, hint="Paint over what is to be replaced.")


def check_mask(request: Img2Img, open_image: Open) -> None:
    """The same before the request waits, and at its field when the mask cannot be opened. Looks at nothing where the mode keeps nothing."""
    if request.mode == "inpaint_sketch" and request.colour is not None:
        check_painted(request, stroke_mask(open_image(request.colour, "colour"), request.mask_alpha))
    elif request.masked and request.mask is not None:
        check_painted(request, read_mask(open_image(request.mask, "mask"), not request.soft))
