"""Schedules, AND and padding as the guided network sees them, on tensors that are numbers."""

from __future__ import annotations

import pytest
import torch

from tests.engine.test_network import TABLE, Recorder
from webui.engine.conditioning import Line, Padding, Timeline, stack_texts
from webui.engine.guidance import Guidance, SkipRules
from webui.engine.network import GuidedNetwork

X = torch.zeros(1, 4, 8, 8)
T = torch.tensor(500)


def _text(value: float, tokens: int = 77) -> torch.Tensor:
    return torch.full((tokens, 8), float(value))


def _line(*values: float, ends: tuple[int, ...] = (99,)) -> Line:
    return Line(ends, tuple(_text(value) for value in values))


def test_texts_change_at_model_calls() -> None:
    timeline = Timeline([[(1.0, _line(1, 2, 3, ends=(1, 3, 6)))]], [_line(-1, -2, ends=(2, 6))])
    seen = [(moment.cond[0, 0, 0].item(), moment.uncond[0, 0, 0].item()) for moment in map(timeline.at, range(9))]
    assert seen == [(1, -1), (1, -1), (2, -1), (2, -2), (3, -2), (3, -2), (3, -2), (1, -1), (1, -1)]
    assert timeline.at(4) is timeline.at(5)


def test_the_network_asks_at_every_call() -> None:
    module = Recorder()
    network = GuidedNetwork(module, TABLE, Timeline([[(1.0, _line(1, 2, ends=(0, 9)))]], None), 1.0)
    assert [network.eps(X, T).value.mean().item() for _ in range(3)] == [1, 2, 2]
    again = GuidedNetwork(module, TABLE, Timeline([[(1.0, _line(1, 2, ends=(0, 9)))]], None), 1.0)
    assert again.eps(X, T).value.mean() == 1


def test_and_adds_the_parts_over_the_negative_prompt() -> None:
    """x0 = u + sum of weight x cfg x (d - u), per picture, in one module call."""
    module = Recorder()
    timeline = Timeline([[(1.0, _line(1)), (0.5, _line(3))], [(1.0, _line(2))]], [_line(-1), _line(0)])
    guided = GuidedNetwork(module, TABLE, timeline, 4.0).eps(torch.zeros(2, 4, 8, 8), T)
    (call,) = module.calls
    assert call.context[:, 0, 0].tolist() == [1, 3, 2, -1, 0]
    assert guided.value[:, 0, 0, 0].tolist() == [-1 + 4 * 2 + 4 * 0.5 * 4, 4 * 2]
    assert guided.cond[:, 0, 0, 0].tolist() == [-1 + 2 + 0.5 * 4, 2]


def test_each_part_sees_its_own_picture() -> None:
    seen = []

    def module(call):
        seen.append(call.x[:, 0, 0, 0].tolist())
        return call.x

    x = torch.stack([torch.full((4, 8, 8), 1.0), torch.full((4, 8, 8), 2.0)])
    timeline = Timeline([[(1.0, _line(1)), (0.5, _line(3))], [(1.0, _line(2))]], [_line(-1), _line(0)])
    guided = GuidedNetwork(module, TABLE, timeline, 4.0).eps(x, T)
    assert seen == [[1, 1, 2, 1, 2]]
    assert torch.equal(guided.value, x)


def test_a_weight_of_a_single_prompt_counts() -> None:
    timeline = Timeline([[(2.0, _line(1))]], [_line(0)])
    assert GuidedNetwork(Recorder(), TABLE, timeline, 1.0).eps(X, T).value.mean() == 2


def test_many_parts_run_two_batches_at_a_time_when_lengths_differ() -> None:
    module = Recorder()
    timeline = Timeline([[(1.0, _line(value)) for value in (1, 2, 3)]], [Line((9,), (_text(0, 154),))])
    guided = GuidedNetwork(module, TABLE, timeline, 1.0).eps(X, T)
    assert [call.context.shape[:2] for call in module.calls] == [(2, 77), (1, 77), (1, 154)]
    assert guided.value.mean() == 6


def test_parts_of_different_length_repeat_the_last_vector() -> None:
    long = torch.cat([_text(1), _text(2)])
    stacked = stack_texts([long, torch.arange(77.0)[:, None].expand(77, 8)])
    assert stacked.shape == (2, 154, 8)
    assert stacked[1, 76:, 0].unique().tolist() == [76]


@pytest.mark.parametrize(
    ("padding", "cond_tokens", "uncond_tokens", "shapes"),
    [
        (Padding(), 154, 77, [(1, 154), (1, 77)]),
        (Padding("repeat", _text(5)), 154, 77, [(2, 154)]), (Padding("repeat", _text(5)), 77, 231, [(2, 231)]),
        (Padding("v0"), 154, 77, [(2, 154)]), (Padding("v0"), 77, 154, [(2, 77)]),
    ],
    ids=["off", "uncond", "cond", "v0 longer", "v0 shorter"],
)
def test_padding(padding: Padding, cond_tokens: int, uncond_tokens: int, shapes: list) -> None:
    module = Recorder()
    timeline = Timeline([[(1.0, Line((9,), (_text(1, cond_tokens),)))]], [Line((9,), (_text(2, uncond_tokens),))], padding)
    GuidedNetwork(module, TABLE, timeline, 7.0).eps(X, T)
    assert [tuple(call.context.shape[:2]) for call in module.calls] == shapes
    moment = timeline.at(0)
    shorter = moment.uncond if cond_tokens > uncond_tokens else moment.cond
    if padding.mode == "repeat":
        assert shorter[0, 77:].unique().tolist() == [5]
    if padding.mode == "v0":
        assert moment.uncond.unique().tolist() == [2]


def test_not_batched_runs_one_after_the_other() -> None:
    module = Recorder()
    guided = GuidedNetwork(module, TABLE, Timeline([[(1.0, _line(1))]], [_line(-1)]), Guidance(7.0, batched=False)).eps(X, T)
    assert [len(call.x) for call in module.calls] == [1, 1]
    assert guided.value.mean() == 13


def test_calls_without_the_negative_prompt() -> None:
    def run(guidance: Guidance, t: int = 500) -> list[int]:
        module = Recorder()
        network = GuidedNetwork(module, TABLE, Timeline([[(1.0, _line(1))]], [_line(-1)]), guidance)
        return [0 if network.eps(X, torch.tensor(t)).uncond is None else 1 for _ in range(6)]

    assert run(Guidance(7.0)) == [1] * 6
    assert run(Guidance(7.0, skip=SkipRules(early=0.5, total_calls=6))) == [0, 0, 0, 0, 1, 1]
    assert run(Guidance(7.0, skip=SkipRules(below=600))) == [1, 0, 1, 0, 1, 0]
    assert run(Guidance(7.0, skip=SkipRules(below=600, every_call=True))) == [0] * 6
    assert run(Guidance(7.0, skip=SkipRules(below=400, every_call=True))) == [1] * 6


def test_and_without_the_negative_prompt_starts_from_its_first_part() -> None:
    timeline = Timeline([[(1.0, _line(1)), (0.5, _line(3))]], [_line(-1)])
    guided = GuidedNetwork(Recorder(), TABLE, timeline, Guidance(4.0, skip=SkipRules(early=1.0))).eps(X, T)
    assert guided.value.mean() == 1 + 4 * 0.5 * 2
    assert guided.uncond is None
