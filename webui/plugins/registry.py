"""Named things that plugins add to: an entry has a key, an owner (the plugin's id) and a place in the order."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from webui.schema.base import Frozen
from webui.schema.errors import ConflictError, NotFoundError, RequestError
from webui.schema.sampling import SamplerSpec, ScheduleSpec, UpscalerSpec

if TYPE_CHECKING:
    from webui.plugins.script import Script

T = TypeVar("T")


class Params(Frozen):
    """Base class of what a plugin adds to a request: `request.ext[id]` is validated by the class registered under `id`.

    Fields carry their widgets like those of the request itself.
    """


class Registry(Generic[T]):
    """An ordered name → entry map that remembers who added what. Behind what was added may stand what is found anew at each question (files)."""

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self._added: dict[str, tuple[T, str]] = {}
        self._find: Callable[[], Mapping[str, T]] = dict

    @property
    def _entries(self) -> dict[str, tuple[T, str]]:
        found = {key: (entry, "easel") for key, entry in self._find().items() if key not in self._added}
        return self._added | found

    def follow(self, find: Callable[[], Mapping[str, T]]) -> None:
        """From now on these are entries too; one that was added wins over one of its name."""
        self._find = find

    def add(self, key: str, entry: T, owner: str = "easel") -> None:
        """Add an entry. Raises `ConflictError` when the key is taken: nothing is ever replaced silently."""
        if key in self._added:
            raise ConflictError(f"{owner} adds the {self.noun} “{key}”, but {self._added[key][1]} already has one of this name.")
        self._added[key] = (entry, owner)

    def get(self, key: str, field: str | None = None) -> T:
        """The entry. Raises `RequestError` at `field` with the nearest names when there is none."""
        entries = self._entries
        if key not in entries:
            near = difflib.get_close_matches(key, entries, n=3, cutoff=0.4)
            hint = f"Did you mean {' or '.join(f'“{name}”' for name in near)}?" if near else f"Known: {', '.join(entries) or 'none'}."
            error = RequestError if field else NotFoundError
            raise error(f"There is no {self.noun} “{key[:80]}”.", field=field, hint=hint)
        return entries[key][0]

    def owner(self, key: str) -> str:
        """Who added the entry."""
        return self._entries[key][1]

    def remove_owner(self, owner: str) -> None:
        """Drop everything a plugin added."""
        self._added = {key: pair for key, pair in self._added.items() if pair[1] != owner}

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._entries))

    def values(self) -> list[T]:
        """The entries, in order."""
        return [entry for entry, _ in self._entries.values()]


def _samplers() -> Registry[SamplerSpec]:
    return Registry("sampler")


def _schedulers() -> Registry[ScheduleSpec]:
    return Registry("schedule type")


def _upscalers() -> Registry[UpscalerSpec]:
    return Registry("upscaler")


def _scripts() -> Registry[Script]:
    return Registry("script")


def _params() -> Registry[type[Params]]:
    return Registry("extension with parameters")


@dataclass
class Registries:
    """All registries of one server. `owner` is who is adding right now; the host sets it around each `register` call."""

    samplers: Registry[SamplerSpec] = field(default_factory=_samplers)
    schedulers: Registry[ScheduleSpec] = field(default_factory=_schedulers)
    upscalers: Registry[UpscalerSpec] = field(default_factory=_upscalers)
    scripts: Registry[Script] = field(default_factory=_scripts)
    params: Registry[type[Params]] = field(default_factory=_params)
    owner: str = "easel"

    def add_sampler(self, spec: SamplerSpec) -> None:
        """Add a sampler to the list."""
        self.samplers.add(spec.name, spec, self.owner)

    def add_scheduler(self, spec: ScheduleSpec) -> None:
        """Add a schedule type to the list, by its label."""
        self.schedulers.add(spec.label, spec, self.owner)

    def add_upscaler(self, spec: UpscalerSpec) -> None:
        """Add an upscaler to the list."""
        self.upscalers.add(spec.name, spec, self.owner)

    def add_script(self, script: Script) -> None:
        """Add a script; its parameters travel in `request.ext[script.id]`."""
        self.scripts.add(script.id, script, self.owner)
        self.add_params(script.id, script.Params)

    def add_params(self, key: str, params: type[Params]) -> None:
        """Accept `request.ext[key]`, validated by `params`."""
        self.params.add(key, params, self.owner)

    def remove_owner(self, owner: str) -> None:
        """Drop everything a plugin added, everywhere."""
        for registry in (self.samplers, self.schedulers, self.upscalers, self.scripts, self.params):
            registry.remove_owner(owner)
