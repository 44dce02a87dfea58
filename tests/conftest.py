"""Fixtures that every part of the tests may use."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: two of its threads per test process fight over a busy machine's cores

# A shell's background job begins with Ctrl+C ignored and hands that down; tests send it to the processes they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion 1.x checkpoint of a few megabytes with random weights: `tiny.safetensors`, alone in its folder. Do not change it."""
    from tools.random_checkpoint import TINY, write_checkpoint  # here: imports torch, which most tests do without

    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny.safetensors", TINY, seed=0)
