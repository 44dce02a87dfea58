"""Muon: its orthogonalization against the plain iteration, and that it learns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from tools.demo_model.muon import COEFFICIENTS, STEPS, Muon, is_matrix, orthogonalize


def plain(matrix: Tensor) -> Tensor:
    """The Newton–Schulz iteration as published."""
    first, second, third = COEFFICIENTS
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(STEPS):
        gram = matrix @ matrix.T
        matrix = first * matrix + (second * gram + third * gram @ gram) @ matrix
    return matrix


@pytest.mark.parametrize("shape", [(16, 16), (24, 200), (64, 576)])
def test_it_is_the_published_iteration(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.logspace(0, -2, shape[1]))
    torch.testing.assert_close(orthogonalize(matrix), plain(matrix), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(orthogonalize(matrix.T), plain(matrix).T, atol=1e-4, rtol=1e-3)


def test_singular_values_come_near_one() -> None:
    values = torch.linalg.svdvals(orthogonalize(torch.randn(32, 300, generator=torch.Generator().manual_seed(1))))
    assert values.min() > 0.6 and values.max() < 1.3


def test_what_counts_as_a_matrix() -> None:
    assert is_matrix(torch.zeros(32, 4, 3, 3))
    assert not is_matrix(torch.zeros(4, 32, 3, 3))
    assert not is_matrix(torch.zeros(64))


def test_it_learns_and_leaves_what_has_no_gradient() -> None:
    torch.manual_seed(0)
    used, unused = nn.Linear(16, 16), nn.Linear(16, 16)
    before = unused.weight.clone()
    muon = Muon([*used.parameters(), *unused.parameters()], 0.05, 0.01)
    inputs, wanted = torch.randn(64, 16), torch.randn(64, 16)
    losses = []
    with ThreadPoolExecutor(2) as pool:
        for _ in range(40):
            loss = (used(inputs) - wanted).square().mean()
            used.zero_grad()
            loss.backward()
            muon.step(1.0, pool)
            losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert torch.equal(unused.weight, before)
