"""The engine from request to pictures, on the tiny model."""

from __future__ import annotations

import numpy as np
import pytest

from webui.backend.parts import ModelChoice
from webui.engine.cancel import CancelToken
from webui.engine.tools import RunTools, Step
from webui.plugins import hookspecs
from webui.schema.errors import Cancelled, ModelError, RequestError


def test_same_seed_same_bytes(generate) -> None:
    for sampler in ("DPM++ 2M", "Euler a", "Euler"):
        first, second = (generate(sampler=sampler)[0] for _ in range(2))
        assert first.image.tobytes() == second.image.tobytes()
        assert first.image.mode == "RGB"


@pytest.mark.parametrize(
    "change", [{"seed": 8}, {"prompt": "a blue cat"}, {"negative_prompt": "red"}, {"sampler": "Euler a"}, {"cfg_scale": 3}, {"steps": 5}], ids=str,
)
def test_what_is_asked_for_shows(generate, pixels, change: dict) -> None:
    base, changed = pixels(generate()[0]), pixels(generate(**change)[0])
    assert np.abs(base - changed).mean() > 2
    assert changed.std() > 10


def test_cfg_rescale_calms_a_high_cfg_scale(generate, pixels) -> None:
    plain, burnt, calm = (pixels(generate(**change)[0]) for change in ({}, {"cfg_scale": 30}, {"cfg_scale": 30, "cfg_rescale": 1.0}))
    assert np.abs(burnt - calm).mean() > 2
    assert calm.std() < burnt.std()
    assert np.abs(plain - burnt).mean() > 2


def test_schedule_type_shows(generate) -> None:
    automatic, karras, uniform = (generate(scheduler=name)[0] for name in ("Automatic", "Karras", "Uniform"))
    assert automatic.image.tobytes() == karras.image.tobytes() != uniform.image.tobytes()
    assert (automatic.plan.schedule_label, uniform.plan.schedule_label) == ("Karras", "Uniform")


def test_batch_gives_the_pictures_of_its_seeds(generate, pixels) -> None:
    """In float32. The noise is equal bit for bit (test_rng); matrix kernels round differently by batch, hence 2/255 for 99.9 % of the values."""
    batch = generate(seed=40, batch_size=3, sampler="Euler a")
    assert [picture.seed for picture in batch] == [40, 41, 42]
    for picture in batch:
        single = generate(seed=picture.seed, sampler="Euler a")[0]
        assert (np.abs(pixels(picture) - pixels(single)) <= 2).mean() >= 0.999


def test_batch_count_and_size_number_the_pictures(generate, pixels) -> None:
    pictures = generate(seed=40, batch_count=2, batch_size=2, steps=2)
    assert [(picture.index, picture.seed) for picture in pictures] == [(0, 40), (1, 41), (2, 42), (3, 43)]
    assert [batch.first for batch in pictures[0].plan.batches] == [0, 2]
    last = generate(seed=43, steps=2)[0]
    assert (np.abs(pixels(pictures[3]) - pixels(last)) <= 2).mean() >= 0.999


@pytest.mark.parametrize(("width", "height"), [(64, 64), (72, 64), (64, 136), (200, 120), (264, 64)])
def test_any_size_in_multiples_of_eight(generate, width: int, height: int) -> None:
    assert generate(width=width, height=height, steps=1)[0].image.size == (width, height)


@pytest.mark.parametrize("text", ["", " ", ",,,", "word " * 300, "🙂 émigré 猫 кошка", "(unbalanced [brackets"])
def test_any_text_is_a_prompt(generate, text: str) -> None:
    assert generate(prompt=text, steps=1)[0].image.size == (64, 64)


def test_prompts_of_different_length(generate, pixels) -> None:
    """A long negative prompt runs beside a short prompt, and what stands beyond 75 tokens counts."""
    long = "tree " * 80
    plain, longer = generate(negative_prompt=long)[0], generate(negative_prompt=long + "fish")[0]
    assert np.abs(pixels(plain) - pixels(longer)).max() > 0


def test_cfg_one_ignores_the_negative_prompt(generate) -> None:
    plain, with_negative = generate(cfg_scale=1)[0], generate(cfg_scale=1, negative_prompt="red")[0]
    assert plain.image.tobytes() == with_negative.image.tobytes()


def test_random_seed_is_drawn_and_told(generate) -> None:
    first, second = (generate(seed=-1, steps=1)[0] for _ in range(2))
    assert first.seed != second.seed
    assert first.plan.request.seed == first.seed >= 0
    again = generate(seed=first.seed, steps=1)[0]
    assert again.image.tobytes() == first.image.tobytes()


def test_unknown_sampler_is_named_at_its_field(generate) -> None:
    with pytest.raises(RequestError) as caught:
        generate(sampler="Euler b")
    assert caught.value.field == "sampler"
    assert "“Euler a”" in (caught.value.hint or "")


def test_steps_are_reported_in_order(generate) -> None:
    steps: list[Step] = []
    generate(RunTools(report=steps.append), batch_count=2, steps=3)
    assert [(step.picture, step.step) for step in steps if step.phase == "sampling"] == [(p, s) for p in (0, 1) for s in range(4)]
    assert {step.pictures for step in steps} == {2}
    assert {step.steps for step in steps} == {3}
    assert [step.phase for step in steps if step.picture == 1] == ["encoding", *["sampling"] * 4, "decoding"]


class _StopAt:
    """Stops at a step of the run, as if a person had clicked."""

    def __init__(self, at: int, skip: bool) -> None:
        self.cancel, self.seen, self.at, self.skip = CancelToken(), 0, at, skip

    def __call__(self, step: Step) -> None:
        if step.phase == "sampling" and step.step:
            self.seen += 1
            if self.seen == self.at:
                (self.cancel.skip if self.skip else self.cancel.interrupt)()

    @property
    def tools(self) -> RunTools:
        return RunTools(cancel=self.cancel, report=self)


def test_interrupt_keeps_the_partial_picture(generate, pixels) -> None:
    stop = _StopAt(5, skip=False)
    pictures = generate(stop.tools, batch_count=3, batch_size=2, steps=4)
    assert [(picture.index, picture.partial) for picture in pictures] == [(0, False), (1, False), (2, True), (3, True)]
    assert stop.seen == 5
    assert pixels(pictures[2]).std() > 5


def test_skip_goes_on_with_the_next_batch(generate) -> None:
    pictures = generate(_StopAt(2, skip=True).tools, batch_count=2, steps=4)
    assert [(picture.index, picture.partial) for picture in pictures] == [(0, True), (1, False)]


def test_interrupt_before_the_first_step_leaves_nothing(generate) -> None:
    cancel = CancelToken()
    cancel.interrupt()
    with pytest.raises(Cancelled):
        generate(RunTools(cancel=cancel))


def _at_phase(phase: str, act) -> RunTools:
    cancel = CancelToken()
    return RunTools(cancel=cancel, report=lambda step: getattr(cancel, act)() if step.phase == phase and step.picture == 0 else None)


def test_interrupt_while_encoding_raises(generate) -> None:
    with pytest.raises(Cancelled):
        generate(_at_phase("encoding", "interrupt"), batch_count=2)


def test_skip_while_encoding_yields_nothing_for_that_batch(generate) -> None:
    pictures = generate(_at_phase("encoding", "skip"), batch_count=2)
    assert [picture.index for picture in pictures] == [1]


def test_finished_batches_are_left_out(generate) -> None:
    pictures = generate(RunTools(finished=frozenset({0, 1})), batch_count=2, batch_size=2, steps=1)
    assert [picture.index for picture in pictures] == [2, 3]


def test_image_ready_hook_may_change_the_picture(runtime, generate) -> None:
    class Grey:
        @hookspecs.hookimpl
        def image_ready(self, image, request, index):
            assert (request.prompt, index) == ("a red house", 0)
            return image.convert("L").convert("RGB")

    host = runtime.shop.host
    host.add("grey", Grey())
    try:
        red, green, _ = generate(steps=1)[0].image.split()
    finally:
        host.disable("grey")
    assert red.tobytes() == green.tobytes()
    red, green, _ = generate(steps=1)[0].image.split()
    assert red.tobytes() != green.tobytes()


def test_changed_seed_encodes_no_text_again(runtime, generate) -> None:
    generate(prompt="a word not seen before", steps=1)
    calls: list[object] = []
    with runtime.shop.manager.lease(ModelChoice(runtime.plan(generate(steps=1)[0].plan.request).checkpoint)) as components:
        handle = components.modules["text_encoder"].register_forward_hook(lambda *call: calls.append(call))
    try:
        generate(prompt="a word not seen before", seed=99, steps=1)
        assert calls == []
        generate(prompt="yet another one", seed=99, steps=1)
        assert len(calls) == 1
    finally:
        handle.remove()


def test_a_model_that_gives_nan_is_named(runtime, generate) -> None:
    with runtime.shop.manager.lease(ModelChoice(generate(steps=1)[0].plan.checkpoint)) as components:
        for part, words in (("unet", "--precision full"), ("vae", "--no-half-vae")):
            bias = components.modules[part].get_submodule("conv_out" if part == "unet" else "decoder.conv_out").bias
            kept = bias.data.clone()
            bias.data.fill_(float("nan"))
            try:
                with pytest.raises(ModelError) as caught:
                    generate(steps=2)
            finally:
                bias.data.copy_(kept)
            assert "NaN" in caught.value.message
            assert words in (caught.value.hint or "")
