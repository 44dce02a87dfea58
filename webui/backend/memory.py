"""Whether a run fits into memory, and how it is made to: pure arithmetic on bytes. Knows no torch, no files and no requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from webui.schema.machine import MemoryMode

GIB = 2**30
Tiling = Literal["auto", "always", "never"]

UNET_ELEMENTS = 28
"""Numbers alive at the peak of a UNet call, per latent cell, in its channels at full resolution: 26.0 to 26.2, counted on the meta device with SD 1.5
at 256 to 768 px where attention is not written out, and some air."""

VAE_ELEMENTS = 7
"""The same for a KL decoder, per pixel, in the channels of its last block: 6.0 counted (the encoder: 5.0)."""

TOKEN_ELEMENTS = 24
"""The same for a transformer, per token of 16 x 16 pixels or of text, in its width: 17 to 20 counted in blocks of Flux and SD 3, and some air."""

TEXT_TOKENS = 512
"""Tokens of a prompt that stand beside the picture's."""

TILE = 512
"""Pixels of a side that a tiled VAE works on at once."""

Storage = Literal["fp8", "int8", "nf4"]
BYTES = {"int8": 1.0, "nf4": 0.5 + 4 / 64}
"""Bytes of a weight in a linear layer: four bits of NF4 share a scale of four bytes with 63 others; int8 has one a row."""

GROUP_SHARE = 0.1
"""How much of a module is on the device at once when its layers come one by one; the next is fetched while one computes."""


@dataclass(frozen=True)
class PartSize:
    """A part of a model as it computes: bytes of its weights, bytes of one number, channels at its largest resolution (0 = it has none)."""

    weights: int
    itemsize: int
    width: int = 0
    tokens: int = 0
    """Width of a transformer's tokens; 0 = it is none."""

    packed: bool = False
    """Its weights are stored in few bits already."""

    linear: int = 0
    """How many of its weights are in linear layers that can be stored in few bits."""

    def narrowed(self, storage: Storage | None = "fp8") -> PartSize:
        """With its weights stored in 8 bits, or those of its linear layers in so many; None = as it is."""
        if self.packed or storage is None:
            return self
        if storage == "fp8":
            return replace(self, weights=self.weights // self.itemsize)
        return replace(self, weights=self.weights - int(self.linear * (self.itemsize - BYTES[storage])))


@dataclass(frozen=True)
class Upscaler:
    """A pipeline that enlarges a picture: its parts, how many times as large it makes it, the picture's width and height, and the sides of the tiles
    in pixels that may be tried, the largest first."""

    sizes: Mapping[str, PartSize]
    factor: int
    size: tuple[int, int]
    tiles: tuple[int, ...]

    @property
    def weights(self) -> int:
        """Bytes of all its weights."""
        return sum(size.weights for size in self.sizes.values())

    def need(self, tile: int) -> int:
        """Bytes at its peak with tiles of this side, its weights among them. Its UNet sees a cell for each pixel."""
        pixels = min(tile, self.size[0]) * min(tile, self.size[1])
        largest = {"vae": Work(pixels * self.factor**2, 1), "unet": Work(pixels * 64, 1)}
        plain = Way("high", tiled=False)
        return self.weights + max((_activations(name, size, largest[name], plain) for name, size in self.sizes.items() if name in largest), default=0)

    def tile_within(self, free: int) -> int:
        """The side of the largest tiles with which it fits, else of the smallest."""
        return next((tile for tile in self.tiles if self.need(tile) <= free), self.tiles[-1])


@dataclass(frozen=True)
class Work:
    """The largest that a run does at once: pixels of a picture, and rows of a model call (a batch, doubled by guidance)."""

    pixels: int
    rows: int
    upscaler: Upscaler | None = None
    """It works between two passes, while the model waits."""


@dataclass(frozen=True)
class Room:
    """Memory of the device in bytes: all of it, and what models may take of it. `offloads`: parts can wait elsewhere, as they can for a GPU."""

    total: int
    free: int
    offloads: bool


@dataclass(frozen=True)
class Way:
    """How a run is carried out: where the parts are, and whether the VAE works in tiles."""

    mode: MemoryMode
    tiled: bool

    @property
    def words(self) -> str:
        """What is out of the ordinary, or nothing."""
        moved = {"high": "", "model offload": "one part at a time on the device", "group offload": "layers fetched one by one"}[self.mode]
        return ", ".join(filter(None, ("VAE tiled" if self.tiled else "", moved)))


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to need, in bytes at its peak, in the way chosen."""

    way: Way
    need: int
    room: Room
    tile: int | None = None
    """Side of an upscaler's tiles in pixels, where they are smaller than asked for."""

    @property
    def fits(self) -> bool:
        """False: it is tried all the same, nothing smaller is possible."""
        return self.need <= self.room.free

    @property
    def line(self) -> str:
        """For the person: `needs about 3.1 of 24.0 GB: VAE tiled`."""
        said = f"needs about {self.need / GIB:.1f} of {self.room.total / GIB:.1f} GB"
        tiles = f"upscaler in tiles of {self.tile} px" if self.tile is not None else ""
        words = [*filter(None, [self.way.words, tiles]), *([] if self.fits else [f"only {max(self.room.free, 0) / GIB:.1f} GB are free"])]
        return f"{said}: {', '.join(words)}" if words else said


def need_of(sizes: Mapping[str, PartSize], work: Work, way: Way, tile: int | None = None) -> int:
    """Bytes on the device at the peak of a run. `tile`: side of an upscaler's tiles; None = as asked for."""
    acting = {name: _activations(name, size, work, way) for name, size in sizes.items()}
    weights = {name: size.weights for name, size in sizes.items()}
    between = work.upscaler.need(tile or work.upscaler.tiles[0]) if work.upscaler else 0
    if way.mode == "high":
        return sum(weights.values()) + max(*acting.values(), between, 0)
    share = GROUP_SHARE if way.mode == "group offload" else 1.0
    return max(*(int(weights[name] * share) + acting[name] for name in sizes), between, 0)


def ways(asked: MemoryMode | Literal["auto"], room: Room, tiling: Tiling) -> tuple[Way, ...]:
    """What may be tried, the fastest first. Tiles change a picture a little at their seams, but cost less time than moving parts about."""
    modes: tuple[MemoryMode, ...] = ("high", "model offload", "group offload") if room.offloads else ("high",)
    modes = modes if asked == "auto" or not room.offloads else modes[modes.index(asked):]
    tiles = {"auto": (False, True), "always": (True,), "never": (False,)}[tiling]
    return tuple(Way(mode, tiled) for mode in modes for tiled in tiles)


def estimate(sizes: Mapping[str, PartSize], work: Work, room: Room, tried: tuple[Way, ...]) -> Estimate:
    """The first way that fits, else the one that needs least. A mode that was asked for is the first and is only left when it does not fit."""
    made = [_estimate(sizes, work, room, way) for way in tried]
    return next((one for one in made if one.fits), None) or min(made, key=lambda one: one.need)


def estimate_upscaler(upscaler: Upscaler, room: Room) -> Estimate:
    """Of an upscaler alone, in the largest tiles that fit, else in the smallest."""
    return _estimate({}, Work(0, 0, upscaler), room, Way("high", tiled=False))


def lower(way: Way, tried: tuple[Way, ...]) -> tuple[Way, ...]:
    """What is left to try after a way ran out of memory."""
    return tried[tried.index(way) + 1 :]


def room_of(total: int, free: int, budget: int, offloads: bool) -> Room:
    """The room for a run. `free` is what is free now and what idle models would give back; a tenth of the memory, at most 1 GiB, is left to others.
    `budget` is what the person allows, 0 = no limit of their own."""
    left = free - min(total // 10, GIB)
    return Room(total, min(left, budget) if budget else left, offloads)


def budget_of(gigabytes: float, total: int) -> int:
    """Bytes that models may take to stay in memory: what the person said, else three quarters of all there is."""
    return int(gigabytes * GIB) if gigabytes else total * 3 // 4


def mode_for(setting: MemoryMode | Literal["auto"], flag: MemoryMode | Literal["auto"], sdxl_flag: bool, family: str) -> MemoryMode | Literal["auto"]:
    """The mode asked for: the setting's, else the command line's; `--medvram-sdxl` counts for SDXL alone."""
    if setting != "auto":
        return setting
    if flag == "auto" and sdxl_flag and family.startswith("sdxl"):
        return "model offload"
    return flag


def _estimate(sizes: Mapping[str, PartSize], work: Work, room: Room, way: Way) -> Estimate:
    if work.upscaler is None:
        return Estimate(way, need_of(sizes, work, way), room)
    beside = sum(size.weights for size in sizes.values()) if way.mode == "high" else 0
    tile = work.upscaler.tile_within(room.free - beside)
    return Estimate(way, need_of(sizes, work, way, tile), room, tile if tile < work.upscaler.tiles[0] else None)


def _activations(name: str, size: PartSize, work: Work, way: Way) -> int:
    if name == "vae":
        pixels = min(work.pixels, TILE * TILE) if way.tiled else work.pixels
        return VAE_ELEMENTS * size.width * pixels * size.itemsize
    if size.tokens:
        return TOKEN_ELEMENTS * size.tokens * (work.pixels // 256 + TEXT_TOKENS) * work.rows * size.itemsize
    return UNET_ELEMENTS * size.width * (work.pixels // 64) * work.rows * size.itemsize
