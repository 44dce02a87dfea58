"""Captions say what is there, and `said` says what they say."""

from __future__ import annotations

import random

import pytest

from tools.demo_model.captions import COLOUR_WORDS, PLACE_WORDS, SKY_WORDS, SLOTS, STYLE_WORDS, THING_WORDS, plain_caption, plural, write_caption
from tools.demo_model.scene import STYLES, Background, Item, Scene, make_scene, with_style
from webui.engine.prompt.reading import count_tokens

ONE = Scene((Item("apple", "orange", "medium", 0.27, 0.5),), Background("night"), "pixel art", "left")


def test_same_luck_same_words():
    texts = [[write_caption(make_scene(seed), random.Random(seed)).text for seed in range(50)] for _ in range(2)]
    assert texts[0] == texts[1]
    assert len({write_caption(ONE, random.Random(seed)).text for seed in range(40)}) > 20


def test_plain_caption():
    caption = plain_caption(ONE)
    assert caption.text == "an orange apple on the left at night, pixel art"
    assert caption.said == {
        "thing": "apple", "number": "1", "colour": "orange", "place": "left", "ground": "night", "style": "pixel art",
    }


@pytest.mark.parametrize("style", STYLES)
def test_plain_caption_of_a_pattern(style):
    scene = with_style(Scene((Item("cat", "blue", "big", 0.5, 0.5),), Background("striped", "red"), "flat", "middle"), style)
    ending = "" if style == "flat" else f", {style}"
    assert plain_caption(scene).text == f"a big blue cat in the middle on a striped red background{ending}"


def test_what_is_said_stands_in_the_text():
    words = {"place": PLACE_WORDS, "style": STYLE_WORDS}
    for seed in range(1500):
        caption = write_caption(make_scene(seed), random.Random(seed))
        for slot, value in caption.said.items():
            if slot in ("thing", "second thing"):
                forms = (*THING_WORDS.get(value, (value,)), plural(value))
            elif slot.endswith("colour"):
                forms = COLOUR_WORDS.get(value, (value,))
            elif slot == "ground":
                forms = SKY_WORDS.get(value, ("background",))
            elif slot in words:
                forms = words[slot][value]
            else:
                continue
            assert any(form in caption.text for form in forms), (caption, slot)


def test_labels_are_classes():
    labels = plain_caption(ONE).labels
    assert len(labels) == len(SLOTS)
    assert [values[label - 1] for values, label in zip(SLOTS.values(), labels, strict=True) if label] == [
        "pixel art", "night", "1", "apple", "orange", "left",
    ]


def test_captions_are_short_and_never_empty():
    for seed in range(1000):
        caption = write_caption(make_scene(seed), random.Random(seed))
        assert caption.text.strip(" ,") == caption.text != ""
        assert count_tokens(caption.text)[0] <= 38
