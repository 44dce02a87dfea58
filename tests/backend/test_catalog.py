"""The list of checkpoints: names, choices, changes on disk, hashes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tools.random_checkpoint import TINY, write_checkpoint
from webui.backend import catalog as catalogs
from webui.backend import hashing
from webui.backend.catalog import Catalog, find_named
from webui.backend.manager import FAMILIES
from webui.backend.support import NAMES, RUNS
from webui.schema.errors import ModelError, RequestError
from webui.schema.model import Checkpoint

SD1 = {
    "model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3), "first_stage_model.decoder.conv_in.weight": (4, 4, 3, 3),
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (10, 4),
}


@pytest.fixture
def folder(tmp_path: Path, fake) -> Path:
    """house.safetensors, sub/Cat v2.safetensors, a LoRA, an empty file, a .ckpt, a note."""
    base = tmp_path / "Stable-diffusion"
    fake(base / "house.safetensors", SD1)
    fake(base / "sub" / "Cat v2.safetensors", SD1)
    fake(base / "a-lora.safetensors", {"x.lora_down.weight": (4, 8)})
    (base / "empty.safetensors").touch()
    (base / "old.ckpt").write_bytes(b"x")
    (base / "notes.txt").write_text("x")
    return base


def test_names_and_reasons(folder: Path, hashes) -> None:
    entries = {entry.name: entry for entry in Catalog([folder], hashes).checkpoints()}
    assert list(entries) == ["a-lora.safetensors", "empty.safetensors", "house.safetensors", "old.ckpt", "sub/Cat v2.safetensors"]
    assert entries["house.safetensors"].family == "sd1"
    assert entries["house.safetensors"].error is None
    for name, words in (("a-lora.safetensors", "LoRA"), ("empty.safetensors", "empty"), ("old.ckpt", "cut short")):
        assert words in (entries[name].error or "")
        assert entries[name].family is None


def test_default_is_the_first_usable_one(folder: Path, hashes, tmp_path: Path) -> None:
    assert Catalog([folder], hashes).default() == "house.safetensors"
    assert Catalog([tmp_path / "nowhere"], hashes).default() is None


def test_get_by_name_stem_and_title(folder: Path, hashes) -> None:
    catalog = Catalog([folder], hashes)
    cat = catalog.get("sub/Cat v2.safetensors")
    assert catalog.get("Cat v2") == cat
    catalog.sha256(cat)
    titled = catalog.get("Cat v2")
    assert titled.title == f"sub/Cat v2.safetensors [{titled.sha256[:10]}]"
    assert catalog.get(titled.title) == titled


def test_unknown_names_the_nearest(folder: Path, hashes) -> None:
    with pytest.raises(RequestError) as caught:
        Catalog([folder], hashes).get("hause.safetensors")
    assert caught.value.field == "checkpoint"
    assert "“house.safetensors”" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["", "../secret", "/etc/passwd", "x" * 100_000])
def test_odd_names_are_only_unknown(folder: Path, hashes, name: str) -> None:
    with pytest.raises(RequestError):
        Catalog([folder], hashes).get(name)


def test_nothing_there_says_where_to_put_one(tmp_path: Path, hashes) -> None:
    with pytest.raises(RequestError, match="no checkpoint yet") as caught:
        Catalog([tmp_path], hashes).get("any")
    assert str(tmp_path) in (caught.value.hint or "")


def test_an_unusable_file_says_why(folder: Path, hashes) -> None:
    with pytest.raises(ModelError, match="is a LoRA") as caught:
        Catalog([folder], hashes).get("a-lora.safetensors")
    assert caught.value.hint


def test_deleted_after_the_scan(folder: Path, hashes) -> None:
    catalog = Catalog([folder], hashes)
    catalog.checkpoints()
    (folder / "house.safetensors").unlink()
    with pytest.raises(ModelError, match="not there any more"):
        catalog.get("house.safetensors")
    assert catalog.refresh()
    with pytest.raises(RequestError):
        catalog.get("house.safetensors")


def test_replaced_after_the_scan(folder: Path, hashes) -> None:
    catalog = Catalog([folder], hashes)
    before = catalog.get("house.safetensors")
    (folder / "house.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="is empty"):
        catalog.get("house.safetensors")
    shutil.copy(folder / "sub" / "Cat v2.safetensors", folder / "house.safetensors")
    os.utime(folder / "house.safetensors", (1, 1))
    assert catalog.get("house.safetensors").mtime == 1 != before.mtime


def test_put_there_after_the_scan(folder: Path, hashes) -> None:
    catalog = Catalog([folder], hashes)
    catalog.checkpoints()
    shutil.copy(folder / "house.safetensors", folder / "new.safetensors")
    assert catalog.get("new.safetensors").family == "sd1"


def test_unchanged_files_are_not_read_again(folder: Path, hashes, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog([folder], hashes)
    catalog.checkpoints()
    read: list[str] = []
    identify = catalogs.identify
    monkeypatch.setattr(catalogs, "identify", lambda path: read.append(path.name) or identify(path))
    assert not catalog.refresh()
    os.utime(folder / "house.safetensors", (5, 5))
    assert catalog.refresh()
    assert read == ["house.safetensors"]


def test_first_folder_wins_and_missing_folders_are_fine(folder: Path, hashes, tmp_path: Path, fake) -> None:
    other = fake(tmp_path / "other" / "house.safetensors", SD1).parent
    fake(other / "more.safetensors", SD1)
    entries = {entry.name: entry for entry in Catalog([folder, tmp_path / "none", other], hashes).checkpoints()}
    assert entries["house.safetensors"].path == str(folder / "house.safetensors")
    assert "more.safetensors" in entries


def test_links_loops_and_broken_things(folder: Path, hashes) -> None:
    (folder / "loop").symlink_to(folder)
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "dangling.safetensors").symlink_to(folder / "nothing")
    (folder / "folder.safetensors").mkdir()
    locked = folder / "locked"
    locked.mkdir()
    locked.chmod(0)
    names = [entry.name for entry in Catalog([folder], hashes).checkpoints()]
    locked.chmod(0o700)
    assert names == ["a-lora.safetensors", "empty.safetensors", "house.safetensors", "old.ckpt", "sub/Cat v2.safetensors"]


def test_a_linked_folder_is_followed(folder: Path, hashes, tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "mine").symlink_to(folder)
    assert "mine/house.safetensors" in [entry.name for entry in Catalog([tmp_path / "library"], hashes).checkpoints()]


def test_hash_of_the_whole_file(folder: Path, hashes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "BLOCK", 100)
    catalog = Catalog([folder], hashes)
    house = catalog.get("house.safetensors")
    told: list[float] = []
    wanted = hashlib.sha256(Path(house.path).read_bytes()).hexdigest()
    assert catalog.sha256(house, told.append) == wanted
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert catalog.get("house.safetensors").sha256 == wanted
    assert Catalog([folder], hashes).get("house.safetensors").sha256 == wanted  # another start remembers


def test_two_callers_hash_once(folder: Path, hashes, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog([folder], hashes)
    house = catalog.get("house.safetensors")
    computed: list[str] = []
    hash_file = catalogs.hash_file

    def slow(path, size, progress):
        computed.append(Path(path).name)
        time.sleep(0.1)
        return hash_file(path, size, progress)

    monkeypatch.setattr(catalogs, "hash_file", slow)
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(catalog.sha256(house))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert computed == ["house.safetensors"]
    assert len(results) == 4
    assert len(set(results)) == 1


def test_hash_of_a_file_that_vanished(folder: Path, hashes) -> None:
    catalog = Catalog([folder], hashes)
    house = catalog.get("house.safetensors")
    Path(house.path).unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        catalog.sha256(house)


def test_refresh_while_others_read(folder: Path, hashes) -> None:
    catalog = Catalog([folder], hashes)
    stop = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        while not stop.is_set():
            try:
                catalog.get("house.safetensors")
                catalog.checkpoints()
            except RequestError as error:
                failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(20):
        os.utime(folder / "house.safetensors", (number, number))
        catalog.refresh()
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == []


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are looked into from now on."""
    read: list[str] = []
    identify = catalogs.identify
    monkeypatch.setattr(catalogs, "identify", lambda path: read.append(path.name) or identify(path))
    return read


def test_another_start_reads_nothing_that_is_known(folder: Path, hashes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = tmp_path / "index.json"
    first = Catalog([folder], hashes, index)
    house = first.get("house.safetensors")
    first.sha256(house)
    read = _counted(monkeypatch)
    again = Catalog([folder], hashes, index)
    assert again.checkpoints() == first.checkpoints()
    assert again.get("house.safetensors").sha256 is not None
    assert read == []
    (folder / "house.yaml").write_text("model: {params: {parameterization: v}}")
    assert Catalog([folder], hashes, index).get("sub/Cat v2.safetensors")
    assert read == ["house.safetensors"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"recognition": 1, "support": "", "entries": {"x": 3}}', bytes(range(256))])
def test_a_damaged_index_costs_only_time(folder: Path, hashes, tmp_path: Path, content: bytes) -> None:
    index = tmp_path / "index.json"
    index.write_bytes(content)
    assert Catalog([folder], hashes, index).get("house.safetensors").family == "sd1"
    assert len(index.read_bytes()) > 300


def test_an_index_that_cannot_be_written_costs_only_time(folder: Path, hashes, tmp_path: Path) -> None:
    assert Catalog([folder], hashes, tmp_path / "no" / "such" / "folder.json").get("house.safetensors").family == "sd1"


def test_what_can_be_run_is_part_of_the_index(folder: Path, hashes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Catalog([folder], hashes, tmp_path / "index.json").checkpoints()
    monkeypatch.setattr(catalogs, "RUNS", {})
    read = _counted(monkeypatch)
    Catalog([folder], hashes, tmp_path / "index.json").checkpoints()
    assert len(read) == 5


def test_a_thousand_files(tmp_path: Path, hashes, fake) -> None:
    """2 s to read them, 0.2 s from the index, with room for a busy machine; CPU time of this process, the least of two."""
    first = fake(tmp_path / "models" / "0.safetensors", SD1)
    for number in range(1, 1000):
        shutil.copy(first, tmp_path / "models" / f"{number}.safetensors")
    times: list[list[float]] = [[], []]
    for index in ("one.json", "two.json"):
        for spent in times:
            catalog, started = Catalog([tmp_path / "models"], hashes, tmp_path / index), time.process_time()
            assert len(catalog.checkpoints()) == 1000
            spent.append(time.process_time() - started)
    assert min(times[0]) < 4
    assert min(times[1]) < 0.6


@pytest.fixture
def diffusers_folder(folder: Path, fake) -> Path:
    """sub/model.v2: a small SD 1 in diffusers' layout."""
    path = folder / "sub" / "model.v2"
    for name, config in {"unet": {"in_channels": 4}, "vae": {}, "text_encoder": {}}.items():
        fake(path / name / ("model.safetensors" if name == "text_encoder" else "diffusion_pytorch_model.safetensors"), {"weight": (2, 2)})
        (path / name / "config.json").write_text(json.dumps(config))
    (path / "model_index.json").write_text(json.dumps({name: ["diffusers", "X"] for name in ("unet", "vae", "text_encoder")}))
    return path


def test_a_diffusers_folder_is_one_checkpoint(folder: Path, hashes, diffusers_folder: Path) -> None:
    catalog = Catalog([folder], hashes)
    entries = {entry.name: entry for entry in catalog.checkpoints()}
    entry = entries["sub/model.v2"]
    assert [name for name in entries if name.startswith("sub/")] == ["sub/Cat v2.safetensors", "sub/model.v2"]
    assert (entry.family, entry.layout, entry.stem) == ("sd1", "diffusers", "model.v2")
    assert entry.error is None
    files = sorted(diffusers_folder.rglob("*.safetensors"), key=lambda path: ["unet", "vae", "text_encoder"].index(path.parent.name))
    assert entry.size == sum(path.stat().st_size for path in files)
    assert catalog.sha256(entry) == hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    (diffusers_folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert catalog.refresh()
    assert "vae is a folder without weights" in (next(entry for entry in catalog.checkpoints() if entry.name == "sub/model.v2").error or "")


def test_shards_are_one_checkpoint(folder: Path, hashes, fake) -> None:
    names = [f"big-0000{number}-of-00002.safetensors" for number in (1, 2)]
    keys = list(SD1)[::2]
    for name, key in zip(names, keys, strict=True):
        fake(folder / name, {key: SD1[key]})
    (folder / "big.safetensors.index.json").write_text(json.dumps({"weight_map": dict(zip(keys, names, strict=True))}))
    entries = {entry.name: entry for entry in Catalog([folder], hashes).checkpoints()}
    entry = entries["big.safetensors.index.json"]
    assert (entry.family, entry.stem) == ("sd1", "big")
    assert not entries.keys() & set(names)
    assert entry.error is None and entry.parts == ("unet", "text_encoder")  # its VAE is looked for when it is loaded


def test_a_loop_of_links_is_named(folder: Path, hashes) -> None:
    (folder / "a.safetensors").symlink_to(folder / "b.safetensors")
    (folder / "b.safetensors").symlink_to(folder / "a.safetensors")
    entries = {entry.name: entry.error for entry in Catalog([folder], hashes).checkpoints()}
    assert "cannot be read (Too many levels of symbolic links)" in (entries["a.safetensors"] or "")


def test_an_unreadable_file_is_named_and_looked_at_again(folder: Path, hashes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "house.safetensors"
    opened = Path.open

    def locked(self: Path, *arguments, **options):
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", locked)  # tests may run as root, whom no permission stops
    catalog = Catalog([folder], hashes, tmp_path / "index.json")
    with pytest.raises(ModelError, match="Permission denied"):
        catalog.get("house.safetensors")
    monkeypatch.setattr(Path, "open", opened)
    assert catalog.get("house.safetensors").family == "sd1"
    assert Catalog([folder], hashes, tmp_path / "index.json").get("house.safetensors").error is None


def test_what_cannot_be_run_yet_says_so(folder: Path, hashes, fake) -> None:
    plain = {name.replace("cond_stage_model.", "conditioner.embedders.0."): shape for name, shape in SD1.items()}
    depth = plain | {"model.diffusion_model.input_blocks.0.0.weight": (8, 5, 3, 3)}
    for name, shapes, family, words in (
        ("depth", depth, "sdxl", "Stable Diffusion XL model (depth), which is not supported yet"),
    ):
        fake(folder / f"{name}.safetensors", shapes)
        catalog = Catalog([folder], hashes)
        with pytest.raises(ModelError, match="is a Stable Diffusion XL model") as caught:
            catalog.get(name)
        assert words in caught.value.message
        assert caught.value.hint
        assert next(entry for entry in catalog.checkpoints() if entry.stem == name).family == family


def test_every_family_that_is_promised_is_loaded() -> None:
    assert set(RUNS) == set(FAMILIES)
    assert set(RUNS) <= set(NAMES)


def test_a_name_without_its_ending_may_have_its_folder(tmp_path: Path, hashes) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_checkpoint(tmp_path / folder / "same.safetensors", TINY, 1)
    catalog = Catalog([tmp_path], hashes)
    assert [catalog.get(name).name for name in ("b/same", "b/same [0123456789]", "b/same.safetensors")] == ["b/same.safetensors"] * 3


def _entry(name: str, **more: Any) -> Checkpoint:
    return Checkpoint(name=name, path=name, size=1, mtime=1, **more)


def test_what_a_checkpoint_is_called() -> None:
    """Its whole name first, then shorter ones; the hash and what cannot be used decide among several; else nobody guesses."""
    listed = [
        _entry("a/same.ckpt", error="damaged"), _entry("a/same.safetensors", sha256="11" * 32), _entry("b/same.safetensors", sha256="22" * 32),
        _entry("house", error="no model"), _entry("b/house.safetensors"), _entry("odd [v2].safetensors"), _entry("broken.pt", error="damaged"),
    ]
    wanted = {
        "a/same.ckpt": 0, "a/same": 1, "a/same [1111111111]": 1, "same [1111111111]": 1, "same [2222222222]": 2, "b/same.safetensors [0000000000]": 2,
        "house": 3, "b/house": 4, "odd [v2]": 5, "odd [v2] [33]": 5, "broken": 6,
    }
    assert {name: find_named(listed, name) for name in wanted} == {name: listed[place] for name, place in wanted.items()}
    assert [find_named(listed, name) for name in ("", "same.safetensors", "Same", " [1111111111]", "c/same", "]", "[")] == [None] * 7
    for name in ("same", "same [3333333333]"):
        with pytest.raises(RequestError, match=r"^2 checkpoints are called “same”") as caught:
            find_named(listed, name, "source")
        assert (caught.value.field, caught.value.hint) == ("source", "Say which: a/same.safetensors or b/same.safetensors.")


def test_two_of_one_name_are_refused_at_the_field(tmp_path: Path, hashes) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_checkpoint(tmp_path / folder / "same.safetensors", TINY, 1)
    catalog = Catalog([tmp_path], hashes)
    with pytest.raises(RequestError, match="2 checkpoints are called “same”") as caught:
        catalog.get("same", "hr_checkpoint_name")
    assert caught.value.field == "hr_checkpoint_name"
    (tmp_path / "a" / "same.safetensors").unlink()
    with pytest.raises(ModelError, match="not there any more") as gone:
        catalog.get("a/same.safetensors", "hr_checkpoint_name")
    assert gone.value.field == "hr_checkpoint_name"
    catalog.refresh()
    assert catalog.get("same").name == "b/same.safetensors"
