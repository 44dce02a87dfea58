"""A Brownian path that is the same whatever points are asked of it: a tree of halvings, each with a seed of its own.

The tree, its seeds and its roundings are those of torchsde 0.2.6 (`BrownianTree`, Apache 2.0), bit for bit, so that the SDE samplers give A1111's
pictures. Written here because the noise of a node must come from any noise source, and because one path a picture is all that is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Draw = Callable[[int], Tensor]
"""seed → standard normal noise of a picture"""

DIGITS = 6
"""Times are rounded to 1e-6: below that the path is a straight line."""
POOL = 24
REMEMBERED = 45
"""Increments kept at hand; forgotten ones are computed again."""


class _Node:
    """The part of the path between two times, by itself or as two halves."""

    __slots__ = ("depth", "end", "halves", "key", "middle", "parent", "seed", "start")

    def __init__(self, start: float, end: float, parent: _Node | None, key: int, depth: int) -> None:
        self.start, self.end = round(start, DIGITS), round(end, DIGITS)
        self.parent, self.key, self.depth = parent, key, depth
        self.middle: float | None = None
        self.seed = 0
        self.halves: tuple[_Node, _Node] | None = None


class BrownianPath:
    """The path of one picture from time `start` to `end`."""

    def __init__(self, start: float, end: float, seed: int, draw: Draw) -> None:
        self._entropy, self._draw = seed, draw
        self._top = _Node(start, end, None, 0, 0)
        first = int(np.random.SeedSequence(entropy=seed, pool_size=POOL).generate_state(1)[0])
        self._whole = draw(first) * math.sqrt(end - start)
        self._at_hand: dict[_Node, Tensor] = {}

    def between(self, start: float, end: float) -> Tensor:
        """The increment from start to end. Times outside the path are taken as its ends."""
        top = self._top
        start, end = (min(max(time, top.start), top.end) for time in (start, end))
        nodes = self._find(top, round(start, DIGITS), round(end, DIGITS)) if start < end else []
        if not nodes:
            return torch.zeros_like(self._whole)
        total = self._increment(nodes[0])
        for node in nodes[1:]:
            total = total + self._increment(node)
        return total

    def _find(self, node: _Node, start: float, end: float) -> list[_Node]:
        """The fewest nodes that make up [start, end], made where they do not exist yet."""
        if start >= end:
            return []
        if start == node.start and end == node.end:
            return [node]
        if node.halves is None:
            self._split(node)
        assert node.halves is not None and node.middle is not None
        left, right = node.halves
        if end <= node.middle:
            return self._find(left, start, end)
        if start >= node.middle:
            return self._find(right, start, end)
        return self._find(left, start, node.middle) + self._find(right, node.middle, end)

    def _split(self, node: _Node) -> None:
        middle = 0.5 * (node.end + node.start)
        sequence = np.random.SeedSequence(entropy=self._entropy, spawn_key=(node.key, node.depth), pool_size=POOL)
        node.middle, node.seed = round(middle, DIGITS), int(sequence.generate_state(1)[0])
        node.halves = (
            _Node(node.start, middle, node, 2 * node.key, node.depth + 1), _Node(middle, node.end, node, 2 * node.key + 1, node.depth + 1),
        )

    def _increment(self, node: _Node) -> Tensor:
        """The increment over a node: of the parent's, the left half gets its share and noise of its own, the right half the rest."""
        if node.parent is None:
            return self._whole
        if node in self._at_hand:
            return self._at_hand[node]
        parent = node.parent
        assert parent.middle is not None and parent.halves is not None
        whole = self._increment(parent)
        reciprocal = 1 / (parent.end - parent.start)
        left, right = parent.middle - parent.start, parent.end - parent.middle
        first = left * whole * reciprocal + math.sqrt(left * right * reciprocal) * self._draw(parent.seed)
        result = first if node is parent.halves[0] else whole - first
        self._at_hand[node] = result
        if len(self._at_hand) > REMEMBERED:
            del self._at_hand[next(iter(self._at_hand))]
        return result
