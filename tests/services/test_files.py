"""Settings file, picture store, folders and the lock: what is on disk besides pictures and database."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from webui.schema.errors import NotFoundError, RequestError, StorageError
from webui.services import images as images_module
from webui.services.folders import DataLock, Folders, write_atomically
from webui.services.images import ImageStore
from webui.services.settings import SettingsStore


def png(width: int = 3, height: int = 2) -> bytes:
    """A small picture."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), "blue").save(file, "PNG")
    return file.getvalue()


def folders_at(path: Path) -> Folders:
    """Folders below a path."""
    return Folders(path, path / "models", path / "outputs", path / "extensions", path / "scripts")


def test_settings_keep_unknown_keys_and_write_only_changes(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"quicksettings_list": ["sd_vae"], "save_to_dirs": false}')
    store = SettingsStore(path)
    assert store.get().save_to_dirs is False
    store.change({"show_progress_every_n_steps": 5})
    assert json.loads(path.read_text()) == {"quicksettings_list": ["sd_vae"], "save_to_dirs": False, "show_progress_every_n_steps": 5}
    store.change({"save_to_dirs": True})
    assert "save_to_dirs" not in json.loads(path.read_text())


@pytest.mark.parametrize(("values", "field"), [({"nonsense": 1}, "nonsense"), ({"sd_checkpoints_limit": 99}, "sd_checkpoints_limit")])
def test_a_wrong_setting_changes_nothing(tmp_path: Path, values: dict[str, object], field: str) -> None:
    store = SettingsStore(tmp_path / "config.json")
    with pytest.raises(RequestError) as caught:
        store.change(values)
    assert caught.value.field == field and not (tmp_path / "config.json").exists()


def test_a_wrong_value_in_the_file_is_named_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"sd_checkpoints_limit": "many", "save_to_dirs": false}')
    store = SettingsStore(path)
    assert store.get().sd_checkpoints_limit == 1 and store.get().save_to_dirs is False
    assert "sd_checkpoints_limit" in store.complaints[0]
    store.change({"live_previews_enable": False})
    assert json.loads(path.read_text())["sd_checkpoints_limit"] == "many"


def test_a_damaged_settings_file_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"save_to_dirs": fal')
    store = SettingsStore(path)
    assert store.get().save_to_dirs is True and len(store.complaints) == 1
    assert next(tmp_path.glob("config.json.damaged-*")).read_text() == '{"save_to_dirs": fal'


def test_overrides_make_the_snapshot(tmp_path: Path) -> None:
    settings = SettingsStore(tmp_path / "config.json").get()
    assert settings.snapshot({"save_to_dirs": False}).save_to_dirs is False
    with pytest.raises(ValueError, match="sd_checkpoints_limit"):
        settings.snapshot({"sd_checkpoints_limit": 2})


def test_pictures_are_kept_once_by_content(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    ref = store.put(png())
    assert (ref.width, ref.height) == (3, 2) and store.put(png()) == ref
    assert store.read(ref.sha256) == png() and len(list(tmp_path.rglob("*.bin"))) == 1
    with pytest.raises(NotFoundError):
        store.read("0" * 64)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<html>", png()[:30]])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(RequestError):
        ImageStore(tmp_path).put(content)


def test_too_large_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "MEMORY_LIMIT", 1000)
    with pytest.raises(RequestError, match="megapixels"):
        ImageStore(tmp_path).put(png(20, 20))
    monkeypatch.setattr(images_module, "BYTES_LIMIT", 10)
    with pytest.raises(RequestError, match="MB"):
        ImageStore(tmp_path).put(png())


def test_only_old_pictures_nobody_names_are_collected(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    named, young, old = (store.put(png(size, size)) for size in (4, 5, 6))
    for ref in (named, old):
        os.utime(next(tmp_path.rglob(f"{ref.sha256}.bin")), (time.time() - 1000,) * 2)
    assert store.collect({named.sha256}, older_than=500) == 1
    assert store.read(named.sha256) and store.read(young.sha256)
    with pytest.raises(NotFoundError):
        store.read(old.sha256)


def test_one_server_per_data_folder(tmp_path: Path) -> None:
    folders = folders_at(tmp_path)
    folders.create()
    code = (
        "import sys; from pathlib import Path; from tests.services.test_files import folders_at; from webui.services.folders import DataLock\n"
        f"with DataLock(folders_at(Path({str(tmp_path)!r}))): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert holder.stdin and holder.stdout and holder.stdout.readline() == "held\n"
    with pytest.raises(StorageError, match=rf"process {holder.pid}"), DataLock(folders):
        pass
    holder.kill()
    holder.wait()
    with DataLock(folders):
        pass


def test_a_data_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be made"):
        folders_at(tmp_path / "file" / "data").create()


def test_atomic_write_leaves_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_atomically(path, b"old")

    def fail(*paths: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
