"""Folders that a request may name, and those that it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from webui.schema.errors import RequestError, StorageError
from webui.services.images import BYTES_LIMIT
from webui.services.picture_folders import PictureFolders, bytes_of, pictures_in


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


def test_pictures_come_as_people_count_and_from_below_only_if_asked(tmp_path: Path) -> None:
    for name in ("10.png", "9.png", "a/2.png", "a/10.png", ".secret/x.png", "B.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in pictures_in(tmp_path, deep=True)]
    assert names == ["9.png", "10.png", "a/2.png", "a/10.png", "B.png"]
    assert [path.name for path in pictures_in(tmp_path)] == ["9.png", "10.png", "B.png"]


def test_a_file_larger_than_a_picture_may_be_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "large.png", "wb") as file:
        file.truncate(BYTES_LIMIT + 1)
    with pytest.raises(StorageError, match="256 MB"):
        bytes_of(tmp_path / "large.png")
    with pytest.raises(StorageError, match="cannot be read"):
        bytes_of(tmp_path / "missing.png")
