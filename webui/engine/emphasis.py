"""What the weights of a prompt do to its encoding (a1111-contract §1). Torch arithmetic only; knows no text."""

from __future__ import annotations

from torch import Tensor

MODES = ("None", "Ignore", "Original", "No norm")
"""A1111's names. None: brackets are plain characters; Ignore: they are read, their weights unused. Both leave the encoding as it is."""


def apply_emphasis(z: Tensor, weights: Tensor, mode: str) -> Tensor:
    """z (texts, tokens, width) times weights (texts, tokens), for one chunk of all texts that were encoded together.

    With Original the mean over **texts, tokens and channels together** is put back to what it was, so texts encoded together change each other.
    """
    if mode in ("None", "Ignore"):
        return z
    changed = z * weights[..., None]
    return changed if mode == "No norm" else changed * (z.mean() / changed.mean())
