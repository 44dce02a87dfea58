"""Keeps loaded models: leases, not ownership. Whoever needs a model takes a lease for as long as it runs; the least recently used leave first.

A model is its parts: two that have a part of the same file in common share it. Belongs to one device and is called from its worker thread. Knows no
request and no sampler.
"""

from __future__ import annotations

import gc
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from webui.backend.components import Components
from webui.backend.device import Device
from webui.backend.families import sd1
from webui.backend.parts import Family, ModelChoice, Part, Source, dtype_of, load_part
from webui.schema.errors import ModelError

log = logging.getLogger(__name__)

FAMILIES: Mapping[str, Family] = {sd1.FAMILY: sd1.plan}
"""How each family that `identify` names is planned."""

PartKey = tuple[str, Source, torch.dtype]
ModelKey = tuple[Source | None, ...]


@dataclass(frozen=True)
class _Model:
    components: Components
    parts: frozenset[PartKey]


class ModelManager:
    """Loaded models of one device."""

    def __init__(self, device: Device, families: Mapping[str, Family] = FAMILIES) -> None:
        self.device = device
        self._families = families
        self._parts: dict[PartKey, nn.Module] = {}
        self._models: OrderedDict[ModelKey, _Model] = OrderedDict()
        self._leases: dict[ModelKey, int] = {}

    @contextmanager
    def lease(self, choice: ModelChoice, keep: int = 1, loading: Callable[[], None] | None = None) -> Iterator[Components]:
        """The model, loaded for as long as the `with` lasts and afterwards if it is among the `keep` used last.

        `loading` is called before a load that takes time. Raises `ModelError` when a file cannot be read or the family is not supported.
        """
        components, key = self._get(choice, keep, loading), choice.key
        self._leases[key] = self._leases.get(key, 0) + 1
        try:
            yield components
        finally:
            self._leases[key] -= 1
            if not self._leases[key]:
                del self._leases[key]

    def evict(self, keep: int = 0, spare: Collection[PartKey] = ()) -> None:
        """Let go of the least recently used models that nobody leases until `keep` are left, and give the memory back. Parts to `spare` stay."""
        idle = [key for key in self._models if key not in self._leases]
        for key in idle[: max(len(self._models) - keep, 0)]:
            log.info("letting go of %s", self._models.pop(key).components.checkpoint.name)
        self._sweep(spare)

    @property
    def loaded(self) -> list[str]:
        """Names of the checkpoints in memory, the one used last at the end."""
        return [model.components.checkpoint.name for model in self._models.values()]

    def _get(self, choice: ModelChoice, keep: int, loading: Callable[[], None] | None) -> Components:
        known = self._models.get(choice.key)
        if known is not None and not _is_stale(known):
            self._models.move_to_end(choice.key)
            return known.components
        del known
        if loading is not None:
            loading()
        started = time.perf_counter()
        family = self._families.get(choice.checkpoint.family or "")
        if family is None:
            reason = choice.checkpoint.error or f"{choice.checkpoint.name} is of a family that is not supported."
            raise ModelError(reason, field="checkpoint")
        plan = family(choice)
        wanted = {(part.name, part.source, dtype_of(part.name, self.device)): part for part in plan.parts}
        for key in [key for key, model in self._models.items() if _is_stale(model)]:
            del self._models[key]
        self.evict(max(keep, 1) - 1, spare=wanted)  # before loading, so that two models never stand in memory when one is allowed
        try:
            modules = {part.name: self._part(part, key) for key, part in wanted.items()}
            components = plan.assemble(modules, self.device)
            self._models[choice.key] = _Model(components, frozenset(wanted))
        finally:
            self._sweep()  # what a load that failed has left
        log.info("loaded %s in %.1f s", choice.checkpoint.name, time.perf_counter() - started)
        return components

    def _part(self, part: Part, key: PartKey) -> nn.Module:
        if key not in self._parts:
            self._parts[key] = load_part(part, self.device)
        return self._parts[key]

    def _sweep(self, spare: Collection[PartKey] = ()) -> None:
        """Let go of parts that no model has."""
        surplus = self._parts.keys() - frozenset().union(*(model.parts for model in self._models.values()), spare)
        for key in surplus:
            del self._parts[key]
        if surplus:
            gc.collect()
            self.device.free_memory()


def _is_stale(model: _Model) -> bool:
    """Whether a file was replaced since. A model in memory goes on working when its file was deleted, so a missing file counts as unchanged."""
    return any(source != _on_disk(source) for _, source, _ in model.parts)


def _on_disk(source: Source) -> Source:
    try:
        stat = os.stat(source.path)
    except OSError:
        return source
    return Source(source.path, stat.st_mtime, stat.st_size)
