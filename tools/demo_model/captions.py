"""Words for a scene: sentences or tags, with more or less of what there is to say. Knows no pixels.

A caption comes with what it says, slot by slot (`Caption.said`), which is what the text encoder is taught to understand before the UNet meets it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from tools.demo_model.palette import COLOURS
from tools.demo_model.scene import PATTERNS, PLACES, RELATIONS, SIZES, SKIES, STYLES, THINGS, Background, Item, Scene

SLOTS: dict[str, tuple[str, ...]] = {
    "style": STYLES, "ground": SKIES + PATTERNS, "ground colour": tuple(COLOURS), "number": ("1", "2", "3"), "thing": THINGS,
    "colour": tuple(COLOURS), "size": tuple(SIZES), "place": tuple(PLACES), "second thing": THINGS, "second colour": tuple(COLOURS),
    "relation": RELATIONS,
}
"""What can be said. The label of a slot is 0 when nothing is said, else 1 + the place in this list."""

STYLE_WORDS = {
    "flat": ("flat", "flat style", "simple drawing", "clip art"),
    "pixel art": ("pixel art", "pixel art style", "pixelated", "8-bit"),
    "sketch": ("sketch", "a sketch", "ink drawing", "sketch style"), "watercolour": ("watercolour", "watercolor", "watercolour painting"),
    "neon": ("neon", "neon lights", "neon style", "glowing neon"),
}
SKY_WORDS = {
    "day": ("by day", "under a blue sky", "blue sky", "in daylight", "day sky"),
    "night": ("at night", "night sky", "under the stars", "in the night"),
    "sunset": ("at sunset", "sunset", "sunset sky", "in the evening"),
    "sea": ("by the sea", "at sea", "sea", "on the ocean", "in front of the sea"),
    "hills": ("on green hills", "grass hills", "in the hills", "on a meadow", "hills"),
    "snow": ("in the snow", "snow", "in winter", "snowy landscape"),
}
PLACE_WORDS = {
    "left": ("on the left", "left", "at the left"), "right": ("on the right", "right", "at the right"),
    "top": ("at the top", "top", "in the upper half"),
    "bottom": ("at the bottom", "bottom", "in the lower half"),
    "middle": ("in the middle", "middle", "in the center", "centered"),
}
SIZE_WORDS = {"small": ("small", "little", "tiny"), "medium": ("", "medium"), "big": ("big", "large", "huge")}
PATTERN_WORDS = {
    "plain": ("on a {c} background", "{c} background", "plain {c} background"), "striped": ("on a striped {c} background", "{c} stripes background"),
    "dotted": ("on a dotted {c} background", "{c} polka dot background"), "checked": ("on a checked {c} background", "{c} checkered background"),
}
THING_WORDS = {
    "cat": ("cat", "cat face"), "boat": ("boat", "sailing boat"), "house": ("house", "cottage"), "moon": ("moon", "crescent moon"),
}
PLURALS = {"fish": "fish", "butterfly": "butterflies"}
COLOUR_WORDS = {"gray": ("gray", "grey"), "turquoise": ("turquoise", "cyan")}
NUMBER_WORDS = {2: ("two", "2", "a pair of"), 3: ("three", "3")}
OPENINGS = ("", "", "", "", "a picture of ", "a drawing of ", "an illustration of ", "picture book, ")
PRAISE = ("cute", "pretty", "beautiful", "detailed", "masterpiece", "best quality", "colorful")


@dataclass(frozen=True)
class Caption:
    """A text and what it says: a slot that is missing in `said` is not mentioned."""

    text: str
    said: dict[str, str]

    @property
    def labels(self) -> list[int]:
        """One class a slot, in the order of `SLOTS`; a thing that the world does not teach counts as not mentioned."""
        return [1 + values.index(self.said[slot]) if self.said.get(slot) in values else 0 for slot, values in SLOTS.items()]


def write_caption(scene: Scene, luck: random.Random) -> Caption:
    """A caption of a scene: a sentence, tags, or only a hint of what is there. A style is always named, or plain prompts would mean any style."""
    form = luck.choices(("sentence", "tags", "hint"), (60, 28, 12))[0]
    chance = 0.4 if form == "hint" else 0.93
    kept = {topic for topic in _everything(scene) if luck.random() < chance or topic == "style"}
    if not kept & {"thing", "ground", "style"}:
        kept.add(luck.choice(("thing", "ground")))
    teller = _Teller(luck, kept)
    return teller.sentence(scene) if form == "sentence" else teller.tags(scene)


def plain_caption(scene: Scene) -> Caption:
    """The sentence that says everything, in the first of the possible words: the evaluator's prompt."""
    return _Teller(random.Random(0), set(_everything(scene)), first=True).sentence(scene)


def _everything(scene: Scene) -> list[str]:
    """What there is to say, in a fixed order, so that the same luck says the same."""
    topics = ["thing", "colour", "ground"] + (["style"] if scene.style != "flat" else [])
    if len(scene.items) == 1:
        topics += ["place"] + (["size"] if scene.items[0].size != "medium" else [])
    return topics


class _Teller:
    """Chooses the words of one caption and notes what they say."""

    def __init__(self, luck: random.Random, topics: set[str], first: bool = False) -> None:
        self.said: dict[str, str] = {}
        self._luck, self._topics, self._first = luck, topics, first

    def sentence(self, scene: Scene) -> Caption:
        """`a picture of a red house on the left at night, pixel art`."""
        body = " ".join(part for part in self._body(scene) if part)
        opening = self._luck.choice(OPENINGS) if "thing" in self._topics and not self._first else ""
        style = self.style(scene.style)
        return Caption(f"{opening}{body}, {style}" if body and style else opening + body + style, self.said)

    def tags(self, scene: Scene) -> Caption:
        """`at night, red house, pixel art, left`."""
        parts = [part for part in (*self._body(scene), self.style(scene.style)) if part]
        self._luck.shuffle(parts)
        if self._luck.random() < 0.15:
            parts.insert(self._luck.randrange(len(parts) + 1), self._luck.choice(PRAISE))
        return Caption(", ".join(parts), self.said)

    def _body(self, scene: Scene) -> list[str]:
        return [self.things(scene), self.place(scene), self.ground(scene.background)]

    def things(self, scene: Scene) -> str:
        """The things with their colours, sizes, number and relation."""
        if "thing" not in self._topics:
            if "colour" in self._topics and len(scene.items) == 1:
                self.said["colour"] = scene.items[0].colour
                return self._colour(scene.items[0].colour)
            return ""
        head = scene.items[0]
        self.said |= {"thing": head.thing, "number": str(len(scene.items))}
        if "colour" in self._topics:
            self.said["colour"] = head.colour
        if len(scene.items) == 1:
            return self._one(head)
        if not scene.relation:
            words = [self._word(NUMBER_WORDS[len(scene.items)]), self._colour(head.colour) if "colour" in self._topics else "", plural(head.thing)]
            return " ".join(word for word in words if word)
        other = scene.items[1]
        self.said |= {"second thing": other.thing, "relation": scene.relation}
        if "colour" in self._topics:
            self.said["second colour"] = other.colour
        return f"{self._one(head)} {self._relation(scene.relation)} {self._one(other)}"

    def place(self, scene: Scene) -> str:
        """Where the only thing is."""
        if "place" not in self._topics or not scene.place:
            return ""
        self.said["place"] = scene.place
        return self._word(PLACE_WORDS[scene.place])

    def ground(self, background: Background) -> str:
        """The background."""
        if "ground" not in self._topics:
            return ""
        self.said["ground"] = background.kind
        if background.kind in SKY_WORDS:
            return self._word(SKY_WORDS[background.kind])
        self.said["ground colour"] = background.colour
        return self._word(PATTERN_WORDS[background.kind]).format(c=self._colour(background.colour))

    def style(self, style: str) -> str:
        """The style; flat is mostly not mentioned."""
        if style == "flat":
            if self._first or self._luck.random() > 0.12:
                return ""
        elif "style" not in self._topics:
            return ""
        self.said["style"] = style
        return self._word(STYLE_WORDS[style])

    def _one(self, item: Item) -> str:
        size = self._word(SIZE_WORDS[item.size]) if "size" in self._topics else ""
        if size:
            self.said["size"] = item.size
        words = [size, self._colour(item.colour) if "colour" in self._topics else "", self._word(THING_WORDS.get(item.thing, (item.thing,)))]
        text = " ".join(word for word in words if word)
        return f"{'an' if text[0] in 'aeiou' else 'a'} {text}" if self._first or self._luck.random() < 0.7 else text

    def _relation(self, relation: str) -> str:
        words = {"left of": ("left of", "to the left of"), "right of": ("right of", "to the right of"), "above": ("above", "over"),
                 "below": ("below", "under")}
        return self._word(words[relation])

    def _colour(self, colour: str) -> str:
        return self._word(COLOUR_WORDS.get(colour, (colour,)))

    def _word(self, words: tuple[str, ...]) -> str:
        return words[0] if self._first or self._luck.random() < 0.5 else self._luck.choice(words)


def plural(thing: str) -> str:
    """`house` → `houses`."""
    return PLURALS.get(thing, thing + "s")
