"""Finished pictures side by side: A1111's grid, with captions above its columns and beside its rows as X/Y/Z plot and prompt matrix have them. Knows
sizes and files of pictures, not where a grid is kept."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from webui.schema.result import Caption
from webui.schema.settings import PictureSettings

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Captions = Sequence[Caption]

FONTS = ("DejaVuSans.ttf", "arial.ttf", "Arial.ttf")
WIDE_FONTS = ("NotoSansCJK-Regular.ttc", "msyh.ttc", "PingFang.ttc", "Arial Unicode.ttf", *FONTS)
"""For Chinese, Japanese and Korean."""

_WIDE = re.compile("[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")


@dataclass(frozen=True)
class Captioned:
    """The captions of a grid whose shape they give: one entry of `columns` a column, one of `rows` a row."""

    columns: Sequence[Captions]
    rows: Sequence[Captions]
    margin: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """(columns, rows), at least one each."""
        return max(len(self.columns), 1), max(len(self.rows), 1)


@dataclass(frozen=True)
class GridLook:
    """What stands around the pictures of a grid. A column or row may have several captions, one below the other."""

    columns: Sequence[Captions] = ()
    rows: Sequence[Captions] = ()
    margin: int = 0
    """Pixels between the pictures."""

    font: str = ""
    """Path of a font file; empty = one of this system."""

    text: str = "#000000"
    inactive: str = "#999999"
    background: str = "#ffffff"

    @classmethod
    def of(cls, settings: PictureSettings, columns: Sequence[Captions] = (), rows: Sequence[Captions] = (), margin: int = 0) -> GridLook:
        """With font and colours of the settings."""
        return cls(
            columns, rows, margin, settings.font, settings.grid_text_active_color, settings.grid_text_inactive_color, settings.grid_background_color,
        )


def grid_shape(count: int, batch_size: int, settings: PictureSettings) -> tuple[int, int]:
    """(columns, rows) for so many pictures, by `n_rows` and `grid_prevent_empty_spots`."""
    if settings.n_rows > 0:
        rows = settings.n_rows
    elif settings.n_rows == 0:
        rows = batch_size
    elif settings.grid_prevent_empty_spots:
        rows = math.isqrt(count)
        while count % rows:
            rows -= 1
    else:
        rows = round(math.sqrt(count))
    rows = min(rows, count)
    return math.ceil(count / rows), rows


def make_grid(paths: Sequence[Path | None], shape: tuple[int, int], limit: int, look: GridLook | None = None) -> Image.Image | None:
    """The pictures row by row, (columns, rows) of them; None leaves its place empty. A cell is as large as the largest picture, smaller ones stand in
    its middle. None when the pictures would have more than `limit` pixels. Raises `OSError` when a file cannot be read."""
    look = look or GridLook()
    sizes = [_size(path) for path in paths if path is not None]
    width, height = (max(size[axis] for size in sizes) for axis in (0, 1))
    if shape[0] * width * shape[1] * height > limit:
        return None
    texts = _Texts(look, width, height, shape)
    left, top = texts.left, texts.top
    grid = Image.new("RGB", (left + _span(shape[0], width, look.margin), top + _span(shape[1], height, look.margin)), look.background)
    places = [
        (left + number % shape[0] * (width + look.margin), top + number // shape[0] * (height + look.margin)) for number in range(len(paths))
    ]
    for path, (x, y) in zip(paths, places, strict=True):
        if path is None:
            continue
        with Image.open(path) as image:
            grid.paste(image.convert("RGB"), (x + (width - image.width) // 2, y + (height - image.height) // 2))
    texts.draw(grid)
    return grid


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _span(count: int, side: int, margin: int) -> int:
    return count * side + (count - 1) * margin


@dataclass
class _Line:
    """One line as it is drawn."""

    text: str
    font: Font
    active: bool
    width: float
    height: float


@dataclass
class _Texts:
    """The captions of a grid, measured. Geometry is A1111's: letters of a 25th of the cell's width and height together, rows' captions in a column
    three quarters of a cell wide, half a letter between lines, long texts wrapped, a word that is still too long in smaller letters."""

    look: GridLook
    width: int
    height: int
    shape: tuple[int, int]
    left: int = 0
    top: int = 0
    columns: list[list[_Line]] = field(default_factory=list)
    rows: list[list[_Line]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.letter = max((self.width + self.height) // 25, 1)
        self.gap = self.letter // 2
        if any(caption.text for captions in self.look.rows for caption in captions):
            self.left = self.width * 3 // 4
        self.columns = [self._lines(captions, self.width) for captions in self.look.columns]
        self.rows = [self._lines(captions, self.left) for captions in self.look.rows]
        tallest = max((self._tall(lines) for lines in self.columns), default=0.0)
        self.top = math.ceil(tallest) + 2 * self.gap if tallest else 0

    def draw(self, grid: Image.Image) -> None:
        """Put them on the grid: each in the middle of its place."""
        pen, margin = ImageDraw.Draw(grid), self.look.margin
        for number, lines in enumerate(self.columns[: self.shape[0]]):
            self._write(pen, lines, self.left + number * (self.width + margin) + self.width / 2, self.top / 2)
        for number, lines in enumerate(self.rows[: self.shape[1]]):
            self._write(pen, lines, self.left / 2, self.top + number * (self.height + margin) + self.height / 2)

    def _write(self, pen: ImageDraw.ImageDraw, lines: list[_Line], x: float, y: float) -> None:
        y -= self._tall(lines) / 2
        for line in lines:
            middle = y + line.height / 2
            colour = self.look.text if line.active else self.look.inactive
            pen.text((x, middle), line.text, font=line.font, fill=colour, anchor="mm")
            if not line.active:  # struck out
                pen.line((x - line.width / 2, middle, x + line.width / 2, middle), fill=colour, width=max(self.letter // 8, 1))
            y += line.height + self.gap

    def _tall(self, lines: list[_Line]) -> float:
        return sum(line.height for line in lines) + self.gap * (len(lines) - 1) if lines else 0.0

    def _lines(self, captions: Captions, room: int) -> list[_Line]:
        wrapped = [(caption.active, _wrap(caption.text, self._font(caption.text, self.letter), room)) for caption in captions]
        return [self._line(text, active, room) for active, texts in wrapped for text in texts]

    def _line(self, text: str, active: bool, room: int) -> _Line:
        size = self.letter
        font = self._font(text, size)
        while font.getlength(text) > room and size > 1:
            size -= 1
            font = self._font(text, size)
        return _Line(text, font, active, font.getlength(text), float(self.letter))

    def _font(self, text: str, size: int) -> Font:
        for name in ((self.look.font,) if self.look.font else ()) + (WIDE_FONTS if _WIDE.search(text) else FONTS):
            try:
                return ImageFont.truetype(name, size)
            except OSError:
                continue
        return ImageFont.load_default(size)


def _wrap(text: str, font: Font, room: int) -> list[str]:
    """Lines no wider than `room` pixels where blanks allow it."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) > room:
            lines.append(word)
        else:
            lines[-1:] = [longer]
    return lines
