"""Finished pictures side by side: A1111's grid. Knows sizes and files of pictures, not where a grid is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from webui.schema.settings import PictureSettings


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


def make_grid(paths: Sequence[Path], shape: tuple[int, int], limit: int) -> Image.Image | None:
    """The pictures row by row on black; a cell is as large as the first picture. None when there would be more than `limit` pixels.
    Raises `OSError` when a file cannot be read."""
    with Image.open(paths[0]) as first:
        width, height = first.size
    if shape[0] * width * shape[1] * height > limit:
        return None
    grid = Image.new("RGB", (shape[0] * width, shape[1] * height), "black")
    for number, path in enumerate(paths):
        with Image.open(path) as image:
            grid.paste(image.convert("RGB"), (number % shape[0] * width, number // shape[0] * height))
    return grid
