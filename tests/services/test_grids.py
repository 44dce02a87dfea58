"""Grids with captions, by their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from tests.services.conftest import PaintEngine, Recorder
from webui.engine.cancel import CancelToken
from webui.schema.errors import RequestError
from webui.schema.generation import Txt2Img
from webui.schema.job import Job
from webui.schema.settings import MachineSettings
from webui.sdk import Caption
from webui.services.grids import GridLook, make_grid
from webui.services.library import Library
from webui.services.outputs import Outputs
from webui.services.run import JobRun

WHITE, RED, BLUE = (255, 255, 255), (255, 0, 0), (0, 0, 255)
Box = tuple[int, int, int, int]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path | None]:
    """Six places: red pictures of 128 × 96, a blue one of 64 × 32, and an empty one."""
    sizes = [(128, 96, "red")] * 4 + [(64, 32, "blue")]
    for number, (width, height, colour) in enumerate(sizes):
        Image.new("RGB", (width, height), colour).save(tmp_path / f"{number}.png")
    return [*(tmp_path / f"{number}.png" for number in range(5)), None]


def say(*texts: str) -> list[list[Caption]]:
    """One caption each."""
    return [[Caption(text=text)] for text in texts]


def ink(grid: Image.Image, box: Box, colour: tuple[int, int, int] = (0, 0, 0)) -> tuple[int, int, int, int] | None:
    """Where in the box something is as dark as `colour` or darker: its bounding box within the grid, or None."""
    part = grid.crop(box).convert("L").point([255 if level <= sum(colour) / 3 + 8 else 0 for level in range(256)])
    found = part.getbbox()
    return found and (found[0] + box[0], found[1] + box[1], found[2] + box[0], found[3] + box[1])


def test_without_captions_cells_are_as_large_as_the_largest_and_empty_places_stay(paths: Sequence[Path | None]) -> None:
    grid = make_grid(paths, (3, 2), 10**6)
    assert grid is not None and grid.size == (3 * 128, 2 * 96)
    assert grid.getpixel((0, 0)) == RED and grid.getpixel((2 * 128 + 60, 96 + 40)) == WHITE
    assert grid.getpixel((128 + 33, 96 + 33)) == BLUE and grid.getpixel((128 + 31, 96 + 33)) == WHITE  # in the middle of its cell
    assert make_grid(paths, (3, 2), 3 * 128 * 2 * 96 - 1) is None


def test_captions_stand_in_the_middle_above_columns_and_beside_rows(paths: Sequence[Path | None]) -> None:
    grid = make_grid(paths, (3, 2), 10**6, GridLook(say("Steps: 4", "", "Steps: 12"), say("Euler", "DPM"), margin=10))
    assert grid is not None
    left, letter = 128 * 3 // 4, (128 + 96) // 25
    top = letter + 2 * (letter // 2)
    assert grid.size == (left + 3 * 128 + 20, top + 2 * 96 + 10)
    assert grid.getpixel((left, top)) == RED and grid.getpixel((left + 128 + 5, top + 20)) == WHITE == grid.getpixel((left + 5, top + 96 + 5))
    first, none = ink(grid, (left, 0, left + 128, top)), ink(grid, (left + 138, 0, left + 266, top))
    assert first is not None and none is None
    assert abs((first[0] + first[2]) / 2 - (left + 64)) < 3 and abs((first[1] + first[3]) / 2 - top / 2) < 4
    second = ink(grid, (0, top + 106, left, top + 202))
    assert second is not None and abs((second[0] + second[2]) / 2 - left / 2) < 3 and abs((second[1] + second[3]) / 2 - (top + 106 + 48)) < 4
    assert ink(grid, (0, 0, left, top)) is None


def test_long_captions_are_wrapped_and_long_words_get_smaller(paths: Sequence[Path | None]) -> None:
    text = "a picture of a very long caption that does not fit into one line at all"
    grid = make_grid(paths[:2], (2, 1), 10**6, GridLook(say(text, "x" * 30)))
    assert grid is not None and grid.height - 96 > 3 * 8  # several lines
    words, word = ink(grid, (0, 0, 128, grid.height - 96)), ink(grid, (128, 0, 256, grid.height - 96), (150, 150, 150))
    assert words is not None and word is not None
    assert words[3] - words[1] > 24 and word[0] >= 128 and word[2] <= 256 and word[3] - word[1] < 8


def test_what_is_left_out_is_faint_and_struck_out(paths: Sequence[Path | None]) -> None:
    look = GridLook([[Caption(text="night"), Caption(text="night", active=False)]], text="#0000ff", inactive="#c08040", background="#102030")
    grid = make_grid(paths[:1], (1, 1), 10**6, look)
    assert grid is not None and grid.getpixel((0, 0)) == (16, 32, 48)
    colours = {colour for _, colour in grid.crop((0, 0, 128, grid.height - 96)).getcolors(10**6) or []}
    assert (0, 0, 255) in colours and (192, 128, 64) in colours
    rows = [sum(grid.getpixel((x, y)) == (192, 128, 64) for x in range(128)) for y in range(grid.height - 96)]
    assert max(rows) > 12  # the line through it


def test_other_writings_have_letters(paths: Sequence[Path | None]) -> None:
    grids = [make_grid(paths[:1], (1, 1), 10**6, GridLook(say(text))) for text in ("猫", "犬", "кот")]
    assert len({grid.tobytes() for grid in grids if grid}) == 3  # a font without them would draw the same box


def test_a_script_saves_a_captioned_grid(
    job: Job, engine: PaintEngine, outputs: Outputs, library: Library, events: Recorder, tmp_path: Path
) -> None:
    run = JobRun(job, engine, outputs, library, events.publish, CancelToken(), MachineSettings())
    request = Txt2Img(width=64, height=64, steps=2, seed=3)
    records = [run.generate(request.revise(seed=seed), f"seed-{seed}")[0] for seed in (3, 4)]
    run.save_grid(request, [*records, None, records[0]], say("one", "two"), say("a", "b"), margin=4)
    with pytest.raises(RequestError, match="needs 4"):
        run.save_grid(request, records, say("one", "two"), say("a", "b"))
    run.save_grid(request, [None], say("nothing"))
    outputs.close()
    (path,) = (tmp_path / "outputs" / "txt2img-grids").rglob("*.png")
    with Image.open(path) as grid:
        assert grid.size == (48 + 2 * 64 + 4, 5 + 4 + 2 * 64 + 4) and "Seed: 3" in grid.text["parameters"]  # type: ignore[attr-defined]
        assert grid.getpixel((48 + 68 + 30, 9 + 30)) == (4 * 37, 4 * 91 % 256, 4 * 53)
