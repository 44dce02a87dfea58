"""The watcher: what comes, changes or goes is noticed without a click; nothing is read for nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.backend.conftest import Hashes
from webui.backend.catalog import Catalog
from webui.services.watcher import Watcher, folder_times

Start = Callable[..., Watcher]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a watcher on the test's folder."""
    watchers: list[Watcher] = []

    def begin(look_again: Callable[[], bool], changed: Callable[[], None]) -> Watcher:
        watcher = Watcher((tmp_path, tmp_path / "later"), look_again, changed, seconds=0.02)
        watchers.append(watcher)
        watcher.start()
        return watcher

    yield begin
    for watcher in watchers:
        watcher.close()


def test_new_changed_and_deleted_files_are_noticed(tmp_path: Path, start: Start) -> None:
    catalog = Catalog([tmp_path], Hashes())
    assert catalog.checkpoints() == []
    told = threading.Semaphore(0)
    start(catalog.refresh, told.release)
    path = tmp_path / "sub" / "a.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"x")
    assert told.acquire(timeout=10) and [item.size for item in catalog.checkpoints()] == [1]
    with path.open("ab") as file:  # in place: its folder does not know
        file.write(b"y")
    assert told.acquire(timeout=10) and [item.size for item in catalog.checkpoints()] == [2]
    path.unlink()
    assert told.acquire(timeout=10) and catalog.checkpoints() == []


def test_while_nothing_changes_files_are_looked_at_now_and_then_only(start: Start) -> None:
    looks: list[int] = []
    third = threading.Event()

    def look() -> bool:
        looks.append(1)
        if len(looks) == 3:
            third.set()
        return False

    watcher = start(look, lambda: None)
    assert third.wait(20)
    watcher.close()
    assert 3 <= len(looks) <= 4  # of thirty looks at the folders


def test_links_in_a_loop_and_folders_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.symlink(tmp_path, tmp_path / "a" / "loop")
    (tmp_path / ".hidden").mkdir()
    assert set(folder_times([tmp_path, tmp_path / "none"])) == {str(tmp_path), str(tmp_path / "a")}
