"""Keeps loaded models: leases, not ownership. Whoever needs a model takes a lease for as long as it runs; the least recently used leave first.

Belongs to one device and is called from its worker thread. Knows no request and no sampler.
"""

from __future__ import annotations

import gc
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from webui.backend.components import Components
from webui.backend.device import Device
from webui.backend.families import sd1
from webui.schema.errors import ModelError
from webui.schema.model import Checkpoint

log = logging.getLogger(__name__)

LoadComponents = Callable[[Checkpoint, Device], Components]

FAMILIES: Mapping[str, LoadComponents] = {sd1.FAMILY: sd1.load_components}
"""How each family that `identify` names is loaded."""


class ModelManager:
    """Loaded models of one device."""

    def __init__(self, device: Device, families: Mapping[str, LoadComponents] = FAMILIES) -> None:
        self.device = device
        self._families = families
        self._loaded: OrderedDict[str, Components] = OrderedDict()
        self._leases: dict[str, int] = {}

    @contextmanager
    def lease(self, checkpoint: Checkpoint, keep: int = 1, loading: Callable[[], None] | None = None) -> Iterator[Components]:
        """The model, loaded for as long as the `with` lasts and afterwards if it is among the `keep` used last.

        `loading` is called before a load that takes time. Raises `ModelError` when the file cannot be read or its family is not supported.
        """
        components = self._components(checkpoint, keep, loading)
        self._leases[checkpoint.path] = self._leases.get(checkpoint.path, 0) + 1
        try:
            yield components
        finally:
            self._leases[checkpoint.path] -= 1

    def evict(self, keep: int = 0) -> None:
        """Let go of the least recently used models that nobody leases until `keep` are left, and give the memory back."""
        idle = [path for path in self._loaded if not self._leases.get(path)]
        surplus = max(len(self._loaded) - keep, 0)
        for path in idle[:surplus]:
            log.info("letting go of %s", self._loaded.pop(path).checkpoint.name)
        if idle[:surplus]:
            gc.collect()
            self.device.free_memory()

    @property
    def loaded(self) -> list[str]:
        """Names of the checkpoints in memory, the one used last at the end."""
        return [components.checkpoint.name for components in self._loaded.values()]

    def _components(self, checkpoint: Checkpoint, keep: int, loading: Callable[[], None] | None) -> Components:
        known = self._loaded.get(checkpoint.path)
        if known is not None and _stamp(known.checkpoint) == _stamp(checkpoint) == _stamp_on_disk(checkpoint):
            self._loaded.move_to_end(checkpoint.path)
            return known
        if loading is not None:
            loading()
        del known
        self._loaded.pop(checkpoint.path, None)
        self.evict(max(keep, 1) - 1)  # before loading, so that two models never stand in memory when one is allowed
        load = self._families.get(checkpoint.family or "")
        if load is None:
            raise ModelError(checkpoint.error or f"{checkpoint.name} is of a family that is not supported.", field="checkpoint")
        started = time.perf_counter()
        components = self._loaded[checkpoint.path] = load(checkpoint, self.device)
        log.info("loaded %s in %.1f s", checkpoint.name, time.perf_counter() - started)
        return components


def _stamp(checkpoint: Checkpoint) -> tuple[float, int]:
    return checkpoint.mtime, checkpoint.size


def _stamp_on_disk(checkpoint: Checkpoint) -> tuple[float, int]:
    """Time and size of the file now. A model in memory goes on working when its file was deleted, so a missing file counts as unchanged."""
    try:
        stat = os.stat(checkpoint.path)
    except OSError:
        return _stamp(checkpoint)
    return stat.st_mtime, stat.st_size
