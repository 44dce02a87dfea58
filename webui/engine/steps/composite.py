"""Step 6: the result gets the colours of the picture it began with where that is asked for, goes back into its place, and what was not masked is laid
over it (a1111-contract §4)."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from webui.engine.framing import Grow, put_back, stretch
from webui.engine.masking import Prepared, cut_hole


@dataclass(frozen=True)
class Composed:
    """`image`: RGB, finished. `bare`: the result in its place, before anything was laid over it."""

    image: Image.Image
    bare: Image.Image


def compose(result: Image.Image, prepared: Prepared, mask: Image.Image | None, grow: Grow = stretch) -> Composed:
    """The finished picture of a result. `mask` (grey, of the finished picture's size) says where the result is shown; None = everywhere."""
    if mask is None or prepared.kept is None:
        return Composed(result, result)
    if prepared.place is not None:
        result = put_back(result, prepared.place, prepared.kept.size, grow)
    whole = result.convert("RGBA")
    overlay = cut_hole(prepared.kept, mask)
    whole.alpha_composite(overlay if overlay.size == whole.size else overlay.crop((0, 0, *whole.size)))
    return Composed(whole.convert("RGB"), result)


def mask_composite(bare: Image.Image, mask: Image.Image) -> Image.Image:
    """RGBA: only what the result gave, transparent elsewhere."""
    empty = Image.new("RGBa", bare.size)
    return Image.composite(bare.convert("RGBA").convert("RGBa"), empty, mask.convert("L").resize(bare.size)).convert("RGBA")
