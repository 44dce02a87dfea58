"""The reference vectors: in tests/golden/data, or in the folder that EASEL_GOLDEN names (other vectors of the same format)."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np


def folder() -> Path:
    """Where the vectors are."""
    return Path(os.environ.get("EASEL_GOLDEN") or Path(__file__).parent / "data")


@cache
def document(name: str) -> dict[str, Any]:
    """A JSON file of vectors."""
    return json.loads((folder() / f"{name}.json").read_text(encoding="utf-8"))


def cases(name: str) -> list[dict[str, Any]]:
    """Its cases, each with a unique `id`."""
    return document(name)["cases"]


@cache
def arrays(name: str) -> Any:
    """The arrays of the .npz of the same name, keys `<id>/<name>`."""
    return np.load(folder() / f"{name}.npz")
