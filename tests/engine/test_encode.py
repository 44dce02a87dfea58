"""Prompts through the tiny model's text encoder: weights, clip skip, what is remembered; and whole runs in which the prompt's language shows."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from webui.backend.components import Components
from webui.backend.families.sd_modules import encode_text
from webui.backend.parts import ModelChoice
from webui.engine.emphasis import apply_emphasis
from webui.engine.prompt.chunks import chunk_prompt
from webui.engine.steps.encode import PromptCache, encode_texts
from webui.engine.tools import RunTools
from webui.schema.errors import PromptError
from webui.schema.settings import PictureSettings

PLAIN = PictureSettings()


@pytest.fixture
def components(runtime, generate) -> Iterator[Components]:
    """The tiny model, with a mean other than 0 in its encodings (random weights have none), since Original emphasis divides by it."""
    with runtime.shop.manager.lease(ModelChoice(generate(steps=1)[0].plan.checkpoint)) as leased, torch.inference_mode():
        bias = leased.modules["text_encoder"].final_layer_norm.bias
        bias.data.add_(0.3)
        runtime.shop.prompts.forget()
        yield leased
        bias.data.sub_(0.3)
        runtime.shop.prompts.forget()


@pytest.fixture
def encoded(components: Components) -> Iterator[list[int]]:
    """How many chunks each call of the text encoder got."""
    calls: list[int] = []
    hook = components.modules["text_encoder"].register_forward_hook(lambda module, given, output: calls.append(len(given[0])))
    yield calls
    hook.remove()


def _by_hand(components: Components, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    (chunk,) = chunk_prompt(text).chunks
    return components.text_encoders[0].encode(torch.tensor([chunk.tokens]), 1).states, torch.tensor([chunk.weights])


def test_weights_reach_the_encoding(components: Components) -> None:
    z, weights = _by_hand(components, "a (red:1.4) house")
    for mode, expected in (("Original", apply_emphasis(z, weights, "Original")), ("No norm", z * weights[..., None]), ("Ignore", z)):
        result = encode_texts(components, ("a (red:1.4) house",), PictureSettings(emphasis=mode))
        torch.testing.assert_close(result["a (red:1.4) house"].states, expected[0], atol=1e-6, rtol=1e-5)
    literal = encode_texts(components, ("(red)",), PictureSettings(emphasis="None"))["(red)"]
    torch.testing.assert_close(literal.states, encode_texts(components, ("\\(red\\)",), PLAIN)["\\(red\\)"].states)


def test_texts_of_a_schedule_change_each_other_with_original_emphasis(components: Components) -> None:
    """A1111 takes the mean over all of them, each as often as it occurs."""
    texts = ("a (red:1.9) house", "tree", "tree")
    together, alone = encode_texts(components, texts, PLAIN), encode_texts(components, texts[:1], PLAIN)
    assert not torch.allclose(together[texts[0]].states, alone[texts[0]].states, atol=1e-5)
    parts = [_by_hand(components, text) for text in texts]
    expected = apply_emphasis(torch.cat([z for z, _ in parts]), torch.cat([weights for _, weights in parts]), "Original")
    for text, value in zip(texts, expected, strict=True):
        torch.testing.assert_close(together[text].states, value, atol=1e-6, rtol=1e-5)
    no_norm = PictureSettings(emphasis="No norm")
    together, alone = encode_texts(components, texts, no_norm), encode_texts(components, texts[:1], no_norm)
    torch.testing.assert_close(together[texts[0]].states, alone[texts[0]].states)


def test_shorter_texts_of_a_schedule_are_padded_with_empty_chunks(components: Components) -> None:
    long = "tree " * 80
    result = encode_texts(components, (long, "cat"), PLAIN)
    empty = encode_texts(components, ("",), PLAIN)[""].states
    assert result[long].states.shape == result["cat"].states.shape == (154, 32)
    torch.testing.assert_close(result["cat"].states[77:], empty, atol=1e-5, rtol=1e-4)


def test_clip_skip_takes_an_earlier_layer(components: Components) -> None:
    encoder = components.modules["text_encoder"]
    tokens = torch.tensor([chunk_prompt("a cat").chunks[0].tokens])
    outputs: list[torch.Tensor] = []
    hooks = [layer.register_forward_hook(lambda module, given, output: outputs.append(output)) for layer in encoder.encoder.layers]
    encoder(tokens)
    for hook in hooks:
        hook.remove()
    layers = [output[0] if isinstance(output, tuple) else output for output in outputs]
    for skip in range(1, len(layers) + 1):
        torch.testing.assert_close(encode_text(encoder, tokens, skip).states, encoder.final_layer_norm(layers[-skip]))
    torch.testing.assert_close(encode_text(encoder, tokens, 12).states, encoder.final_layer_norm(layers[0]))
    assert not torch.equal(encode_text(encoder, tokens, 1).states, encode_text(encoder, tokens, 2).states)


def test_what_is_remembered(components: Components, encoded: list[int]) -> None:
    cache = PromptCache(size=3)
    for texts, settings, calls in [
        (("a", "b"), PLAIN, 1), (("a", "b"), PLAIN, 1), (("b", "a"), PLAIN, 2), (("a",), PLAIN, 3), (("a",), PictureSettings(emphasis="No norm"), 4),
        (("a",), PictureSettings(emphasis="No norm", CLIP_stop_at_last_layers=2), 5), (("b", "a"), PLAIN, 6),
    ]:
        cache.get(components, texts, settings)
        assert len(encoded) == calls


def test_a_changed_seed_encodes_nothing(generate, encoded: list[int]) -> None:
    prompt = "[a (red:1.2) cat:[dog|cow]:2] AND <lora:x:1> blue sky :0.6"
    generate(prompt=prompt, negative_prompt="(bad) things")
    assert sum(encoded) == 5  # cat, dog, cow; sky; bad things
    encoded.clear()
    generate(prompt=prompt, negative_prompt="(bad) things", seed=99)
    assert encoded == []


@pytest.mark.parametrize(
    ("prompt", "settings"),
    [
        ("a (red:1.8) house", {}), ("[a blue cat:a red house:2]", {}), ("a red house AND a tree", {}), ("a BREAK red house", {}),
        ("a red house :3", {}),
        ("a red house", {"CLIP_stop_at_last_layers": 2}),
    ],
    ids=str,
)
def test_the_language_shows(generate, pixels, prompt: str, settings: dict) -> None:
    changed = generate(RunTools(settings=PictureSettings(**settings)), prompt=prompt)[0]
    assert np.abs(pixels(changed) - pixels(generate()[0])).mean() > 0.5


@pytest.mark.parametrize(
    ("prompt", "settings"),
    [
        ("(a red house)", {"emphasis": "Ignore"}), ("[a red house:a blue cat:20]", {}), ("a red house # with a tree", {}),
        ("a red house<lora:x:1>", {}),
        ("a red house:1", {}), ("[a blue cat:a red house:0]", {}),
    ],
    ids=str,
)
def test_what_changes_nothing(generate, pixels, prompt: str, settings: dict) -> None:
    same = generate(RunTools(settings=PictureSettings(**settings)), prompt=prompt)[0]
    assert np.abs(pixels(same) - pixels(generate()[0])).max() <= 2


def test_the_first_pass_up_to_a_switch_is_that_of_the_first_text(generate, runtime) -> None:
    """An entry that ends at 2 serves three calls: the fourth is the first that sees the other text."""
    seen: list[torch.Tensor] = []
    with runtime.shop.manager.lease(ModelChoice(generate(steps=1)[0].plan.checkpoint)) as leased:
        unet = leased.modules["unet"]
        hook = unet.register_forward_pre_hook(lambda module, given: seen.append(given[2][0].clone()))
        generate(prompt="[a:b:2]", steps=5)
        hook.remove()
    assert [torch.equal(context, seen[0]) for context in seen] == [True, True, True, False, False]


def test_an_unknown_network_is_only_noted(generate, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        generate(prompt="a <lora:nice:0.7> house", steps=1)
    assert "<lora:nice:0.7>" in caplog.text


def test_a_weight_that_is_no_number_is_refused_at_its_field(generate) -> None:
    with pytest.raises(PromptError) as caught:
        generate(negative_prompt="a (bad:1.1.1) hand")
    assert (caught.value.field, caught.value.position) == ("negative_prompt", 7)
