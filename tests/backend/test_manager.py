"""Loaded models: leased, kept, let go, and their memory given back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from tools.random_checkpoint import write_shards
from webui.backend.catalog import Catalog
from webui.backend.device import Device
from webui.backend.manager import ModelManager
from webui.backend.parts import ModelChoice
from webui.schema.errors import ModelError

CPU = Device(torch.device("cpu"), torch.float32, torch.float32, "sdpa")


@pytest.fixture
def catalog(tmp_path: Path, tiny_checkpoint: Path, hashes) -> Catalog:
    for name in ("a", "b", "c"):
        shutil.copy(tiny_checkpoint, tmp_path / f"{name}.safetensors")
    return Catalog([tmp_path], hashes)


def test_a_second_lease_loads_nothing(catalog: Catalog) -> None:
    manager, loads = ModelManager(CPU), []
    with manager.lease(ModelChoice(catalog.get("a")), loading=lambda: loads.append("a")) as first:
        pass
    with manager.lease(ModelChoice(catalog.get("a")), loading=lambda: loads.append("a")) as second:
        assert second is first
    assert loads == ["a"]


def test_least_recently_used_leaves_first(catalog: Catalog) -> None:
    manager = ModelManager(CPU)
    for name in ("a", "b", "a", "c"):
        with manager.lease(ModelChoice(catalog.get(name)), keep=2):
            pass
    assert manager.loaded == ["a.safetensors", "c.safetensors"]
    with manager.lease(ModelChoice(catalog.get("b")), keep=1):
        assert manager.loaded == ["b.safetensors"]


def test_a_leased_model_is_not_let_go(catalog: Catalog) -> None:
    manager = ModelManager(CPU)
    with manager.lease(ModelChoice(catalog.get("a"))), manager.lease(ModelChoice(catalog.get("b"))):
        assert manager.loaded == ["a.safetensors", "b.safetensors"]
    manager.evict()
    assert manager.loaded == []


def test_a_changed_file_is_loaded_again(catalog: Catalog) -> None:
    manager = ModelManager(CPU)
    with manager.lease(ModelChoice(catalog.get("a"))) as first:
        os.utime(first.checkpoint.path, (1, 1))
    with manager.lease(ModelChoice(catalog.get("a"))) as second:
        assert second is not first
        assert second.checkpoint.mtime == 1


def test_a_changed_shard_is_loaded_again(tmp_path: Path, hashes) -> None:
    """The index beside the shards stays as it is."""
    path = write_shards(tmp_path / "s.safetensors.index.json")
    manager, catalog = ModelManager(CPU), Catalog([tmp_path], hashes)
    with manager.lease(ModelChoice(catalog.get(path.name))) as first:
        pass
    with manager.lease(ModelChoice(catalog.get(path.name))) as same:
        assert same is first
    shard = next(tmp_path.glob("*-of-*.safetensors"))
    os.utime(shard, (2e9, 2e9))
    catalog.refresh()
    with manager.lease(ModelChoice(catalog.get(path.name))) as second:
        assert second is not first


def test_a_deleted_file_in_memory_goes_on_working(catalog: Catalog) -> None:
    manager, checkpoint = ModelManager(CPU), catalog.get("a")
    with manager.lease(ModelChoice(checkpoint)) as first:
        Path(checkpoint.path).unlink()
    with manager.lease(ModelChoice(checkpoint)) as second:
        assert second is first


def test_a_failed_load_leaves_nothing_behind(catalog: Catalog) -> None:
    manager, checkpoint = ModelManager(CPU), catalog.get("a")
    Path(checkpoint.path).unlink()
    with pytest.raises(ModelError), manager.lease(ModelChoice(checkpoint)):
        pass
    assert manager.loaded == []
    with pytest.raises(ModelError), manager.lease(ModelChoice(catalog.get("b").revise(family="unheard-of"))):
        pass
