"""What a run needs, and the way in which it fits: arithmetic on bytes."""

from __future__ import annotations

import itertools

import pytest

from webui.backend.memory import (
    GIB,
    PartSize,
    Room,
    Upscaler,
    Way,
    Work,
    budget_of,
    estimate,
    estimate_upscaler,
    lower,
    mode_for,
    need_of,
    room_of,
    ways,
)

SIZES = {"text_encoder": PartSize(GIB // 4, 2), "unet": PartSize(2 * GIB, 2, 320), "vae": PartSize(GIB // 8, 2, 128)}
"""About SD 1.5 in 16 bits."""

SMALL, LARGE = Work(512 * 512, 2), Work(2048 * 2048, 2)
GPU = Room(24 * GIB, 23 * GIB, offloads=True)
MODES = ("high", "model offload", "group offload")


def test_counted_by_hand() -> None:
    sampling = 28 * 320 * (512 * 512 // 64) * 2 * 2
    decoding = 7 * 128 * 512 * 512 * 2
    assert need_of(SIZES, SMALL, Way("high", False)) == 2 * GIB + GIB // 4 + GIB // 8 + max(sampling, decoding)
    assert need_of(SIZES, SMALL, Way("model offload", False)) == max(2 * GIB + sampling, GIB // 8 + decoding)
    assert need_of(SIZES, SMALL, Way("group offload", False)) == max(int(0.1 * 2 * GIB) + sampling, int(0.1 * GIB / 8) + decoding)
    assert need_of(SIZES, LARGE, Way("high", True)) == 2 * GIB + GIB // 4 + GIB // 8 + max(16 * sampling, decoding)
    assert need_of({}, SMALL, Way("high", False)) == 0


@pytest.mark.parametrize("work", [SMALL, LARGE], ids=["512", "2048"])
def test_each_step_down_needs_no_more(work: Work) -> None:
    needs = [[need_of(SIZES, work, Way(mode, tiled)) for tiled in (False, True)] for mode in MODES]
    assert all(tiled <= plain for plain, tiled in needs)
    assert needs[0] >= needs[1] >= needs[2]
    assert need_of({name: size.narrowed() for name, size in SIZES.items()}, work, Way("high", False)) < needs[0][0]


@pytest.mark.parametrize(
    ("asked", "offloads", "tiling", "expected"),
    [
        ("auto", True, "auto", list(itertools.product(MODES, (False, True)))),
        ("auto", True, "never", [(mode, False) for mode in MODES]),
        ("auto", True, "always", [(mode, True) for mode in MODES]),
        ("auto", False, "auto", [("high", False), ("high", True)]),
        ("group offload", False, "auto", [("high", False), ("high", True)]),
        ("group offload", False, "never", [("high", False)]),
        ("high", True, "auto", list(itertools.product(MODES, (False, True)))),
        ("model offload", True, "auto", list(itertools.product(MODES[1:], (False, True)))),
        ("group offload", True, "always", [("group offload", True)]),
    ],
)
def test_what_may_be_tried(asked, offloads: bool, tiling, expected: list[tuple[str, bool]]) -> None:
    assert [(way.mode, way.tiled) for way in ways(asked, Room(1, 1, offloads), tiling)] == expected


@pytest.mark.parametrize("work", [SMALL, LARGE], ids=["512", "2048"])
@pytest.mark.parametrize("quarters", range(1, 100, 3))
@pytest.mark.parametrize("asked", ["auto", *MODES])
def test_the_fastest_way_that_fits_is_taken(work: Work, quarters: int, asked) -> None:
    room = Room(32 * GIB, quarters * GIB // 4, offloads=True)
    tried = ways(asked, room, "auto")
    made = estimate(SIZES, work, room, tried)
    faster = tried[: tried.index(made.way)]
    if made.fits:
        assert all(need_of(SIZES, work, way) > room.free for way in faster)
    else:
        assert made.need == min(need_of(SIZES, work, way) for way in tried)


def test_the_line_for_the_person() -> None:
    tried = ways("auto", GPU, "auto")
    assert estimate(SIZES, SMALL, GPU, tried).line == "needs about 2.8 of 24.0 GB"
    tight = Room(24 * GIB, int(5.5 * GIB), offloads=True)
    assert estimate(SIZES, LARGE, tight, tried).line == "needs about 4.6 of 24.0 GB: VAE tiled"
    tiny = Room(4 * GIB, GIB // 2, offloads=True)
    assert estimate(SIZES, SMALL, tiny, tried).line == "needs about 0.4 of 4.0 GB: layers fetched one by one"
    assert "only 0.1 GB are free" in estimate(SIZES, LARGE, Room(4 * GIB, GIB // 10, offloads=True), tried).line
    assert "only 0.0 GB are free" in estimate(SIZES, LARGE, Room(4 * GIB, -GIB, offloads=True), tried).line


def test_after_a_failure_the_next_way() -> None:
    tried = ways("auto", GPU, "auto")
    assert lower(Way("high", False), tried) == tried[1:]
    assert lower(tried[-1], tried) == ()


def test_room_and_budget() -> None:
    assert room_of(24 * GIB, 20 * GIB, 0, True).free == 19 * GIB
    assert room_of(4 * GIB, 4 * GIB, 0, True).free == 4 * GIB - 4 * GIB // 10
    assert room_of(24 * GIB, 20 * GIB, 6 * GIB, True).free == 6 * GIB
    assert room_of(24 * GIB, 2 * GIB, 6 * GIB, True).free == GIB
    assert budget_of(0, 8 * GIB) == 6 * GIB
    assert budget_of(1.5, 8 * GIB) == int(1.5 * GIB)


@pytest.mark.parametrize(
    ("setting", "flag", "sdxl_flag", "family", "mode"),
    [
        ("auto", "auto", False, "sd1", "auto"), ("auto", "model offload", False, "sd1", "model offload"),
        ("high", "group offload", True, "sdxl", "high"), ("auto", "auto", True, "sdxl", "model offload"),
        ("auto", "auto", True, "sdxl-refiner", "model offload"), ("auto", "auto", True, "sd1", "auto"),
        ("group offload", "auto", False, "sdxl", "group offload"), ("auto", "high", True, "sdxl", "high"),
    ],
)
def test_setting_before_flag(setting, flag, sdxl_flag: bool, family: str, mode: str) -> None:
    assert mode_for(setting, flag, sdxl_flag, family) == mode


X4 = Upscaler({"text_encoder": PartSize(GIB // 2, 2), "unet": PartSize(GIB, 2, 256), "vae": PartSize(GIB // 8, 2, 128)}, 4, (512, 96), (256, 128, 64))
"""About Stable Diffusion's upscaler in 16 bits, for a picture of 512 x 96 pixels."""


def x4_need(wide: int, high: int) -> int:
    return GIB // 2 + GIB + GIB // 8 + 7 * 128 * 16 * wide * high * 2  # its decoding outweighs its UNet: 28 * 256 for each pixel


def test_an_upscaler_counted_by_hand() -> None:
    assert [X4.need(tile) for tile in X4.tiles] == [x4_need(256, 96), x4_need(128, 96), x4_need(64, 64)]
    parts = sum(size.weights for size in SIZES.values())
    work = Work(SMALL.pixels, SMALL.rows, X4)
    assert need_of(SIZES, work, Way("high", False)) == parts + x4_need(256, 96) > need_of(SIZES, SMALL, Way("high", False))
    assert need_of(SIZES, work, Way("high", False), tile=64) == parts + x4_need(64, 64)
    assert need_of(SIZES, work, Way("model offload", False)) == max(x4_need(256, 96), need_of(SIZES, SMALL, Way("model offload", False)))
    assert need_of({}, work, Way("high", False)) == x4_need(256, 96)


def test_an_upscaler_gets_smaller_tiles_where_it_does_not_fit() -> None:
    for wide, high, tile in ((256, 96, None), (128, 96, 128), (64, 64, 64)):
        said = f": upscaler in tiles of {tile} px" if tile else ""
        made = estimate_upscaler(X4, Room(4 * GIB, x4_need(wide, high), offloads=False))
        assert (made.tile, made.need, made.fits) == (tile, x4_need(wide, high), True)
        assert made.line == f"needs about {made.need / GIB:.1f} of 4.0 GB{said}"
    none = estimate_upscaler(X4, Room(4 * GIB, GIB, offloads=False))
    assert (none.tile, none.fits) == (64, False) and none.line.endswith("upscaler in tiles of 64 px, only 1.0 GB are free")


def test_an_upscaler_counts_beside_the_model() -> None:
    """Its tiles become smaller before parts of the model are moved about; where that is not enough, they are moved."""
    work, parts = Work(SMALL.pixels, SMALL.rows, X4), sum(size.weights for size in SIZES.values())
    tried = ways("auto", GPU, "auto")

    def chosen(free: int) -> tuple[str, int | None]:
        made = estimate(SIZES, work, Room(24 * GIB, free, offloads=True), tried)
        assert made.fits
        return made.way.mode, made.tile

    assert chosen(parts + x4_need(256, 96)) == ("high", None)
    assert chosen(parts + x4_need(64, 64)) == ("high", 64)
    assert chosen(parts + x4_need(64, 64) - 1) == ("model offload", None)
    assert estimate(SIZES, SMALL, Room(24 * GIB, parts + x4_need(64, 64) - 1, offloads=True), tried).way.mode == "high"
