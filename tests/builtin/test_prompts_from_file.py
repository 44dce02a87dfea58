"""Lines to requests, and the script through a run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from webui.builtin.prompts_from_file import PromptParams, PromptsFromFile, make_requests, parse_line
from webui.sdk import PictureRecord, RequestError, Txt2Img


class Notes:
    """A run that writes down what it was asked."""

    def __init__(self) -> None:
        self.planned: list[Txt2Img] = []
        self.made: list[tuple[str, str, int]] = []

    def plan(self, requests: Sequence[Txt2Img]) -> None:
        """Note the plan."""
        self.planned = list(requests)

    def generate(self, request: Txt2Img, key: str) -> list[PictureRecord]:
        """Note the call."""
        self.made.append((key, request.prompt, request.seed))
        return []

    def save_grid(self, *about: object, **more: object) -> None:
        """This script makes no grids."""
        raise AssertionError


def test_one_child_a_line_with_keys_that_stay() -> None:
    notes = Notes()
    params = PromptParams(text="a house\n\n--prompt a red tree --steps 7 --sampler_name Euler\n  a boat ", iterate_seed=True)
    PromptsFromFile().run(notes, Txt2Img(seed=5, batch_size=2, script="prompts_from_file"), params)
    assert notes.made == [("line-1", "a house", 5), ("line-2", "a red tree", 7), ("line-3", "a boat", 9)]
    assert [(child.steps, child.sampler, child.script) for child in notes.planned][1] == (7, "Euler", "")


def test_the_prompt_of_the_page_is_joined() -> None:
    request = Txt2Img(prompt="at night", seed=1)
    assert [child.prompt for child in make_requests(request, PromptParams(text="a house"))] == ["a house at night"]
    assert [child.prompt for child in make_requests(request, PromptParams(text="a house", position="end"))] == ["at night a house"]
    assert [child.seed for child in make_requests(request, PromptParams(text="a\nb"))] == [1, 1]


def test_options_of_a_line() -> None:
    line = '--prompt "a, b" --negative_prompt blur --cfg_scale 3.5 --n_iter 2 --sd_model m.safetensors'
    expected = {"prompt": "a, b", "negative_prompt": "blur", "cfg_scale": "3.5", "batch_count": "2", "checkpoint": "m.safetensors"}
    assert parse_line(line, 1) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no prompt"),
        ("a\n--colour red", "Line 2"),
        ("--steps", "Line 1"),
        ('--prompt "open', "Line 1"),
        ("--steps 0", "Line 1"),
        ("--width 100", "Line 1"),
    ],
)
def test_a_wrong_line_is_named_before_anything_runs(text: str, words: str) -> None:
    notes = Notes()
    with pytest.raises(RequestError, match=words) as caught:
        PromptsFromFile().run(notes, Txt2Img(), PromptParams(text=text))
    assert caught.value.field == "ext.prompts_from_file.text" and notes.made == []
