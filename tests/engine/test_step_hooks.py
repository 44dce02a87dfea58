"""The five points of the loop: who is asked when, what comes back in, and that a faulty plugin costs nobody the run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from webui.engine import generate as story
from webui.engine.runtime import Runtime
from webui.engine.step_hooks import POINTS
from webui.engine.tables import SAMPLERS
from webui.engine.tools import Picture, RunTools
from webui.plugins.host import PluginHost
from webui.plugins.registry import Registries
from webui.schema.errors import RequestError
from webui.sdk import hookimpl
from webui.sdk.engine import ModelInput, ModelOutput, StepState

Faults = list[tuple[str, str]]


@pytest.fixture
def faults() -> Faults:
    return []


@pytest.fixture
def host(runtime: Runtime, faults: Faults) -> Iterator[PluginHost]:
    """A host without plugins, in the runtime that `generate` uses."""
    shop = runtime.shop
    host = PluginHost(Registries(), lambda plugin, message: faults.append((plugin, message)))
    runtime.shop = dataclasses.replace(shop, host=host)
    yield host
    runtime.shop = shop


def plugin(**hooks: Any) -> SimpleNamespace:
    return SimpleNamespace(**{name: hookimpl(function) for name, function in hooks.items()})


def listener(heard: list[tuple[str, StepState]]) -> SimpleNamespace:
    """Writes down who was asked, and changes nothing."""

    def listen(name: str) -> Callable[..., None]:
        return lambda state: heard.append((name, state))

    return plugin(**{name: listen(name) for name in POINTS})


def same(one: list[Picture], other: list[Picture]) -> bool:
    return [picture.image.tobytes() for picture in one] == [picture.image.tobytes() for picture in other]


def test_the_points_come_in_order_and_listening_changes_nothing(generate, host: PluginHost) -> None:
    plain, heard = generate(sampler="Euler a"), []
    host.add("ear", listener(heard))
    assert same(generate(sampler="Euler a"), plain)
    assert [name for name, _ in heard] == ["before_step", "model_input", "after_output", "after_guidance", "after_step"] * 4
    assert [state.step for _, state in heard] == [step for step in range(4) for _ in range(5)]
    assert [state.call for name, state in heard if name == "after_guidance"] == [0, 1, 2, 3]
    levels = [float(state.level) for name, state in heard if name == "before_step"]
    assert levels == sorted(levels, reverse=True) and levels[0] > 14
    assert {(state.sampler, state.face, state.steps, state.cfg, state.request.seed) for _, state in heard} == {("Euler a", "sigma", 4, 7.0, 7)}


@pytest.mark.parametrize("spec", SAMPLERS, ids=lambda spec: spec.name)
def test_every_sampler_begins_and_ends_each_step_once(spec, generate, host: PluginHost) -> None:
    """A look ahead is no step, whatever the sampler. DPM adaptive may try a step again."""
    plain, heard, told = generate(sampler=spec.name, steps=5), [], []
    host.add("ear", listener(heard))
    assert same(generate(RunTools(report=told.append), sampler=spec.name, steps=5), plain)
    begun = [state.step for name, state in heard if name == "before_step"]
    assert begun == [state.step for name, state in heard if name == "after_step"] == list(range(len(begun)))
    assert len([name for name, _ in heard if name == "model_input"]) >= len(begun)
    assert spec.name == "DPM adaptive" or len(begun) == len([step for step in told if step.phase == "sampling"]) - 1


def test_before_step_changes_what_the_sampler_goes_on_with(generate, host: PluginHost) -> None:
    """One picture's start moved into another's run gives that other picture."""
    kept: list[torch.Tensor] = []
    expected = generate(seed=9, sampler="Euler")
    host.add("take", plugin(before_step=lambda latents, state: kept.append(latents.clone()) if state.step == 0 else None))
    generate(seed=9, sampler="Euler")
    host.disable("take")
    host.add("give", plugin(before_step=lambda latents, state: kept[0] if state.step == 0 else None))
    assert same(generate(seed=7, sampler="Euler"), expected)


def test_after_step_has_the_last_word(generate, host: PluginHost, pixels) -> None:
    kept: list[torch.Tensor] = []
    host.add("keep", plugin(after_step=lambda latents, state: kept.append(latents.clone())))
    (whole,) = generate()
    host.disable("keep")
    host.add("half", plugin(after_step=lambda latents, state: kept[-1] if state.step == state.steps - 1 else None))
    assert same(generate(seed=99), [whole])
    assert len(kept) == 4


def test_model_input_is_seen_by_the_model_and_not_by_the_sampler(generate, host: PluginHost, pixels) -> None:
    """The negative prompt left out is CFG 1; the other prompt put in is that prompt."""
    expected = generate(cfg_scale=1)
    host.add("drop", plugin(model_input=lambda inputs: dataclasses.replace(inputs, uncond=None)))
    assert same(generate(), expected)
    host.disable("drop")
    kept: list[torch.Tensor] = []
    host.add("take", plugin(model_input=lambda inputs: kept.append(inputs.cond)))
    expected = generate(prompt="a blue cat")
    host.disable("take")
    host.add("give", plugin(model_input=lambda inputs: dataclasses.replace(inputs, cond=kept[0])))
    assert same(generate(), expected)


def test_model_input_may_say_another_noise_level(generate, host: PluginHost, pixels) -> None:
    plain = generate()[0]
    host.add("detail", plugin(model_input=lambda inputs: dataclasses.replace(inputs, level=inputs.level * 0.9)))
    changed = generate()[0]
    assert 0.5 < np.abs(pixels(plain) - pixels(changed)).mean() < 60


def test_after_output_sees_both_answers(generate, host: PluginHost) -> None:
    """Prompt and negative prompt exchanged after the model is the same as before it."""
    expected = generate(prompt="tree", negative_prompt="a red house")
    host.add("swap", plugin(after_output=lambda output: ModelOutput(output.uncond, output.cond)))
    swapped = generate(prompt="a red house", negative_prompt="tree")
    assert np.abs(np.asarray(swapped[0].image, np.int16) - np.asarray(expected[0].image, np.int16)).max() <= 1  # rows of a batch round differently


def test_after_guidance_may_guide_otherwise(generate, host: PluginHost) -> None:
    def after_guidance(guided: torch.Tensor, output: ModelOutput, state: StepState) -> torch.Tensor:
        assert torch.equal(guided, output.uncond + (output.cond - output.uncond) * state.cfg)
        return output.uncond + (output.cond - output.uncond) * 3.0

    expected = generate(cfg_scale=3)
    host.add("three", plugin(after_guidance=after_guidance))
    assert same(generate(cfg_scale=7), expected)


def test_several_are_heard_in_a_row(generate, host: PluginHost) -> None:
    plain = generate()
    host.add("double", plugin(after_guidance=lambda guided: guided * 2))
    host.add("nothing", plugin(after_guidance=lambda guided: None))
    host.add("half", plugin(after_guidance=lambda guided: guided / 2))
    assert same(generate(), plain)


@pytest.mark.parametrize(
    ("point", "answer"),
    [
        ("before_step", lambda latents: latents[:, :1]),
        ("before_step", lambda latents: latents.missing),
        ("model_input", lambda inputs: inputs.x),
        ("model_input", lambda inputs: dataclasses.replace(inputs, cond=inputs.cond[:, :, :3])),
        ("model_input", lambda inputs: dataclasses.replace(inputs, uncond="no")),
        ("model_input", lambda inputs: ModelInput(inputs.x.double(), inputs.level, inputs.cond, inputs.uncond)),
        ("after_output", lambda output: ModelOutput(output.cond, None)),
        ("after_guidance", lambda guided: 3.0),
        ("after_step", lambda latents: latents.flatten()),
    ],
)
def test_a_faulty_plugin_is_named_and_left_out_of_the_run(generate, host: PluginHost, faults: Faults, point: str, answer: Callable[..., Any]) -> None:
    plain, counted = generate(batch_count=2), []
    host.add("bad", plugin(**{point: answer}))
    host.add("good", plugin(after_guidance=lambda guided: counted.append(1)))
    assert same(generate(batch_count=2), plain)
    assert [name for name, _ in faults] == ["bad"] and faults[0][1].startswith(point)
    assert len(counted) == 8


def test_a_plugin_may_refuse_with_words(generate, host: PluginHost, faults: Faults) -> None:
    def before_step(state: StepState) -> None:
        raise RequestError("Not with this sampler.", field="sampler")

    host.add("strict", plugin(before_step=before_step))
    with pytest.raises(RequestError, match="Not with this"):
        generate()
    assert faults == []


def test_nothing_is_made_when_nobody_listens(generate, host: PluginHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hooks object at all: what is not there cannot cost anything."""
    made: list[object] = []
    monkeypatch.setattr(story, "PassHooks", lambda *given: made.append(given))
    host.add("other", plugin(image_ready=lambda image: None))
    generate()
    assert made == [] and host.listen(*POINTS) is None


def test_the_example_of_the_docs_works(generate, host: PluginHost, faults: Faults, pixels) -> None:
    text = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"```python\n(# extensions/detail/main.py.*?)```", text, re.DOTALL)
    module = ModuleType("detail")
    exec(compile(source, "docs/hooks.md", "exec"), vars(module))
    plain = generate(steps=8)[0]
    host.add("detail", module)
    assert np.abs(pixels(generate(steps=8)[0]) - pixels(plain)).mean() > 0.5
    assert faults == []
