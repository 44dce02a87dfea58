"""What other families than SD 1.x need of the engine: several text encoders, vectors for the whole, sizes, and pictures to look at."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests.engine.test_network import TABLE
from webui.backend.components import Encoded, Frame, ModuleCall, TextEncoder, join_encoded
from webui.engine.conditioning import Conditioning
from webui.engine.guidance import Guidance, SkipRules
from webui.engine.network import GuidedNetwork
from webui.engine.prompt.reading import read_prompts
from webui.engine.prompt.schedule import Timing
from webui.engine.prompt.tokens import END, START
from webui.engine.prompt.tokens import encode as tokens_of
from webui.engine.steps.encode import PromptCache, encode, encode_texts
from webui.schema.settings import PictureSettings

PLAIN = PictureSettings()


class Clip:
    """States are the token ids times `factor`, the vector is the sum of the tokens; tells what it was called with."""

    def __init__(self, factor: float, width: int) -> None:
        self.factor, self.width = factor, width
        self.calls: list[tuple[list[list[int]], int | None]] = []

    def __call__(self, tokens: Tensor, clip_skip: int | None) -> Encoded:
        self.calls.append((tokens.tolist(), clip_skip))
        states = (tokens.float() * self.factor)[..., None].expand(-1, -1, self.width)
        return Encoded(states, tokens.float().sum(1, keepdim=True))


@dataclass(frozen=True, eq=False)
class Two:
    """As much of a model with two text encoders as encoding needs."""

    text_encoders: tuple[TextEncoder, ...]
    device: object = type("Device", (), {"device": torch.device("cpu")})()
    zero_negative: bool = True

    join = staticmethod(join_encoded)

    @staticmethod
    def describe(pooled: Tensor, frame: Frame) -> dict[str, Tensor]:
        return {"pooled": pooled, "frame": torch.tensor([frame.height, frame.width, frame.crop_top, frame.crop_left, frame.score])}


def _two() -> tuple[Two, Clip, Clip]:
    first, second = Clip(1.0, 2), Clip(-1.0, 3)
    return Two((TextEncoder(first, clip_skip="asked"), TextEncoder(second, pad=0, clip_skip="never"))), first, second


def test_encoders_stand_side_by_side_with_their_own_padding() -> None:
    two, _, second = _two()
    encoded = encode_texts(two, ("cat",), PLAIN)["cat"]
    (cat,) = tokens_of("cat")
    assert encoded.states[:4, 0].tolist() == [START, cat, END, END]
    assert encoded.states[:4, 2].tolist() == [-START, -cat, -END, 0]
    assert encoded.states.shape == (77, 5)
    assert second.calls[0][0] == [[START, cat, END, *[0] * 74]]
    assert encoded.pooled.item() == START + cat + END


@pytest.mark.parametrize(("asked", "expected"), [(False, None), (True, 2)])
def test_clip_skip_counts_where_it_is_wanted(asked: bool, expected: int | None) -> None:
    two, first, second = _two()
    encode_texts(two, ("cat",), PictureSettings(CLIP_stop_at_last_layers=2, sdxl_clip_l_skip=asked))
    assert (first.calls[0][1], second.calls[0][1]) == (expected, None)


def test_the_vector_for_the_whole_is_that_of_the_first_chunk_and_has_no_weights() -> None:
    two, *_ = _two()
    long, plain = encode_texts(two, ("cat BREAK dog",), PLAIN)["cat BREAK dog"], encode_texts(two, ("cat",), PLAIN)["cat"]
    weighed = encode_texts(two, ("(cat:1.5)",), PictureSettings(emphasis="No norm"))["(cat:1.5)"]
    assert long.pooled.item() == weighed.pooled.item() == plain.pooled.item()
    assert weighed.states[1, 0].item() == weighed.states[1, 2].item() * -1 == plain.states[1, 0].item() * 1.5


def test_weights_of_original_emphasis_are_evened_out_for_each_encoder_by_itself() -> None:
    two, *_ = _two()
    plain, weighed = (encode_texts(two, (text,), PLAIN)[text].states for text in ("cat dog", "(cat:1.5) dog"))
    for columns in (slice(0, 2), slice(2, 5)):
        assert weighed[:, columns].mean().item() == pytest.approx(plain[:, columns].mean().item(), rel=1e-5)


def _conditions(negative: str, size: tuple[int, int] = (640, 512), **settings: object) -> Conditioning:
    two, *_ = _two()
    reading = read_prompts(("cat", "dog"), (negative, negative), PLAIN)
    return encode(two, PromptCache(), reading, 7.0, Timing(4), PLAIN.revise(**settings), size).at(0)


def test_sizes_and_scores_reach_every_row() -> None:
    found = _conditions("bad", sdxl_crop_top=8, sdxl_crop_left=16)
    assert found.added["frame"].tolist() == [[512, 640, 8, 16, 6.0]] * 2
    assert found.uncond_added["frame"].tolist() == [[512, 640, 8, 16, 2.5]] * 2
    (cat,), (dog,) = tokens_of("cat"), tokens_of("dog")
    assert found.added["pooled"].tolist() == [[START + cat + END], [START + dog + END]]


def test_an_empty_negative_prompt_is_zeros_where_the_family_says_so() -> None:
    assert not _conditions("").uncond.any() and not _conditions("").uncond_added["pooled"].any()
    assert _conditions("bad").uncond.any() and _conditions("[:bad:2]").uncond.any()


X = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
COND, UNCOND = torch.full((2, 77, 8), 1.0), torch.full((2, 77, 8), -1.0)


class Seen:
    """Answers the mean of the context, plus a tenth of the further channel; keeps the calls."""

    def __init__(self) -> None:
        self.calls: list[ModuleCall] = []

    def __call__(self, call: ModuleCall) -> Tensor:
        self.calls.append(call)
        extra = call.x[:, 4:].mean((1, 2, 3)) * 0.1 if call.x.shape[1] > 4 else 0
        return (call.context.mean((1, 2)) + extra)[:, None, None, None].expand(-1, 4, 8, 8)


@pytest.mark.parametrize("batched", [True, False])
def test_what_is_added_goes_with_its_rows(batched: bool) -> None:
    module = Seen()
    added, uncond_added = {"size": torch.tensor([[1.0], [2.0]])}, {"size": torch.tensor([[3.0], [4.0]])}
    moment = Conditioning(COND, UNCOND, None, added, uncond_added)
    GuidedNetwork(module, TABLE, moment, Guidance(7.0, batched)).eps(X, torch.tensor(500))
    assert [call.added["size"].flatten().tolist() for call in module.calls] == ([[1, 2, 3, 4]] if batched else [[1, 2], [3, 4]])


def test_parts_of_and_have_their_own_additions() -> None:
    module = Seen()
    shares = (((0, 1.0), (1, 0.5), (2, 1.0)), ((3, 1.0),))
    moment = Conditioning(COND.repeat(2, 1, 1), UNCOND[:, :1], shares, {"size": torch.tensor([[1.0], [2], [3], [4]])}, {"size": torch.zeros(2, 1)})
    GuidedNetwork(module, TABLE, moment, Guidance(7.0, batched=False)).eps(X, torch.tensor(500))
    assert [call.added["size"].flatten().tolist() for call in module.calls] == [[1, 2], [3, 4], [0, 0]]


def test_a_picture_to_look_at_stands_behind_the_latents_of_every_row() -> None:
    module = Seen()
    GuidedNetwork(module, TABLE, Conditioning(COND, UNCOND), 7.0, picture=torch.full((1, 5, 8, 8), 3.0)).eps(X, torch.tensor(500))
    (call,) = module.calls
    assert call.x.shape == (4, 9, 8, 8)
    assert torch.equal(call.x[:2, :4], X) and (call.x[:, 4:] == 3).all()


def test_pictures_of_a_batch_go_with_their_parts() -> None:
    module = Seen()
    pictures = torch.stack([torch.full((4, 8, 8), value) for value in (1.0, 2.0)])
    moment = Conditioning(torch.ones(3, 77, 8), UNCOND, (((0, 1.0), (1, 0.5)), ((2, 1.0),)))
    GuidedNetwork(module, TABLE, moment, 7.0, picture=pictures).eps(X, torch.tensor(500))
    assert module.calls[0].x[:, 4, 0, 0].tolist() == [1, 1, 2, 1, 2]


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_editing_holds_on_to_the_picture(batched: bool, prediction: str) -> None:
    """u + cfg (c - i) + s (i - u), with i: negative prompt and picture, u: negative prompt alone (a1111-contract §3)."""
    module, picture = Seen(), torch.full((2, 4, 8, 8), 5.0)
    rules = SkipRules(early=1.0)  # never for editing
    network = GuidedNetwork(
        module, TABLE, Conditioning(COND, UNCOND), Guidance(7.0, batched, rules, picture=1.5), prediction=prediction, picture=picture,
    )
    guided = network.x0(X, torch.tensor(2.0))
    cond, image, blank = (GuidedNetwork(
        lambda call, value=value: torch.full_like(call.x, value), TABLE, Conditioning(COND, None), 1.0, prediction=prediction,
    ).x0(X, torch.tensor(2.0)).value for value in (1.5, -0.5, -1.0))
    torch.testing.assert_close(guided.value, blank + 7.0 * (cond - image) + 1.5 * (image - blank))
    assert len(module.calls) == (1 if batched else 3)
    assert sum(len(call.x) for call in module.calls) == 6


def test_editing_without_hold_is_plain_guidance() -> None:
    module = Seen()
    GuidedNetwork(module, TABLE, Conditioning(COND, UNCOND), 7.0, picture=torch.ones(1, 4, 8, 8)).eps(X, torch.tensor(500))
    assert len(module.calls[0].x) == 4
