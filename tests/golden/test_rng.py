"""Noise per picture against A1111's with its noise source set to CPU, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from webui.engine.rng import BatchNoise

DATA = Path(__file__).parent / "data"
CASES = json.loads((DATA / "rng.json").read_text())["cases"]
ARRAYS = np.load(DATA / "rng.npz")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_draws(case: dict) -> None:
    noise = BatchNoise(tuple(case["shape"]), case["seeds"])
    for draw in range(case["draws"]):
        assert np.array_equal(noise.draw().numpy(), ARRAYS[f"{case['id']}/draw{draw}"])
