"""Tensors out of files of every format: the same as were written, mapped or read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from webui.backend.headers import read_header
from webui.backend.weights import DTYPES, open_weights
from webui.schema.errors import ModelError


def _tensors() -> dict[str, torch.Tensor]:
    """One of each dtype that safetensors keeps, and odd shapes."""
    generator = torch.Generator().manual_seed(0)
    bits = {name: torch.randint(0, 2, (4, 16), generator=generator).to(torch.uint8) for name in DTYPES}
    tensors = {name: bits[name].view(dtype) for name, dtype in DTYPES.items()}
    return tensors | {"scalar": torch.tensor(3.0), "none": torch.zeros(0, 4), "odd": torch.arange(3, dtype=torch.uint8)}


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    bits = [tensor.reshape(-1).view(torch.uint8) for tensor in (left, right)]
    return left.dtype == right.dtype and left.shape == right.shape and torch.equal(*bits)


@pytest.mark.parametrize("whole", [False, True])
def test_every_dtype_of_safetensors(tmp_path: Path, whole: bool) -> None:
    tensors = _tensors()
    save_file(tensors, tmp_path / "a.safetensors", {"note": "x"})
    with open_weights(tmp_path / "a.safetensors", whole=whole) as weights:
        assert sorted(weights.keys()) == sorted(tensors)
        assert weights.metadata["note"] == "x"
        for name, tensor in tensors.items():
            assert _same(weights.get(name), tensor), name
            assert weights.shape(name) == tuple(tensor.shape)
    dtypes = read_header(tmp_path / "a.safetensors").dtypes
    assert {name: dtypes[name] for name in DTYPES} == {name: name for name in DTYPES}


@pytest.mark.parametrize("whole", [False, True])
def test_shards_are_one_model(tmp_path: Path, whole: bool) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "m-00001-of-00002.safetensors")
    save_file({"b": torch.zeros(3)}, tmp_path / "m-00002-of-00002.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "m-00001-of-00002.safetensors", "b": "m-00002-of-00002.safetensors"}}))
    for place in (index, tmp_path):
        with open_weights(place, whole=whole) as weights:
            assert weights.keys() == ["a", "b"]
            assert torch.equal(weights.get("a"), torch.ones(2))
            assert weights.shape("b") == (3,)
    (tmp_path / "m-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match="lacks 1 of its 2 files"):
        read_header(index)


def test_an_unknown_key_is_a_key_error(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    with open_weights(tmp_path / "a.safetensors") as weights:
        with pytest.raises(KeyError):
            weights.get("b")
        with pytest.raises(KeyError):
            weights.shape("b")
