"""Noise is a picture's own: the same alone as anywhere in a batch, bit for bit, whatever bends it."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from webui.engine.rng import BatchNoise, Variation

SEEDS = st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 2**53 - 1))
SIDES = st.integers(1, 12)
LEVELS = st.floats(0.03, 14.6).map(lambda value: torch.tensor(value, dtype=torch.float32))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(SEEDS, SEEDS), min_size=1, max_size=5), st.data(), st.sampled_from(["CPU", "GPU", "NV"]), SIDES, SIDES,
    st.sampled_from([0.0, 0.25, 1.0]), st.sampled_from([(0, 0), (64, 40), (160, 160)]), st.sampled_from([0, 31337]),
)  # fmt: skip
def test_noise_does_not_depend_on_the_batch(
    seeds: list[tuple[int, int]], data: st.DataObject, source: str, width: int, height: int, strength: float, resize: tuple[int, int], ensd: int
) -> None:
    shape = (4, height, width)
    index = data.draw(st.integers(0, len(seeds) - 1))

    def noise(chosen: list[tuple[int, int]]) -> BatchNoise:
        subseeds = tuple(subseed for _, subseed in chosen)
        variation = Variation(subseeds if strength else (), strength, resize, ensd)
        return BatchNoise(shape, [seed for seed, _ in chosen], source=source, variation=variation)

    alone, batch = noise([seeds[index]]), noise(seeds)
    for _ in range(3):
        one, many = alone.draw(), batch.draw()
        assert many.shape == (len(seeds), *shape) and many.dtype == torch.float32
        assert torch.equal(one[0].nan_to_num(7.0), many[index].nan_to_num(7.0))  # slerp of a seed with itself may be NaN, as in A1111
    low, high = sorted((data.draw(LEVELS), data.draw(LEVELS)), key=float)
    if high > low:
        assert torch.equal(alone.brownian(0.03, 14.6)(high, low)[0], batch.brownian(0.03, 14.6)(high, low)[index])
