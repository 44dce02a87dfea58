"""Keeps loaded models: leases, not ownership. Whoever needs a model takes a lease for as long as it runs; the least recently used leave first.

A model is its parts: two that have a part of the same file in common share it, also when it is the same by content only; parts leave memory one by
one. Belongs to one device and is called from its worker thread. Knows no request and no sampler.
"""

from __future__ import annotations

import gc
import logging
import os
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from webui.backend.components import Components
from webui.backend.device import Device
from webui.backend.families import dit, sd
from webui.backend.families.dit import KINDS
from webui.backend.families.sd_config import PRESETS
from webui.backend.layouts import stamp
from webui.backend.memory import PartSize
from webui.backend.offload import Ring, fetch_by_layer
from webui.backend.parts import (
    HERE,
    ChoiceKey,
    Family,
    ModelChoice,
    ModelPlan,
    OpenFiles,
    Part,
    Residence,
    Source,
    build_part,
    dtype_of,
    load_into,
    same_content,
    size_of,
)
from webui.schema.errors import ModelError

log = logging.getLogger(__name__)

FAMILIES: Mapping[str, Family] = dict.fromkeys(PRESETS, sd.plan) | dict.fromkeys(KINDS, dit.plan)
"""How each family that `identify` names is planned."""

MAPPED_KEPT = 4
"""Models kept that live in their mapped files: they cost no memory of their own, but their modules are objects all the same."""

GONE = nn.Identity()
"""What a part that was let go has for a module."""


class PartKey(NamedTuple):
    """Which part of which file, kept how."""

    name: str
    source: Source
    dtype: torch.dtype
    residence: Residence


ModelKey = tuple[ChoiceKey, Residence]


@dataclass(eq=False)
class _Held:
    """A part in memory. `cost`: bytes of its own, 0 while it lives in its mapped file."""

    module: nn.Module
    source: Source
    cost: int


@dataclass(eq=False)
class _Model:
    """A model that was used. `components` is None when one of its parts had to leave."""

    name: str
    parts: tuple[PartKey, ...]
    components: Components | None


class ModelManager:
    """Loaded models of one device."""

    def __init__(self, device: Device, families: Mapping[str, Family] = FAMILIES) -> None:
        self.device = device
        self._families = families
        self._ring = Ring(device.device)
        self._parts: OrderedDict[PartKey, _Held] = OrderedDict()
        self._models: OrderedDict[ModelKey, _Model] = OrderedDict()
        self._leases: dict[ModelKey, int] = {}
        self._sizes: OrderedDict[ChoiceKey, dict[str, PartSize]] = OrderedDict()
        self._built: dict[tuple[str, Source], nn.Module] = {}

    @contextmanager
    def lease(
        self, choice: ModelChoice, keep: int = 1, loading: Callable[[], None] | None = None, *, residence: Residence = HERE,
        budget: int | None = None,
    ) -> Iterator[Components]:
        """The model, loaded for as long as the `with` lasts, and afterwards if it is among the `keep` used last and fits into `budget` bytes.

        `loading` is called before a load that takes time. Raises `ModelError` when a file cannot be read or the family is not supported.
        """
        key = choice.key, residence
        components = self._get(choice, key, max(keep, 1), loading, budget)
        self._leases[key] = self._leases.get(key, 0) + 1
        try:
            yield components
        finally:
            self._leases[key] -= 1
            if not self._leases[key]:
                del self._leases[key]

    def evict(self, keep: int | None = None, spare: Collection[PartKey] = ()) -> None:
        """Let go of the least recently used models that nobody leases until `keep` are left, and give the memory back; without it of all. Parts to
        `spare` stay.

        Models that live in their mapped files are not counted, unless there are many.
        """
        mapped = {key for key, model in self._models.items() if keep is not None and not self._cost(model)}
        for kept, group in ((keep or 0, self._models.keys() - mapped), (MAPPED_KEPT, mapped)):
            ordered = [key for key in self._models if key in group]
            idle = [key for key in ordered if key not in self._leases]
            for key in idle[: max(len(ordered) - kept, 0)]:
                log.info("letting go of %s", self._models.pop(key).name)
        self._sweep(spare)

    @property
    def loaded(self) -> list[str]:
        """Names of the checkpoints in memory, the one used last at the end."""
        return [model.name for model in self._models.values() if model.components is not None]

    @property
    def held(self) -> int:
        """Bytes of all parts in memory, a shared one counted once, a mapped one not at all."""
        return sum(held.cost for held in set(self._parts.values()))

    @property
    def idle(self) -> int:
        """Bytes of those that nobody leases."""
        busy = self._busy()
        return sum({held: held.cost for key, held in self._parts.items() if key not in busy}.values())

    def sizes(self, choice: ModelChoice, residence: Residence = HERE) -> dict[str, PartSize]:
        """What each part of a model takes, without loading it. Raises `ModelError`."""
        if choice.key not in self._sizes:
            parts = {(part.name, part.source): part for part in self._plan(choice).parts}
            self._built = {key: build_part(part) for key, part in parts.items()}  # kept for the load that mostly follows
            self._sizes[choice.key] = {key[0]: size_of(self._built[key], dtype_of(part, self.device)) for key, part in parts.items()}
            while len(self._sizes) > 64:
                self._sizes.popitem(last=False)
        known = self._sizes[choice.key]
        return {name: size.narrowed(residence.storage_of(name)) for name, size in known.items()}

    def _plan(self, choice: ModelChoice) -> ModelPlan:
        family = self._families.get(choice.checkpoint.family or "")
        if family is None:
            reason = choice.checkpoint.error or f"{choice.checkpoint.name} is of a family that is not supported."
            raise ModelError(reason, field="checkpoint")
        return family(choice)

    def _get(self, choice: ModelChoice, key: ModelKey, keep: int, loading: Callable[[], None] | None, budget: int | None) -> Components:
        self._drop_stale()
        known = self._models.get(key)
        if known is not None and known.components is not None:
            self._touch(key, known)
            return known.components
        if loading is not None:
            loading()
        started, residence = time.perf_counter(), key[1]
        plan = self._plan(choice)
        wanted = {PartKey(part.name, part.source, dtype_of(part, self.device), residence): part for part in plan.parts}
        try:
            with OpenFiles(residence.whole) as opened:
                self._adopt(wanted, opened)
                self.evict(keep - 1, spare=wanted)  # before loading, so that two models never stand in memory when one is allowed
                modules = {part.name: self._part(part, wanted_key, opened, budget, wanted) for wanted_key, part in wanted.items()}
            components = plan.assemble(modules, self.device)
            self._models[key] = _Model(choice.checkpoint.name, tuple(wanted), components)
        finally:
            self._built.clear()
            self._sweep()  # what a load that failed has left
        self._touch(key, self._models[key])
        log.info("loaded %s in %.1f s", choice.checkpoint.name, time.perf_counter() - started)
        return components

    def _part(self, part: Part, key: PartKey, opened: OpenFiles, budget: int | None, spare: Collection[PartKey]) -> nn.Module:
        if key not in self._parts:
            module = self._built.pop((part.name, part.source), None) or build_part(part)
            if budget is not None:
                self._make_room(size_of(module, key.dtype).weights, budget, spare)
            own = load_into(module, part, self.device, opened, key.residence)
            if key.residence.mode == "model offload":
                self._ring.join(module)
            elif key.residence.mode == "group offload":
                fetch_by_layer(module, self.device.device)
            self._parts[key] = _Held(module, part.source, own)
        return self._parts[key].module

    def _adopt(self, wanted: Mapping[PartKey, Part], opened: OpenFiles) -> None:
        """Take parts in memory that have the same weights as a wanted one, though they came from another file."""
        for key, part in wanted.items():
            twins = {held for other, held in self._parts.items() if other.name == key.name and other[2:] == key[2:]}
            twin = None if key in self._parts else next((held for held in twins if same_content(part, held.module, key.dtype, opened)), None)
            if twin is not None:
                log.info("%s of %s is in memory already", part.name, os.path.basename(part.source.path))
                self._parts[key] = twin

    def _make_room(self, need: int, budget: int, spare: Collection[PartKey]) -> None:
        """Let parts go, the least recently used first, until so many bytes more stay within the budget."""
        fixed = {self._parts[key] for key in {*spare, *self._busy()} if key in self._parts}
        for held in dict.fromkeys(self._parts.values()):
            if self.held + need <= budget:
                return
            if held not in fixed and held.cost:
                self._let_go(held)

    def _let_go(self, held: _Held) -> None:
        keys = {key for key, other in self._parts.items() if other is held}
        for model in self._models.values():
            if not keys.isdisjoint(model.parts):
                model.components = None
        self._forget(keys)

    def _drop_stale(self) -> None:
        """Forget what came from a file that was replaced since. A deleted file counts as unchanged: what is in memory of it goes on working."""
        sources = {key.source for key in self._parts} | {held.source for held in self._parts.values()}
        changed = {source for source in sources if source != _on_disk(source)}
        if not changed:
            return
        for key in [key for key, model in self._models.items() if any(part.source in changed for part in model.parts)]:
            del self._models[key]
        for held in {held for key, held in self._parts.items() if held.source in changed}:
            self._let_go(held)
        self._sweep()

    def _touch(self, key: ModelKey, model: _Model) -> None:
        self._models.move_to_end(key)
        for part in model.parts:
            self._parts.move_to_end(part)

    def _busy(self) -> frozenset[PartKey]:
        return frozenset[PartKey]().union(*(model.parts for key, model in self._models.items() if key in self._leases))

    def _cost(self, model: _Model) -> int:
        return sum(self._parts[key].cost for key in model.parts if key in self._parts)

    def _sweep(self, spare: Collection[PartKey] = ()) -> None:
        """Let go of parts that no model has."""
        surplus = self._parts.keys() - frozenset().union(*(model.parts for model in self._models.values()), spare)
        self._forget(surplus)

    def _forget(self, keys: Collection[PartKey]) -> None:
        gone = {self._parts.pop(key) for key in keys} - set(self._parts.values())
        modules = [weakref.ref(held.module) for held in gone]
        for held in gone:
            held.module = GONE
        if any(module() is not None for module in modules):
            gc.collect()  # something in it refers to itself, or somebody has it still; the search goes through the whole process
        if gone:
            self.device.free_memory()


def _on_disk(source: Source) -> Source:
    try:
        return Source(source.path, *stamp(Path(source.path)))
    except OSError:
        return source
