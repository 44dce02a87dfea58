"""What the weights of a prompt do to its encoding (a1111-contract §1). Torch arithmetic only; knows no text."""

from __future__ import annotations

import torch
from torch import Tensor

MODES = ("None", "Ignore", "Original", "No norm")
"""A1111's names. None: brackets are plain characters; Ignore: they are read, their weights unused. Both leave the encoding as it is."""


def apply_emphasis(z: Tensor, weights: Tensor, mode: str, counts: Tensor | None = None) -> Tensor:
    """z (texts, tokens, width) times weights (texts, tokens), for one chunk of all texts that were encoded together.

    With Original the mean over **texts, tokens and channels together** is put back to what it was, so texts encoded together change each other.
    `counts` (texts,) says how often each text stands in that batch; None = once each.
    """
    if mode in ("None", "Ignore"):
        return z
    changed = z * weights[..., None]
    return changed if mode == "No norm" else changed * (_mean(z, counts) / _mean(changed, counts))


def _mean(z: Tensor, counts: Tensor | None) -> Tensor:
    return z.mean() if counts is None else torch.dot(z.mean(dim=(1, 2)), counts) / counts.sum()
