"""The streaming writer: what it writes the safetensors library reads, in pieces, and a broken write leaves nothing."""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from webui.backend import tensor_file
from webui.backend.tensor_file import Stream, flat_pieces, stored, write_tensors
from webui.backend.weights import open_weights
from webui.schema.errors import StorageError

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.uint8, torch.bool)


def stream(tensor: torch.Tensor) -> Stream:
    """A tensor in memory as the writer wants it."""
    return Stream(tensor.dtype, tuple(tensor.shape), lambda: flat_pieces(tensor))


def test_every_dtype_and_shape_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_file, "PIECE", 5)
    tensors = {f"{dtype}": torch.randn(3, 4).to(dtype) for dtype in DTYPES}
    tensors |= {"one": torch.tensor(2.5), "none": torch.zeros(0, 3), "ключ": torch.ones(2)}
    path = tmp_path / "folder" / "a.safetensors"
    write_tensors(path, {name: stream(tensor) for name, tensor in tensors.items()}, {"format": "pt", "note": "“ж”"})
    read = load_file(path)
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name].view(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8)) for name, tensor in tensors.items())
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt", "note": "“ж”"}
    assert os.listdir(path.parent) == ["a.safetensors"]


def test_a_file_of_the_library_comes_out_byte_for_byte(tmp_path: Path) -> None:
    tensors = {"b.weight": torch.randn(7, 3).half(), "a.weight": torch.randn(2, 2), "n": torch.arange(5)}
    save_file(tensors, tmp_path / "in.safetensors", {"format": "pt"})
    with open_weights(tmp_path / "in.safetensors") as weights:
        write_tensors(tmp_path / "out.safetensors", {key: stored(weights, key) for key in weights.keys()}, dict(weights.metadata))  # noqa: SIM118
    assert (tmp_path / "out.safetensors").read_bytes() == (tmp_path / "in.safetensors").read_bytes()


def test_nothing_is_overwritten_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(StorageError, match=r"a\.safetensors is there already"):
        write_tensors(path, {"a": stream(torch.ones(1))}, {})
    assert path.read_bytes() == b"mine" and os.listdir(tmp_path) == ["a.safetensors"]
    write_tensors(path, {"a": stream(torch.ones(1))}, {}, replace=True)
    assert load_file(path)["a"].tolist() == [1.0]


def test_a_full_disk_or_a_stop_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    class Stopped(Exception):
        pass

    def stop(fraction: float) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        write_tensors(tmp_path / "a.safetensors", {"a": stream(torch.ones(9))}, {}, progress=stop)
    assert os.listdir(tmp_path) == []
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            write_tensors(tmp_path / "a.safetensors", {"a": stream(torch.ones(9))}, {})
    assert os.listdir(tmp_path) == []
    huge = Stream(torch.float32, (2**50,), lambda: iter(()))
    with pytest.raises(StorageError, match="GB are free"):
        write_tensors(tmp_path / "a.safetensors", {"a": huge}, {})
    assert os.listdir(tmp_path) == []


def test_a_tensor_that_comes_otherwise_than_announced_is_an_error(tmp_path: Path) -> None:
    for wrong in (Stream(torch.float32, (3,), lambda: [torch.ones(2)]), Stream(torch.float16, (2,), lambda: [torch.ones(2)])):
        with pytest.raises(ValueError, match="announced"):
            write_tensors(tmp_path / "a.safetensors", {"a": wrong}, {})
    assert os.listdir(tmp_path) == []


def test_one_piece_is_in_memory_at_a_time(tmp_path: Path) -> None:
    made: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def pieces() -> Iterator[torch.Tensor]:
        nonlocal most
        for _ in range(50):
            piece = torch.ones(1000)
            made.append(weakref.ref(piece))
            most = max(most, sum(reference() is not None for reference in made))
            yield piece

    write_tensors(tmp_path / "a.safetensors", {"a": Stream(torch.float32, (50_000,), pieces)}, {})
    assert len(made) == 50 and most <= 2
