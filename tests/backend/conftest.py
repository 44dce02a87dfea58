"""What the backend is tested with."""

from __future__ import annotations

import pytest


class Hashes:
    """Implements `catalog.HashStore` in memory."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, float, int], str] = {}

    def get(self, path: str, mtime: float, size: int) -> str | None:
        return self.known.get((path, mtime, size))

    def put(self, path: str, mtime: float, size: int, sha256: str) -> None:
        self.known[path, mtime, size] = sha256


@pytest.fixture
def hashes() -> Hashes:
    return Hashes()
