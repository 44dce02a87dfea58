"""From typed text to what is encoded: tags, comments, the counter, and where a prompt is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webui.engine.prompt.attention import parse_attention
from webui.engine.prompt.chunks import EMPTY, chunk_prompt
from webui.engine.prompt.hints import prompt_hints
from webui.engine.prompt.reading import check_prompt, count_tokens, read_prompts, strip_comments
from webui.engine.prompt.schedule import Entry, Timing, parse_schedule
from webui.schema.errors import PromptError
from webui.schema.settings import PictureSettings

SETTINGS = PictureSettings()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", (0, 75)), ("cat", (1, 75)), ("cat " * 75, (75, 75)), ("cat " * 76, (76, 150)), ("cat " * 70 + ", " + "dog " * 10, (85, 150)),
        ("(cat:1.3) [dog]", (2, 75)), ("cat <lora:x:0.5>", (1, 75)), ("cat # " + "dog " * 99, (1, 75)), ("cat AND two dogs", (2, 75)),
        ("[cat:two dogs:5]", (2, 75)), ("cat BREAK dog", (76, 150)), ("(cat:1.2.3)", (9, 75)),
    ],
    ids=["empty", "one", "full", "one more", "phrase moves on", "weights", "tag", "comment", "and", "schedule", "break", "unreadable"],
)
def test_counter(text: str, count: tuple[int, int]) -> None:
    assert count_tokens(text) == count


def test_the_counter_follows_the_settings() -> None:
    assert count_tokens("(cat)", PictureSettings(emphasis="None")) == (3, 75)
    assert count_tokens("cat # dog", PictureSettings(enable_prompt_comments=False)) == (3, 75)
    assert count_tokens("cat " * 70 + ", " + "dog " * 10, PictureSettings(comma_padding_backtrack=0)) == (81, 150)
    assert count_tokens("a AND b", negative=True) == (3, 75)
    assert count_tokens("[a:two dogs:10]", calls=5) == (1, 75)


def test_tags_of_the_first_prompt_count_and_negatives_keep_theirs() -> None:
    reading = read_prompts(["a <lora:x:1> b", "c <lora:y:te=0.5>"], ["<lora:z:1> # no"], SETTINGS)
    assert reading.prompts == ("a  b", "c ")
    assert reading.negative_prompts == ("<lora:z:1> \n",)
    assert [str(tag) for tag in reading.tags] == ["<lora:x:1>"]


@pytest.mark.parametrize(
    ("text", "left"),
    [("a # b", "a \n"), ("a # b\nc", "a \nc"), ("# a\nb", "\nb"), ("a\n# b\nc", "a\nc"), ("a\nb", "a\nb"), ("#", "\n")],
)
def test_comments(text: str, left: str) -> None:
    assert strip_comments(text) == left


def test_a_plain_prompt_as_one_chunk() -> None:
    result = chunk_prompt("a photo of a cat")
    assert result.chunks[0].tokens == (49406, 320, 1125, 539, 320, 2368, *[49407] * 71)
    assert result.chunks[0].weights == (1.0,) * 77
    assert chunk_prompt("").chunks == (EMPTY,)


def test_weights_follow_their_tokens() -> None:
    result = chunk_prompt("cat " * 70 + "(" + "dog " * 10 + ":1.5)")
    assert [chunk.weights.count(1.5) for chunk in result.chunks] == [5, 5]
    assert result.chunks[1].weights[1:6] == (1.5,) * 5


@pytest.mark.parametrize(
    ("text", "position"), [("a (cat:1.2.3)", 7), ("(x:..)", 3), ("[a:b:1e999]", 10), ("[a:(b:1.1.1):3]", 3)],
)
def test_refused_at_its_place(text: str, position: int) -> None:
    with pytest.raises(PromptError) as caught:
        check_prompt(text, Timing(20), SETTINGS, "negative_prompt")
    assert (caught.value.field, caught.value.position) == ("negative_prompt", position)
    assert caught.value.status == 422


@pytest.mark.parametrize("text", ["((", "]])", "(a:b)", "[a:b:1e999] |", "\\", "[|", "(a:1.2.3", "a:1.2.3)", "AND AND :", "BREAK" * 3])
def test_any_other_text_is_read(text: str) -> None:
    check_prompt(text, Timing(20), SETTINGS)


def test_weights_that_are_no_numbers_are_text_without_emphasis() -> None:
    check_prompt("(a:1.2.3)", Timing(20), PictureSettings(emphasis="None"))


@pytest.mark.parametrize(
    "text", ["(" * 9000, "[" * 4000 + "a" + ":3]" * 4000, "[a|" * 3000 + "]" * 3000, "[" * 9000 + "]" * 9000, " " * 19_000 + ":"],
    ids=["open", "schedules", "turns", "squares", "blanks"],
)
def test_deep_and_long_texts_are_read_in_time(text: str) -> None:
    entries = parse_schedule(text, Timing(4))
    assert entries[-1].end == 4
    count_tokens(text, PictureSettings(emphasis="None"), calls=4)


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("[a:b:.5])", "b)"), ("[a:b:.5]))", None), ("[a:b:.5])))", "b)))"), ("[a:b:.5] ))", "b ))"), ("([a:b:.5]))", None),
        ("([a:b:.5] x))", "(b x))"),
        ("[a:b:.5]:)", None), ("[a:b:.5] :)", "b :)"), ("[a:b:.5][]]]", None), ("[a:b:.5]((x)))", None),
        ("[a:b:.5]))[c:d:.5]", "[a:b:.5]))d"),
        ("[[a:b:.5]:c:.7]))", "[b:c:.7]))"), ("[a:b:1e999]))", None), ("[a:b:.5] |", None), ("[(a|b):c:.5]", None),
    ],
)
def test_brackets_without_partner_right_behind_a_schedule(text: str, second: str | None) -> None:
    """What lark 1.3.1 makes of A1111's grammar; None = the whole prompt is text."""
    assert parse_schedule(text, Timing(10))[-1].text == (text if second is None else second)


WORDS = [*"()[]:|\\,# \n", "a", "BREAK", " AND ", ":1.2)", ":0.5]", "1.2.3", "1e999", "<lora:x:1>", "é", "９"]
LANGUAGE = st.lists(st.sampled_from(WORDS)).map("".join)


@settings(max_examples=300, deadline=None)
@given(LANGUAGE, st.booleans())
def test_nothing_but_prompt_errors(text: str, negative: bool) -> None:
    refused: list[PromptError] = []
    try:
        check_prompt(text, Timing(12), SETTINGS, "negative_prompt" if negative else "prompt")
    except PromptError as error:
        refused.append(error)
    assert {error.field for error in refused} <= {"negative_prompt" if negative else "prompt"}
    assert all(0 <= error.position <= len(text) for error in refused)
    count, room = count_tokens(text, negative=negative)
    assert 0 <= count <= room
    prompt_hints(text)


@given(st.text(alphabet="ab ,.!?'é\n", max_size=40))
def test_plain_text_is_itself(text: str) -> None:
    assert parse_schedule(text, Timing(7)) == (Entry(7, text),)
    assert parse_attention(text) == [(text, 1.0)]


def test_boundaries_are_model_calls() -> None:
    assert parse_schedule("[a:b:10]", Timing(40)) == (Entry(10, "a"), Entry(40, "b"))
    assert parse_schedule("[a:b:1.5]", Timing(20, 10)) == (Entry(5, "a"), Entry(10, "b"))
    assert parse_schedule("[a:b:1.5]", Timing(20, 10, old=True)) == (Entry(1, "a"), Entry(20, "b"))
