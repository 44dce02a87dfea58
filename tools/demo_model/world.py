"""Draws a scene: background, things, style. Antialiased by drawing at twice the size. The same scene gives the same pixels. Knows no words.

Style by style: flat is as drawn; sketch and neon change the pen's strokes and the background's colours; pixel art takes the middle of every 8-pixel
block; watercolour lets the colours run and mottles them.
"""

from __future__ import annotations

import functools
import math
import random

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from tools.demo_model.palette import BLACK, COLOURS, WHITE, Rgb, mix
from tools.demo_model.pen import Pen
from tools.demo_model.scene import Background, Item, Scene
from tools.demo_model.things import draw_thing

SIZE = 256
SUPERSAMPLING = 2
BLOCK = 8
"""Pixels of a 256-pixel picture that are one pixel of pixel art."""


def draw(scene: Scene, size: int = SIZE) -> Image.Image:
    """The picture of a scene, RGB, size × size pixels."""
    side = size * SUPERSAMPLING
    picture = draw_background(scene.background, scene.style, scene.seed, side)
    canvas = ImageDraw.Draw(picture)
    for item in scene.items:
        draw_item(canvas, item, scene.style, side)
    picture = picture.reduce(SUPERSAMPLING)
    if scene.style == "pixel art":
        return picture.reduce(2).resize((size // BLOCK, size // BLOCK), Image.Resampling.NEAREST).resize((size, size), Image.Resampling.NEAREST)
    if scene.style == "watercolour":
        return _as_watercolour(picture, scene.seed)
    return _with_glow(picture) if scene.style == "neon" else picture


def draw_item(canvas: ImageDraw.ImageDraw, item: Item, style: str, side: int) -> None:
    """One thing on a canvas of side × side pixels."""
    pen = Pen(canvas, (item.x * side, item.y * side), item.reach * side, style, side / SIZE)
    draw_thing(pen, item.thing, COLOURS[item.colour])


def draw_background(background: Background, style: str, seed: int, side: int) -> Image.Image:
    """The background alone, at `side` pixels, in the colours of the style."""
    luck = random.Random(seed)
    if background.kind in _LANDSCAPES:
        picture = _gradient(background.kind, side).copy()
        _LANDSCAPES[background.kind](ImageDraw.Draw(picture), luck, side)
    else:
        picture = _pattern(background, side).copy()
    if style == "neon":
        return Image.blend(picture, Image.new("RGB", picture.size, BLACK), 0.72)
    return Image.blend(picture, Image.new("RGB", picture.size, WHITE), 0.45) if style == "sketch" else picture


@functools.lru_cache(maxsize=64)
def _gradient(kind: str, side: int) -> Image.Image:
    colours = Background(kind).colours[:1] if kind in ("sea", "hills", "snow") else Background(kind).colours
    top, *others = colours
    rows = [top] if not others else [
        mix(colours[int(place)], colours[min(int(place) + 1, len(colours) - 1)], place - int(place))
        for place in (number / (side - 1) * (len(colours) - 1) for number in range(side))
    ]
    strip = np.array(rows, dtype=np.uint8)[:, None, :]
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(strip, (side, side, 3))))


@functools.lru_cache(maxsize=128)
def _pattern(background: Background, side: int) -> Image.Image:
    first, second = (background.colours * 2)[:2]
    picture = Image.new("RGB", (side, side), first)
    canvas = ImageDraw.Draw(picture)
    cell = side / 8
    cells = [(column * cell, row * cell) for row in range(8) for column in range(8)]
    if background.kind == "striped":
        for number in range(0, 8, 2):
            canvas.rectangle((number * cell, 0, (number + 1) * cell - 1, side), fill=second)
    elif background.kind == "checked":
        for number, (x, y) in enumerate(cells):
            if (number + number // 8) % 2:
                canvas.rectangle((x, y, x + cell - 1, y + cell - 1), fill=second)
    elif background.kind == "dotted":
        for x, y in cells:
            canvas.ellipse((x + cell * 0.25, y + cell * 0.25, x + cell * 0.75, y + cell * 0.75), fill=second)
    return picture


def _day(canvas: ImageDraw.ImageDraw, luck: random.Random, side: int) -> None:
    for x, y in ((0.2, 0.14), (0.8, 0.2)):
        x, y, r = x + luck.uniform(-0.06, 0.06), y + luck.uniform(-0.03, 0.03), 0.05
        for dx, dy, scale in ((-1.2, 0.3, 0.8), (0, 0, 1.2), (1.2, 0.3, 0.8)):
            box = (x + dx * r - r * scale, y + dy * r - r * scale * 0.8, x + dx * r + r * scale, y + dy * r + r * scale * 0.8)
            canvas.ellipse(tuple(edge * side for edge in box), fill=(250, 252, 255))


def _night(canvas: ImageDraw.ImageDraw, luck: random.Random, side: int) -> None:
    for number in range(14):
        x, y = ((number % 5 + luck.uniform(0.2, 0.8)) / 5, (number // 5 + luck.uniform(0.2, 0.8)) / 3.4)
        r = luck.choice((0.007, 0.009, 0.012))
        canvas.ellipse(((x - r) * side, (y - r) * side, (x + r) * side, (y + r) * side), fill=(255, 250, 215))


def _sunset(canvas: ImageDraw.ImageDraw, luck: random.Random, side: int) -> None:
    x = 0.5 + luck.uniform(-0.1, 0.1)
    canvas.ellipse(((x - 0.13) * side, 0.8 * side, (x + 0.13) * side, 1.06 * side), fill=(255, 236, 170))
    canvas.rectangle((0, 0.93 * side, side, side), fill=(92, 52, 96))


def _sea(canvas: ImageDraw.ImageDraw, luck: random.Random, side: int) -> None:
    canvas.rectangle((0, 0.55 * side, side, side), fill=(28, 108, 172))
    for row, colour in ((0.66, (70, 148, 205)), (0.8, (70, 148, 205)), (0.94, (70, 148, 205))):
        phase = luck.uniform(0, math.tau)
        _wave(canvas, (row, 0.012, 5, phase), 0.02, colour, side)


def _hills(canvas: ImageDraw.ImageDraw, luck: random.Random, side: int) -> None:
    phase = luck.uniform(-0.5, 0.5)
    _wave(canvas, (0.64, 0.06, 1.5, phase), 1, (112, 188, 88), side)
    _wave(canvas, (0.8, 0.05, 1.1, phase + 2.4), 1, (88, 164, 72), side)


def _snow(canvas: ImageDraw.ImageDraw, luck: random.Random, side: int) -> None:
    _wave(canvas, (0.68, 0.03, 1.2, luck.uniform(-0.5, 0.5)), 1, (240, 245, 251), side)
    for number in range(16):
        x, y, r = (number % 4 + luck.uniform(0.2, 0.8)) / 4, (number // 4 + luck.uniform(0.2, 0.8)) / 6.2, 0.011
        canvas.ellipse(((x - r) * side, (y - r) * side, (x + r) * side, (y + r) * side), fill=(250, 252, 255))


def _wave(canvas: ImageDraw.ImageDraw, curve: tuple[float, float, float, float], depth: float, colour: Rgb, side: int) -> None:
    """A band below the curve (height, amplitude, periods, phase), `depth` high, all as shares of the side."""
    height, amplitude, periods, phase = curve
    top = [(x / 40, height + amplitude * math.sin(math.tau * periods * x / 40 + phase)) for x in range(41)]
    below = [(x, min(y + depth, 1.01)) for x, y in reversed(top)]
    canvas.polygon([(x * side, y * side) for x, y in top + below], fill=colour)


_LANDSCAPES = {"day": _day, "night": _night, "sunset": _sunset, "sea": _sea, "hills": _hills, "snow": _snow}


def _as_watercolour(picture: Image.Image, seed: int) -> Image.Image:
    """Soft edges, washed and mottled colours."""
    side = picture.width
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(side / 128)), dtype=np.float32)
    coarse = np.random.default_rng(seed).uniform(-1, 1, (12, 12)).astype(np.float32)
    mottle = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))[:, :, None]
    washed = soft + (255 - soft) * (0.16 + 0.16 * mottle)
    return Image.fromarray(np.clip(washed, 0, 255).astype(np.uint8))


def _with_glow(picture: Image.Image) -> Image.Image:
    """Adds the light of the bright strokes around them."""
    return ImageChops.add(picture, picture.filter(ImageFilter.GaussianBlur(picture.width / 36)).point(lambda value: value * 0.55))
