"""Where plugins come from: `extensions/<name>/extension.toml` with its entry module, and `scripts/*.py`, one script or plugin a file.

Each is imported by itself; what fails is listed with its reason and the rest goes on. Built-ins are handed in by the composition root.
"""

from __future__ import annotations

import importlib.util
import sys
import time
import tomllib
from pathlib import Path
from types import ModuleType

from webui.plugins.host import PluginHost, PluginInfo
from webui.plugins.registry import Registries
from webui.plugins.script import Script
from webui.schema.errors import WebuiError

API_VERSION = 1


def load_extensions(host: PluginHost, folder: Path) -> None:
    """Load every `folder/<name>/extension.toml`, in alphabetical order; a folder whose name ends in `.disabled` is left alone."""
    for manifest in sorted(folder.glob("*/extension.toml")):
        if not manifest.parent.name.endswith(".disabled"):
            _load(host, manifest.parent.name, manifest.parent, manifest)


def load_scripts(host: PluginHost, folder: Path) -> None:
    """Load every `folder/*.py` that does not begin with an underscore."""
    for path in sorted(folder.glob("*.py")):
        if not path.name.startswith("_"):
            _load(host, path.stem, path, None)


class ScriptFile:
    """A script file seen as a plugin: its `Script` subclasses are registered without ceremony."""

    def __init__(self, module: ModuleType) -> None:
        self.scripts = [
            value for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, Script) and value is not Script and value.__module__ == module.__name__
        ]

    def register_scripts(self, registries: Registries) -> None:
        """Add every script of the file."""
        for script in self.scripts:
            registries.add_script(script())


def _load(host: PluginHost, plugin_id: str, path: Path, manifest: Path | None) -> None:
    started = time.perf_counter()
    info = host.infos[plugin_id] = PluginInfo(plugin_id, str(path))
    try:
        module = _import(plugin_id, _entry(path, manifest))
    except Exception as error:  # the plugin host is one of the three places that may catch everything; importing foreign code is its work
        info.enabled = False
        host.fault(plugin_id, "import", error)
        return
    info.load_seconds = time.perf_counter() - started
    if host.add(plugin_id, module, str(path)):
        _add_scripts(host, plugin_id, module)


def _add_scripts(host: PluginHost, plugin_id: str, module: ModuleType) -> None:
    host.registries.owner = plugin_id
    try:
        ScriptFile(module).register_scripts(host.registries)
    except WebuiError as error:
        host.fault(plugin_id, "register", error)
        host.disable(plugin_id)
    finally:
        host.registries.owner = "easel"


def _entry(path: Path, manifest: Path | None) -> Path:
    if manifest is None:
        return path
    table = tomllib.loads(manifest.read_text(encoding="utf-8"))
    wanted = int(table.get("api", API_VERSION))
    if wanted != API_VERSION:
        raise WebuiError(f"{manifest} asks for plugin API {wanted}; this Easel has {API_VERSION}.", hint="Look for another version of it.")
    entry = (path / str(table.get("entry", "main.py"))).resolve()
    if not entry.is_relative_to(path.resolve()) or not entry.is_file():
        raise WebuiError(f"{manifest} names the entry {entry.name}, which is not a file in that folder.")
    return entry


def _import(plugin_id: str, path: Path) -> ModuleType:
    name = f"easel_plugin_{plugin_id.replace('-', '_').replace('.', '_')}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise WebuiError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
