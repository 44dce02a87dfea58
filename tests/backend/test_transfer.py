"""Casting weights on their way to where they compute."""

from __future__ import annotations

import pytest
import torch

from webui.backend.transfer import PIECE, carrier, cast


@pytest.mark.parametrize("numbers", [5, PIECE, 2 * PIECE + 7])
@pytest.mark.parametrize(("source", "target"), [(torch.float16, torch.bfloat16), (torch.bfloat16, torch.float16), (torch.float16, torch.float32)])
def test_a_cast_has_the_bits_of_torchs(source: torch.dtype, target: torch.dtype, numbers: int) -> None:
    """Every number of 16 bits is among the longest: subnormal ones, infinities and what is no number too."""
    bits = torch.arange(numbers, dtype=torch.int64).to(torch.int16)
    weight = bits.view(source)
    made = cast(weight, target)
    assert made.dtype == target and torch.equal(made.isnan(), weight.isnan())
    number = ~weight.isnan()
    assert torch.equal(made[number], weight.to(target)[number]) and torch.equal(made[number].signbit(), weight[number].signbit())


def test_shape_and_order_stay() -> None:
    weight = torch.randn(300, 2, 300, generator=torch.Generator().manual_seed(0)).half()
    for one in (weight, weight.transpose(0, 2), weight[:, 0]):
        assert torch.equal(cast(one, torch.bfloat16), one.to(torch.bfloat16))


def test_what_needs_no_cast_stays_where_it_is() -> None:
    weight = torch.zeros(2 * PIECE, dtype=torch.float16)
    assert carrier(torch.device("cpu"))(weight, torch.float16).data_ptr() == weight.data_ptr()
