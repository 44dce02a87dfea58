"""The models of a run, one at work at a time: the checkpoint, perhaps a refiner in the middle of a pass, perhaps another one for the second pass."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from webui.backend.components import Components
from webui.backend.parts import ModelChoice

Lend = Callable[[ModelChoice, Callable[[], None]], AbstractContextManager[Components]]
"""A lease of a model; the second argument is called before a load that takes time."""


class Models:
    """Holds one lease. Taking another model gives the one before back first, so that where only one may be in memory two never are."""

    def __init__(self, lend: Lend) -> None:
        self._lend = lend
        self._lease: AbstractContextManager[Components] | None = None
        self._choice: ModelChoice | None = None
        self._now: Components | None = None

    def __enter__(self) -> Models:
        return self

    def __exit__(self, *reason: object) -> None:
        self._give_back()

    @property
    def now(self) -> Components:
        """The model at work. It must have been taken."""
        assert self._now is not None
        return self._now

    def take(self, choice: ModelChoice, loading: Callable[[], None]) -> Components:
        """The model, from now on. Raises `ModelError`."""
        if self._now is None or self._choice is None or self._choice.key != choice.key:
            self._give_back()
            lease = self._lend(choice, loading)
            with torch.inference_mode(False):  # a pass may ask for it; what is loaded must be of use outside of one as well
                self._now = lease.__enter__()
            self._lease, self._choice = lease, choice
        return self._now

    def _give_back(self) -> None:
        lease, self._lease, self._now, self._choice = self._lease, None, None, None
        if lease is not None:
            lease.__exit__(None, None, None)
