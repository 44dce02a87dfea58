"""The drawn world: the same scene gives the same pixels, and what is held back stays held back."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from tools.demo_model.palette import COLOURS
from tools.demo_model.scene import (
    PATTERNS,
    SKIES,
    STYLES,
    THINGS,
    UNSEEN_THINGS,
    Background,
    Item,
    Scene,
    backgrounds,
    can_be_seen,
    is_held_back,
    make_scene,
    make_unseen_scene,
    with_style,
)
from tools.demo_model.world import draw


def _pixels(scene: Scene) -> np.ndarray:
    return np.asarray(draw(scene)).astype(np.int16)


@pytest.mark.parametrize("style", STYLES)
def test_same_seed_same_pixels(style):
    first, again = (draw(with_style(make_scene(5), style)).tobytes() for _ in range(2))
    assert hashlib.sha256(first).digest() == hashlib.sha256(again).digest()
    assert draw(with_style(make_scene(6), style)).tobytes() != first


@pytest.mark.parametrize("thing", THINGS + UNSEEN_THINGS)
def test_every_thing_fills_its_box_and_stays_in_it(thing):
    background = Background("plain", "white")
    there = np.abs(_pixels(Scene((Item(thing, "blue", "big", 0.5, 0.5),), background)) - COLOURS["white"]).sum(-1) > 60
    rows, columns = np.nonzero(there.any(1))[0], np.nonzero(there.any(0))[0]
    longest = max(np.ptp(rows), np.ptp(columns))
    assert 0.42 * 256 < longest < 0.62 * 256
    assert min(rows[0], columns[0], 255 - rows[-1], 255 - columns[-1]) > 0.18 * 256


def test_things_look_different():
    background = Background("plain", "white")
    drawn = {thing: _pixels(Scene((Item(thing, "blue", "big", 0.5, 0.5),), background)) for thing in THINGS + UNSEEN_THINGS}
    names = list(drawn)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            assert (np.abs(drawn[first] - drawn[second]).sum(-1) > 60).mean() > 0.02, (first, second)


def test_every_background_has_its_colours():
    assert len(backgrounds()) == len(SKIES) + len(PATTERNS) * len(COLOURS)
    for background in backgrounds():
        pixels = _pixels(Scene((Item("star", "red", "small", 0.5, 0.5),), background)).reshape(-1, 3)
        for colour in background.colours:
            assert (np.abs(pixels - colour).sum(-1) < 30).mean() > 0.004, background


def test_styles_change_the_picture():
    pictures = [_pixels(with_style(make_scene(3), style)) for style in STYLES]
    for index, first in enumerate(pictures):
        assert all(np.abs(first - second).mean() > 1 for second in pictures[index + 1 :])


def test_training_never_shows_what_is_held_back():
    scenes = [make_scene(seed) for seed in range(3000)]
    for scene in scenes:
        for item in scene.items:
            assert item.thing in THINGS
            assert not is_held_back(item.thing, item.colour, scene.background)
            assert can_be_seen(item.colour, scene.background)


def test_there_are_enough_unseen_combinations():
    seen = {(scene.items[0].thing, scene.items[0].colour, scene.background) for scene in map(make_unseen_scene, range(600))}
    assert len(seen) >= 200
    assert all(is_held_back(*combination) for combination in seen)


def test_scenes_cover_the_world():
    scenes = [make_scene(seed) for seed in range(2000)]
    assert {item.thing for scene in scenes for item in scene.items} == set(THINGS)
    assert {scene.style for scene in scenes} == set(STYLES)
    assert {len(scene.items) for scene in scenes} == {1, 2, 3}
    assert {scene.background for scene in scenes} == set(backgrounds())


def test_relations_are_true():
    for scene in map(make_scene, range(1500)):
        if scene.relation:
            first, second = scene.items
            true = {
                "left of": first.x < second.x - 0.2, "right of": first.x > second.x + 0.2, "above": first.y < second.y - 0.2,
                "below": first.y > second.y + 0.2,
            }
            assert true[scene.relation], scene
