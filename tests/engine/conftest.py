"""A runtime on the tiny checkpoint. Float32, so that what a test says about pixels does not depend on the machine's 16-bit kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.backend.conftest import Hashes
from webui.backend.catalog import Catalog
from webui.engine.runtime import Runtime
from webui.engine.tables import register_tables
from webui.engine.tools import Picture, RunTools
from webui.plugins.host import PluginHost
from webui.plugins.registry import Registries
from webui.schema.generation import Txt2Img
from webui.schema.machine import DeviceOptions

Generate = Callable[..., list[Picture]]


@contextmanager
def runtime_on(folder: Path) -> Iterator[Runtime]:
    """A runtime whose models are in this folder, without plugins."""
    registries = Registries()
    register_tables(registries)
    made = Runtime(DeviceOptions(use_cpu=True, precision="full"), Catalog([folder], Hashes()), registries)
    yield made
    made.close()


@pytest.fixture(scope="session")
def make_runtime(tiny_checkpoint: Path) -> Callable[[DeviceOptions], Runtime]:
    """Another runtime on the same checkpoint; the caller closes it."""

    def make(options: DeviceOptions) -> Runtime:
        registries = Registries()
        register_tables(registries)
        return Runtime(options, Catalog([tiny_checkpoint.parent], Hashes()), registries, PluginHost(registries))

    return make


@pytest.fixture(scope="session")
def runtime(make_runtime: Callable[[DeviceOptions], Runtime]) -> Iterator[Runtime]:
    made = make_runtime(DeviceOptions(use_cpu=True, precision="full"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def generate(runtime: Runtime) -> Generate:
    """Pictures of a small request; keywords change its fields, `tools` the caller's side."""

    def run(tools: RunTools | None = None, **changes: object) -> list[Picture]:
        request = Txt2Img(prompt="a red house", seed=7, steps=4, width=64, height=64).revise(**changes)
        return list(runtime.generate(request, tools))

    return run


@pytest.fixture(scope="session")
def pixels() -> Callable[[Picture], np.ndarray]:
    """(height, width, 3), int16 so that differences have a sign."""
    return lambda picture: np.asarray(picture.image).astype(np.int16)
