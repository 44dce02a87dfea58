"""Normal noise as an NVIDIA GPU draws it, computed on the CPU: Philox4x32-10 (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3")
and Box–Muller.

A1111's noise source "NV": a seed gives the GPU's noise on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], dtype=np.uint64)
WEYL = (0x9E3779B9, 0xBB67AE85)
MASK = np.uint64(0xFFFFFFFF)
STEP = np.float64(np.float32(2.3283064e-10))
"""2^-32, as the float32 constant of CUDA."""
TURN = np.float64(np.float32(2.3283064e-10 * 6.2831855))


class Philox:
    """The generator of one seed. `offset` counts the draws."""

    def __init__(self, seed: int) -> None:
        self.seed = seed % 2**64
        self.offset = 0

    def draw(self, shape: Sequence[int]) -> np.ndarray:
        """Standard normal float32 of this shape: element i has counter (offset, 0, i, 0)."""
        count = math.prod(shape)
        counter = np.zeros((4, count), dtype=np.uint64)
        counter[0] = self.offset
        counter[2] = np.arange(count)
        self.offset += 1
        bits = _rounds(counter, self.seed)
        u = bits[0] * STEP + STEP / 2
        v = bits[1] * TURN + TURN / 2
        return (np.sqrt(-2 * np.log(u)) * np.sin(v)).astype(np.float32).reshape(shape)


def _rounds(counter: np.ndarray, seed: int) -> np.ndarray:
    """Ten rounds on the (4, n) counters, 32-bit words held in 64 bits."""
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        low, high = counter[0] * MULTIPLIERS[0], counter[2] * MULTIPLIERS[1]
        upper = (high >> np.uint64(32)) ^ counter[1] ^ np.uint64(key[0])
        lower = (low >> np.uint64(32)) ^ counter[3] ^ np.uint64(key[1])
        counter = np.stack([upper, high & MASK, lower, low & MASK])
        key = [(word + constant) & 0xFFFFFFFF for word, constant in zip(key, WEYL, strict=True)]
    return counter
