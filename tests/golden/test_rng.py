"""Noise per picture against A1111's: its three sources, variation seeds, resized seeds, ENSD."""

from __future__ import annotations

import numpy as np
import pytest

from tests.golden import vectors
from webui.engine.rng import BatchNoise, Variation

EXACT, SUBSEED, NV = 0.0, 2e-6, 1e-6


@pytest.mark.parametrize("case", vectors.cases("rng"), ids=lambda case: case["id"])
def test_draws(case: dict) -> None:
    width, height = case.get("seed_resize_from_w", 0), case.get("seed_resize_from_h", 0)
    variation = Variation(
        tuple(case.get("subseeds", ())), case.get("subseed_strength", 0.0), (width, height), case.get("eta_noise_seed_delta", 0),
    )
    noise = BatchNoise(tuple(case["shape"]), case["seeds"], source=case["source"], variation=variation)
    allowed = max(NV if case["source"] == "NV" else EXACT, SUBSEED if case.get("subseed_strength") else EXACT)
    for draw in range(case["draws"]):
        expected = vectors.arrays("rng")[f"{case['id']}/draw{draw}"]
        found = noise.draw().numpy().reshape(expected.shape)
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() <= allowed
