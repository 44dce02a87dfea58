"""The evaluator's judges on drawn pictures, where the truth is known: at least 97 % right, and wrong when they must be."""

from __future__ import annotations

import numpy as np
from PIL import Image

from tools.demo_model.judge import judge
from tools.demo_model.judge_style import judge_style
from tools.demo_model.scene import STYLES, Background, Item, Scene, make_unseen_scene, with_style
from tools.demo_model.world import draw

PICTURES = 60


def test_judges_are_right_about_drawings():
    scenes = [make_unseen_scene(seed) for seed in range(PICTURES)]
    right = np.zeros(4)
    for scene in scenes:
        seen, item = judge(draw(scene)), scene.items[0]
        right += [seen.thing == item.thing, seen.colour == item.colour, seen.background == scene.background, seen.place == scene.place]
    assert (right / PICTURES >= 0.97).all(), right


def test_judges_bear_noise_and_blur():
    scenes = [make_unseen_scene(1000 + seed) for seed in range(20)]
    luck = np.random.default_rng(0)
    right = 0
    for scene in scenes:
        soft = np.asarray(draw(scene).resize((96, 96)).resize((256, 256)), dtype=np.float32) + luck.normal(0, 8, (256, 256, 3))
        seen = judge(Image.fromarray(soft.clip(0, 255).astype(np.uint8)))
        right += (seen.thing, seen.colour, seen.place) == (scene.items[0].thing, scene.items[0].colour, scene.place)
    assert right >= 18


def test_nothing_is_seen_where_nothing_is():
    seen = judge(Image.new("RGB", (256, 256), (56, 160, 70)))
    assert (seen.background, seen.thing, seen.colour) == (Background("plain", "green"), "", "")


def test_judge_tells_one_change_at_a_time():
    def look(thing: str, colour: str, x: float) -> tuple[str, str, str]:
        seen = judge(draw(Scene((Item(thing, colour, "medium", x, 0.5),), Background("hills"))))
        return seen.thing, seen.colour, seen.place

    assert look("house", "red", 0.27) == ("house", "red", "left")
    assert look("house", "blue", 0.27) == ("house", "blue", "left")
    assert look("robot", "red", 0.73) == ("robot", "red", "right")


def test_style_judge_is_right_about_drawings():
    wrong = [
        (style, found) for style in STYLES for seed in range(14)
        if (found := judge_style(draw(with_style(make_unseen_scene(seed), style)))) != style
    ]
    assert len(wrong) <= 0.03 * 14 * len(STYLES), wrong


def test_style_judge_bears_what_nobody_sees():
    """Noise of up to three levels of 255."""
    luck, wrong = np.random.default_rng(0), []
    for style in STYLES:
        for seed in range(14):
            exact = np.asarray(draw(with_style(make_unseen_scene(seed), style)), dtype=np.int16)
            noisy = np.clip(exact + luck.integers(-3, 4, exact.shape), 0, 255)
            if (found := judge_style(Image.fromarray(noisy.astype(np.uint8)))) != style:
                wrong.append((style, found))
    assert len(wrong) <= 0.03 * 14 * len(STYLES), wrong
