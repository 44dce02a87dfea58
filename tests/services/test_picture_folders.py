"""Folders that a request may name, and those that it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from webui.schema.errors import RequestError
from webui.services.picture_folders import PictureFolders, pictures_in


@pytest.fixture
def folders(tmp_path: Path) -> PictureFolders:
    for name in ("data/in", "data/.easel/images", "outputs/extras-images", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    return PictureFolders([tmp_path / "data", tmp_path / "outputs"])


def test_a_folder_by_name_or_by_path(folders: PictureFolders, tmp_path: Path) -> None:
    assert folders.existing("in", "input_dir") == tmp_path / "data" / "in"
    assert folders.existing("extras-images", "input_dir") == tmp_path / "outputs" / "extras-images"
    assert folders.existing(str(tmp_path / "data" / "in"), "input_dir") == tmp_path / "data" / "in"
    assert folders.writable("new", "output_dir") == tmp_path / "outputs" / "new"
    assert folders.writable(str(tmp_path / "data" / "x"), "output_dir") == tmp_path / "data" / "x"


@pytest.mark.parametrize("text", ["", "..", "../elsewhere", "/etc", "/", ".easel/images", "in/../.easel", "link", "missing", "a\0b"])
def test_nothing_else_is_opened(folders: PictureFolders, text: str) -> None:
    with pytest.raises(RequestError) as caught:
        folders.existing(text, "input_dir")
    assert caught.value.field == "input_dir" and "data" in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["..", "/etc", ".easel", ""])
def test_nothing_else_is_written(folders: PictureFolders, text: str) -> None:
    with pytest.raises(RequestError):
        folders.writable(text, "output_dir")


def test_pictures_only(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", ".hidden.png", "notes.txt", "c.safetensors"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in pictures_in(tmp_path)] == ["a.jpg", "b.PNG"]


def test_links_do_not_lead_out(folders: PictureFolders, tmp_path: Path) -> None:
    with pytest.raises(RequestError):
        folders.writable(str(tmp_path / "data" / "link" / "x"), "output_dir")
