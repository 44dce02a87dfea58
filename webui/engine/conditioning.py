"""Encoded prompts as the guided network uses them: which encoding is in force at which model call, and how the parts of an AND count.

Tensors in, tensors out. Knows no text and no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from webui.engine.prompt.schedule import entry_at

Shares = tuple[tuple[tuple[int, float], ...], ...]
"""For each picture, the rows of the encoded prompts that lead it, with their weights."""


@dataclass(frozen=True)
class Conditioning:
    """What a model call is conditioned on: `cond` (rows, tokens, width), `uncond` (pictures, tokens, width) or None when guidance never needs it."""

    cond: Tensor
    uncond: Tensor | None
    shares: Shares | None = None
    """None: row i belongs to picture i with weight 1."""

    added: Mapping[str, Tensor] = field(default_factory=dict)
    """Further conditioning by name, a row each of `cond`; `uncond_added` of `uncond`."""

    uncond_added: Mapping[str, Tensor] = field(default_factory=dict)

    def at(self, call: int) -> Conditioning:
        """The same at every call."""
        del call
        return self


class Conditions(Protocol):
    """Conditioning over the calls of a pass."""

    def at(self, call: int) -> Conditioning:
        """What call number `call` (from 0) sees; the same object as long as nothing changes."""
        ...


@dataclass(frozen=True)
class Line:
    """One encoded schedule: `texts[i]` (tokens, width), and `added[i]` if there is any, are in force up to call `ends[i]`, by `entry_at`'s rule."""

    ends: tuple[int, ...]
    texts: tuple[Tensor, ...]
    added: tuple[Mapping[str, Tensor], ...] = ()


@dataclass(frozen=True)
class Padding:
    """How prompts and negative prompts of different length are made equal, so that they can run in one call. `repeat`: encoded empty prompts are put
    behind the shorter one. `v0`: the negative prompt's last vector is repeated, or what is too long of it is cut off (A1111 before 1.7)."""

    mode: Literal["off", "repeat", "v0"] = "off"
    empty: Tensor | None = None
    """(77, width) for `repeat`."""


class Timeline:
    """Implements `Conditions` for scheduled prompts. `cond` has the weighted lines of each picture, `uncond` one line for each or None."""

    def __init__(
        self, cond: Sequence[Sequence[tuple[float, Line]]], uncond: Sequence[Line] | None, padding: Padding | None = None,
    ) -> None:
        self._cond = [line for picture in cond for _, line in picture]
        self._uncond = list(uncond or ())
        self._shares = _shares(cond)
        self._padding = padding or Padding()
        self._indices: tuple[int, ...] | None = None
        self._moment: Conditioning | None = None

    def at(self, call: int) -> Conditioning:
        """See `Conditions.at`."""
        indices = tuple(entry_at(line.ends, call) for line in (*self._cond, *self._uncond))
        if self._moment is None or indices != self._indices:
            self._indices, self._moment = indices, self._build(indices)
        return self._moment

    def _build(self, indices: tuple[int, ...]) -> Conditioning:
        lines = (*self._cond, *self._uncond)
        texts = [line.texts[index] for line, index in zip(lines, indices, strict=True)]
        added = [line.added[index] if line.added else {} for line, index in zip(lines, indices, strict=True)]
        count = len(self._cond)
        cond = stack_texts(texts[:count])
        uncond = stack_texts(texts[count:]) if len(texts) > count else None
        if uncond is not None and uncond.shape[1] != cond.shape[1]:
            cond, uncond = _pad(cond, uncond, self._padding)
        return Conditioning(cond, uncond, self._shares, _stack_added(added[:count]), _stack_added(added[count:]))


def stack_texts(texts: Sequence[Tensor]) -> Tensor:
    """(rows, tokens, width): shorter texts are padded by repeating their last vector, as A1111 does with composed prompts."""
    longest = max(len(text) for text in texts)
    return torch.stack([text if len(text) == longest else torch.cat([text, text[-1:].expand(longest - len(text), -1)]) for text in texts])


def _stack_added(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """One row a prompt; all have the same names."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]} if rows else {}


def _pad(cond: Tensor, uncond: Tensor, padding: Padding) -> tuple[Tensor, Tensor]:
    missing = cond.shape[1] - uncond.shape[1]
    if padding.mode == "repeat" and padding.empty is not None:
        empty = padding.empty.repeat(abs(missing) // len(padding.empty), 1)
        behind = empty.expand(len(uncond if missing > 0 else cond), *empty.shape)
        return (cond, torch.cat([uncond, behind], 1)) if missing > 0 else (torch.cat([cond, behind], 1), uncond)
    if padding.mode == "v0":
        return cond, torch.cat([uncond, uncond[:, -1:].expand(-1, missing, -1)], 1) if missing > 0 else uncond[:, : cond.shape[1]]
    return cond, uncond


def _shares(cond: Sequence[Sequence[tuple[float, Line]]]) -> Shares | None:
    """None for the plain case, so that it costs nothing."""
    if all(len(picture) == 1 and picture[0][0] == 1.0 for picture in cond):
        return None
    shares, row = [], 0
    for picture in cond:
        shares.append(tuple((row + number, weight) for number, (weight, _) in enumerate(picture)))
        row += len(picture)
    return tuple(shares)
