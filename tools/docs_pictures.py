"""Makes the pictures of docs/samplers.md, docs/prompts.md and, of the variant, docs/demo-model.md: `python tools/docs_pictures.py`. Takes two minutes
on two cores."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.demo_model.evaluate import Studio
from webui.engine.tables import register_tables
from webui.plugins.registry import Registries

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "models" / "Stable-diffusion"
MODEL, VARIANT = MODELS / "easel-demo.safetensors", MODELS / "easel-watercolour.safetensors"
IMAGES = ROOT / "docs" / "images"
SIDE, LABEL, COLUMNS = 200, 24, 5
SEED = 3
PROMPTS = {
    "plain": "a red house at night", "[house:star:0.4]": "a [red house:yellow star:0.4] at night", "[blue|green] cat": "a [blue|green] cat by day",
    "heart AND dots": "a red heart AND a dotted pink background", "(purple:1.4) balloon": "a (purple:1.4) balloon by day",
}
"""What docs/prompts.md shows: plain, editing, alternation, AND, attention."""

PAINTED = ("a red house at night", "a white boat by the sea", "a pink flower on green hills", "two purple balloons at sunset",
           "a green tree in the snow")
"""What docs/demo-model.md shows by the model and by its variant."""


def sheet(pictures: Sequence[Image.Image], labels: Sequence[str]) -> Image.Image:
    """Pictures in rows of five with their labels below."""
    rows = -(-len(pictures) // COLUMNS)
    whole = Image.new("RGB", (COLUMNS * (SIDE + 6) - 6, rows * (SIDE + LABEL + 6) - 6), "white")
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(13)
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = number % COLUMNS * (SIDE + 6), number // COLUMNS * (SIDE + LABEL + 6)
        whole.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (x, y))
        pen.text((x + 2, y + SIDE + 3), label, "black", font)
    return whole


def main() -> None:
    """Write all sheets."""
    registries = Registries()
    register_tables(registries)
    names = list(registries.samplers)
    drawn = [Studio(MODEL, sampler=name).draw(["a yellow star in the night sky"], SEED)[0] for name in names]
    sheet(drawn, names).save(IMAGES / "samplers.jpg", quality=88)
    studio = Studio(MODEL)
    sheet([studio.draw([prompt], SEED)[0] for prompt in PROMPTS.values()], list(PROMPTS)).save(IMAGES / "prompts.jpg", quality=88)
    both = [picture for file in (MODEL, VARIANT) for picture in Studio(file).draw(PAINTED, SEED)]
    sheet(both, PAINTED * 2).save(ROOT / "docs" / "demo-model" / "variant.jpg", quality=88)


if __name__ == "__main__":
    main()
