"""What is in a picture: a frozen description, drawn at random from a seed. Knows neither pixels nor words.

The held-back set: four things that no training scene shows (what LoRA, embedding and DreamBooth tests teach), and every combination of thing, colour
and background for which `is_held_back` is true.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, replace

from tools.demo_model.palette import COLOURS, Rgb, distance, lighter

THINGS = (
    "house", "tree", "boat", "fish", "cat", "car", "flower", "balloon", "star", "moon", "sun", "heart", "mushroom", "robot", "umbrella", "cup",
    "butterfly", "snowman", "kite", "apple",
)
UNSEEN_THINGS = ("crown", "rocket", "key", "anchor")
SIZES = {"small": 0.14, "medium": 0.21, "big": 0.29}
"""Half the extent of a thing, as a share of the picture's side."""

PLACES = {"left": (0.27, 0.5), "right": (0.73, 0.5), "top": (0.5, 0.27), "bottom": (0.5, 0.73), "middle": (0.5, 0.5)}
SKIES = ("day", "night", "sunset", "sea", "hills", "snow")
PATTERNS = ("plain", "striped", "dotted", "checked")
STYLES = ("flat", "pixel art", "sketch", "watercolour", "neon")
RELATIONS = ("left of", "right of", "above", "below")

SKY_COLOURS: dict[str, tuple[Rgb, ...]] = {
    "day": ((120, 195, 250), (222, 241, 255)), "night": ((16, 20, 58), (50, 50, 118)), "sunset": ((120, 70, 150), (250, 130, 85), (255, 205, 115)),
    "sea": ((190, 226, 246), (28, 108, 172)), "hills": ((168, 220, 252), (112, 188, 88), (88, 164, 72)), "snow": ((172, 192, 216), (240, 245, 251)),
}
"""Main colours of each landscape, from top to bottom."""


@dataclass(frozen=True)
class Background:
    """A landscape (`kind` one of `SKIES`, no colour) or a pattern (`kind` one of `PATTERNS`) in a colour."""

    kind: str
    colour: str = ""

    @property
    def colours(self) -> tuple[Rgb, ...]:
        """Its main colours."""
        return SKY_COLOURS[self.kind] if self.kind in SKY_COLOURS else pattern_colours(self.kind, COLOURS[self.colour])


@dataclass(frozen=True)
class Item:
    """One thing. `x`, `y` (centre) and `reach` (half its extent) are shares of the picture's side."""

    thing: str
    colour: str
    size: str
    x: float
    y: float

    @property
    def reach(self) -> float:
        """Half the extent."""
        return SIZES[self.size]


@dataclass(frozen=True)
class Scene:
    """A whole picture. `place` is set for one thing, `relation` (of the first to the second) for two different ones; equal things are a count."""

    items: tuple[Item, ...]
    background: Background
    style: str = "flat"
    place: str = ""
    relation: str = ""
    seed: int = 0
    """Of the small accidents: where the clouds and stars are."""


def pattern_colours(kind: str, colour: Rgb) -> tuple[Rgb, ...]:
    """The colour itself and, for a pattern, its lighter second tone (a darker one for white)."""
    if kind == "plain":
        return (colour,)
    return (colour, lighter(colour, 0.3) if sum(colour) < 650 else (205, 205, 212))


def backgrounds() -> list[Background]:
    """Every background there is: six landscapes, four patterns in twelve colours."""
    return [Background(kind) for kind in SKIES] + [Background(kind, colour) for kind in PATTERNS for colour in COLOURS]


def is_held_back(thing: str, colour: str, background: Background) -> bool:
    """Whether this combination is kept from training: about one in twenty, chosen by a checksum."""
    return zlib.crc32(f"{thing}|{colour}|{background.kind}|{background.colour}".encode()) % 20 == 0


def can_be_seen(colour: str, background: Background, threshold: float = 70.0) -> bool:
    """Whether a thing of this colour stands out from this background."""
    return all(distance(COLOURS[colour], other) > threshold for other in background.colours)


def make_scene(seed: int, most: int = 3, things: tuple[str, ...] = THINGS) -> Scene:
    """A training scene: the same seed gives the same scene. `most` limits how many things it shows."""
    luck = random.Random(seed)
    background = _background(luck)
    style = luck.choices(STYLES, (56, 11, 11, 11, 11))[0]
    number = luck.choices((1, 2, 3), (70, 22, 8))[0]
    if min(number, most) == 1:
        return _one(luck, things, background, style, seed)
    if min(number, most) == 2 and luck.random() < 0.7:
        return _related(luck, things, background, style, seed)
    return _counted(luck, things, background, style, seed, min(number, most))


def make_unseen_scene(seed: int) -> Scene:
    """One flat thing in a held-back combination."""
    luck = random.Random(seed)
    while True:
        background, thing = _background(luck), luck.choice(THINGS)
        free = [colour for colour in COLOURS if can_be_seen(colour, background) and is_held_back(thing, colour, background)]
        if free:
            place = luck.choice(list(PLACES))
            return Scene((_item(luck, thing, luck.choice(free), "medium", PLACES[place]),), background, "flat", place, seed=seed)


def with_style(scene: Scene, style: str) -> Scene:
    """The same scene in another style."""
    return replace(scene, style=style)


def _background(luck: random.Random) -> Background:
    if luck.random() < 0.5:
        return Background(luck.choice(SKIES))
    return Background(luck.choices(PATTERNS, (55, 15, 15, 15))[0], luck.choice(list(COLOURS)))


def _pick(luck: random.Random, things: tuple[str, ...], background: Background) -> tuple[str, str]:
    while True:
        thing, colour = luck.choice(things), luck.choice(list(COLOURS))
        if can_be_seen(colour, background) and not is_held_back(thing, colour, background):
            return thing, colour


def _item(luck: random.Random, thing: str, colour: str, size: str, centre: tuple[float, float]) -> Item:
    reach = SIZES[size] + 0.02
    x, y = (min(max(middle + luck.uniform(-0.03, 0.03), reach), 1 - reach) for middle in centre)
    return Item(thing, colour, size, round(x, 4), round(y, 4))


def _one(luck: random.Random, things: tuple[str, ...], background: Background, style: str, seed: int) -> Scene:
    place = luck.choices(list(PLACES), (1, 1, 1, 1, 2.5))[0]
    size = luck.choices(list(SIZES), (1, 2, 1.4))[0]
    return Scene((_item(luck, *_pick(luck, things, background), size, PLACES[place]),), background, style, place, seed=seed)


def _related(luck: random.Random, things: tuple[str, ...], background: Background, style: str, seed: int) -> Scene:
    relation = luck.choice(RELATIONS)
    first, second = _pick(luck, things, background), _pick(luck, things, background)
    while second[0] == first[0]:
        second = _pick(luck, things, background)
    spots = {"left of": ("left", "right"), "right of": ("right", "left"), "above": ("top", "bottom"), "below": ("bottom", "top")}[relation]
    items = tuple(_item(luck, *what, "medium", PLACES[spot]) for what, spot in zip((first, second), spots, strict=True))
    return Scene(items, background, style, relation=relation, seed=seed)


def _counted(luck: random.Random, things: tuple[str, ...], background: Background, style: str, seed: int, number: int) -> Scene:
    what = _pick(luck, things, background)
    spots = [(0.28, 0.5), (0.72, 0.5)] if number == 2 else [(0.2, 0.62), (0.5, 0.32), (0.8, 0.62)]
    return Scene(tuple(_item(luck, *what, "medium" if number == 2 else "small", spot) for spot in spots), background, style, seed=seed)
