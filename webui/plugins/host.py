"""Calls hooks so that a faulty plugin cannot break the base: each implementation alone, its fault named, three faults and it is switched off."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pluggy

from webui.plugins import hookspecs
from webui.plugins.registry import Registries
from webui.schema.errors import WebuiError

log = logging.getLogger(__name__)

FAULT_LIMIT = 3

T = TypeVar("T")


@dataclass
class PluginInfo:
    """What the list of extensions shows: where it came from, how long it took to load, what went wrong."""

    id: str
    path: str
    load_seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    enabled: bool = True


class PluginHost:
    """Holds the plugins and calls their hooks. `on_fault(plugin id, message)` tells the pages."""

    def __init__(self, registries: Registries, on_fault: Callable[[str, str], None] | None = None) -> None:
        self.registries = registries
        self.infos: dict[str, PluginInfo] = {}
        self.on_fault = on_fault
        self._faults: Counter[str] = Counter()
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)

    def add(self, plugin_id: str, plugin: object, path: str = "") -> bool:
        """Enable a plugin: check its hooks, call its `register`. False (and an entry with the fault) when that fails; nothing of it stays."""
        info = self.infos.setdefault(plugin_id, PluginInfo(plugin_id, path))
        started = time.perf_counter()
        self.registries.owner = plugin_id
        try:
            self._manager.register(plugin, plugin_id)
            self._manager.check_pending()
            for implementation in self._implementations("register", plugin_id):
                _call(implementation, {"registries": self.registries})
        except Exception as error:  # the plugin host is one of the three places that may catch everything
            self.fault(plugin_id, "register", error)
            self.disable(plugin_id)
            return False
        finally:
            self.registries.owner = "easel"
            info.load_seconds += time.perf_counter() - started
        return True

    def disable(self, plugin_id: str) -> None:
        """Take a plugin out: its hooks are not called any more and its registry entries are gone."""
        if self._manager.get_plugin(plugin_id) is not None:
            self._manager.unregister(name=plugin_id)
        self.registries.remove_owner(plugin_id)
        if plugin_id in self.infos:
            self.infos[plugin_id].enabled = False

    def fault(self, plugin_id: str, where: str, error: BaseException) -> None:
        """Write a fault down, tell the pages, and switch the plugin off at the third."""
        message = f"{where}: {type(error).__name__}: {error}"
        log.error("plugin %s failed in %s", plugin_id, where, exc_info=error)
        self.infos.setdefault(plugin_id, PluginInfo(plugin_id, "")).faults.append(message)
        self._faults[plugin_id] += 1
        if self._faults[plugin_id] == FAULT_LIMIT:
            self.disable(plugin_id)
            message += f". It failed {FAULT_LIMIT} times and is switched off until the next start."
        if self.on_fault:
            self.on_fault(plugin_id, message)

    def has(self, hook: str) -> bool:
        """True when some plugin implements the hook."""
        return bool(getattr(self._manager.hook, hook).get_hookimpls())

    def listen(self, *hooks: str) -> Hearing | None:
        """Those who implement one of the hooks, for one run; None when there are none."""
        heard = {hook: self._implementations(hook) for hook in hooks}
        return Hearing(self, heard) if any(heard.values()) else None

    def call(self, hook: str, **arguments: Any) -> list[Any]:
        """Call every implementation by itself, in registration order; returns the results that are not None."""
        results = (self._guarded(hook, implementation, arguments) for implementation in self._implementations(hook))
        return [result for result in results if result is not None]

    def revise(self, hook: str, argument: str, value: Any, **arguments: Any) -> Any:
        """Call implementations in a row, each with the value the one before returned (None leaves it)."""
        for implementation in self._implementations(hook):
            result = self._guarded(hook, implementation, arguments | {argument: value})
            value = value if result is None else result
        return value

    def _implementations(self, hook: str, plugin_id: str | None = None) -> list[pluggy.HookImpl]:
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        ordered = sorted(implementations, key=lambda item: item.trylast - item.tryfirst)  # stable: else first registered, first called
        return [item for item in ordered if plugin_id is None or item.plugin_name == plugin_id]

    def _guarded(self, hook: str, implementation: pluggy.HookImpl, arguments: dict[str, Any]) -> Any:
        try:
            return _call(implementation, arguments)
        except WebuiError:
            raise  # a plugin may refuse with words for the person
        except Exception as error:  # the plugin host is one of the three places that may catch everything
            self.fault(implementation.plugin_name, hook, error)
            return None


class Hearing:
    """The plugins that are heard during one run. One that fails, or gives what cannot be used, is named and left out for the rest of the run."""

    def __init__(self, host: PluginHost, heard: dict[str, list[pluggy.HookImpl]]) -> None:
        self._host = host
        self._heard = heard

    def revise(self, hook: str, argument: str, value: T, check: Callable[[T, object], None], **arguments: Any) -> T:
        """Like `PluginHost.revise`. `check(old, new)` raises for an answer that cannot be used."""
        for implementation in tuple(self._heard[hook]):
            try:
                result = _call(implementation, arguments | {argument: value})
                if result is not None:
                    check(value, result)
                    value = result
            except WebuiError:
                raise  # a plugin may refuse with words for the person
            except Exception as error:  # the plugin host is one of the three places that may catch everything
                self._leave_out(implementation.plugin_name)
                self._host.fault(implementation.plugin_name, hook, error)
        return value

    def _leave_out(self, plugin_id: str) -> None:
        self._heard = {hook: [item for item in heard if item.plugin_name != plugin_id] for hook, heard in self._heard.items()}


def _call(implementation: pluggy.HookImpl, arguments: dict[str, Any]) -> Any:
    return implementation.function(*(arguments[name] for name in implementation.argnames))
