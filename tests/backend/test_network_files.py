"""Files beside the checkpoints: found by kind and name, and by the hashes A1111 writes."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest

from tests.backend.conftest import Hashes
from webui.backend import network_files as module
from webui.backend.network_files import NetworkFiles
from webui.schema.errors import ModelError


def safetensors(path: Path, content: bytes, **notes: str) -> Path:
    """A file with one tensor of bytes and these notes in its header."""
    header = {"w": {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}, "__metadata__": notes}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)
    return path


@pytest.fixture
def files(tmp_path: Path) -> NetworkFiles:
    """Two LoRAs (one in a folder, one with notes), a preview, an embedding, a VAE."""
    lora = tmp_path / "Lora"
    safetensors(lora / "people" / "Anna v1.safetensors", b"anna")
    (lora / "people" / "Anna v1.png").write_bytes(b"preview")
    safetensors(lora / "bob.safetensors", b"bob", sshs_model_hash="B0B" + "1" * 61, ss_output_name="bobby")
    (lora / "old.pt").write_bytes(b"old lora")
    (tmp_path / "embeddings").mkdir()
    (tmp_path / "embeddings" / "bad-hands.pt").write_bytes(b"hands")
    (tmp_path / "VAE").mkdir()
    (tmp_path / "VAE" / "nice.vae.pt").write_bytes(b"vae")
    folders = {"lora": (lora, tmp_path / "LyCORIS"), "embedding": (tmp_path / "embeddings",), "vae": (tmp_path / "VAE",)}
    return NetworkFiles(folders, Hashes(), Hashes())  # type: ignore[arg-type]


def test_names(files: NetworkFiles) -> None:
    assert [entry.name for entry in files.files("lora")] == ["Anna v1", "bob", "old"]
    assert [entry.name for entry in files.files("embedding")] == ["bad-hands"] and files.files("hypernetwork") == []
    assert [entry.name for entry in files.files("vae")] == ["nice.vae"]


@pytest.mark.parametrize(("name", "found"), [("Anna v1", "Anna v1"), ("anna V1", "Anna v1"), ("bobby", "bob"), ("people/Anna v1", None), ("", None)])
def test_find(files: NetworkFiles, name: str, found: str | None) -> None:
    entry = files.find("lora", name)
    assert (entry.name if entry else None) == found


def sha(content: bytes) -> str:
    """The whole hash of bytes."""
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("kind", "name", "wanted"),
    [
        ("lora", "Anna v1", sha(b"anna")[:12]), ("lora", "bob", "b0b111111111"), ("lora", "old", sha(b"old lora")[:12]),
        ("embedding", "bad-hands", sha(b"hands")[:12]), ("vae", "nice.vae", sha(b"vae")[:10]),
    ],
)
def test_hashes_are_those_of_a1111(files: NetworkFiles, kind: module.FileKind, name: str, wanted: str) -> None:
    entry = files.find(kind, name)
    assert entry and files.hash(entry) == wanted and files.known_hash(entry) == wanted


def test_notes_do_not_change_the_hash_of_a_lora(files: NetworkFiles, tmp_path: Path) -> None:
    entry = files.find("lora", "Anna v1")
    assert entry
    before = files.hash(entry)
    safetensors(Path(entry.path), b"anna", ss_comment="changed")
    changed = files.find("lora", "Anna v1")
    assert changed and changed.size != entry.size and files.known_hash(changed) is None and files.hash(changed) == before


def test_by_hash_within_a_budget(files: NetworkFiles) -> None:
    assert files.with_hash("lora", "b0b111111111", 0)  # its own notes say it: nothing is read
    wanted = sha(b"anna")[:12]
    assert files.with_hash("lora", wanted, 0) is None
    found = files.with_hash("lora", wanted.upper(), 10_000)
    assert found and found.name == "Anna v1"
    assert files.with_hash("lora", wanted, 0) == found  # remembered
    assert files.with_hash("lora", wanted + "0" * 52, 0) == found  # a whole hash, as other programs write it
    assert files.with_hash("lora", "", 10_000) is None and files.with_hash("lora", "f" * 12, 10_000) is None


def test_a_damaged_or_vanished_file_is_passed_over(files: NetworkFiles, tmp_path: Path) -> None:
    (tmp_path / "Lora" / "cut.safetensors").write_bytes(b"123")
    assert files.with_hash("lora", "f" * 12, 10_000) is None and files.find("lora", "nobody") is None
    entry = files.find("lora", "cut")
    with pytest.raises(ModelError, match=r"cut\.safetensors cannot be read"):
        files.hash(entry)  # type: ignore[arg-type]


def test_progress_of_a_hash(files: NetworkFiles) -> None:
    told: list[float] = []
    entry = files.find("vae", "nice.vae")
    assert entry
    files.hash(entry, told.append)
    assert told == [1.0]
