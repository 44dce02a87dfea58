"""Fixtures that every part of the tests may use."""

from __future__ import annotations

import gc
import json
import math
import os
import signal
import struct
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
BROWSER = TESTS / "browser"
LONGEST = (
    "test_server.py", "services/test_kill.py", "demo_model/test_meaning.py", "backend/test_sd_layouts.py", "backend/test_dit_layouts.py",
    "launcher/test_launch.py", "services/test_odd_pictures.py", "backend/test_manager_memory.py", "demo_model/test_judge.py", "guards/test_house.py",
)
"""Files that take longest, after the browser's. A test holds that they are there."""

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: two of its threads per test process fight over a busy machine's cores

# A shell's background job begins with Ctrl+C ignored and hands that down; tests send it to the processes they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where processes share the tests, what takes longest begins first: the browser's tests, then the longest files, so that at the end no
    process waits for another."""
    places = {TESTS / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: -1 if BROWSER in item.path.parents else places.get(item.path, len(LONGEST)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Importing makes no garbage, and looking for it is a quarter of the collecting; what is there behind it stays to the end, and need not be looked
    through again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    """Libraries that count what is left at the end find nothing."""
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Where several processes share the tests, those of a file stay together, for what they share is made once; and those that drive Chromium stay
    in one process, since two browsers and their servers are too much for two cores. (xdist's own groups do nothing with pytest 9.2.)"""
    from xdist.scheduler import LoadScopeScheduling  # here: `-n 0` and plain pytest do without

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "browser" if nodeid.startswith("tests/browser/") else nodeid.split("::")[0]

    config.option.loadscopereorder = False
    return Together(config, log)  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion 1.x checkpoint of a few megabytes with random weights: `tiny.safetensors`, alone in its folder. Do not change it."""
    from tools.random_checkpoint import TINY, write_checkpoint  # here: imports torch, which most tests do without

    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny.safetensors", TINY, seed=0)


Fake = Callable[..., Path]


@pytest.fixture
def fake() -> Fake:
    """Write a safetensors file of zeros with these tensors: `fake(path, {"name": (2, 3)})`."""

    def write(path: Path, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None) -> Path:
        header, offset = {"__metadata__": metadata or {}}, 0
        for name, shape in shapes.items():
            size = 2 * math.prod(shape)
            header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, offset + size]}
            offset += size
        text = json.dumps(header).encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * offset)
        return path

    return write
