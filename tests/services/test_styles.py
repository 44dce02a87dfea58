"""`styles.csv` as A1111 and people leave it, and as we write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from webui.schema.errors import RequestError
from webui.schema.style import Style
from webui.services.styles import StyleFile

GOOD = Style(name="Good", prompt="masterpiece, best\nquality", negative_prompt="“low”res")
WRAP = Style(name="Wrap, ü", prompt="photo of {prompt}")


@pytest.fixture
def file(tmp_path: Path) -> StyleFile:
    """A styles file that does not exist yet."""
    return StyleFile(tmp_path / "styles.csv")


def test_what_is_written_is_read(file: StyleFile) -> None:
    assert file.all() == []
    file.replace([GOOD, WRAP])
    assert file.path.read_bytes().startswith(b"\xef\xbb\xbfname,prompt,negative_prompt\r\n")
    assert file.all() == [GOOD, WRAP] == StyleFile(file.path).all()
    file.replace([WRAP])
    assert file.all() == [WRAP] and StyleFile(file.path.with_name("styles.csv.bak")).all() == [GOOD, WRAP]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"name,text\nOld,a b\n", [Style(name="Old", prompt="a b")]),
        (b'name,prompt,negative_prompt,more\nA,"x, y"\n,nameless,\nA,second,n,z\n', [Style(name="A", prompt="second", negative_prompt="n")]),
        ("name,prompt\nCafé,ü\n".encode("cp1252"), [Style(name="Café", prompt="ü")]),
        (b"", []),
        (b"\x00\xff\xfe nothing", []),
        (b'name,prompt\nB,ok\nC,"never closed', [Style(name="B", prompt="ok"), Style(name="C", prompt="never closed")]),
    ],
)
def test_odd_files(file: StyleFile, content: bytes, expected: list[Style]) -> None:
    file.path.write_bytes(content)
    assert file.all() == expected


def test_an_edit_by_hand_is_seen(file: StyleFile) -> None:
    file.replace([GOOD])
    assert file.all() == [GOOD]
    file.path.write_text("name,prompt\nMine,by hand\n", encoding="utf-8")
    assert file.all() == [Style(name="Mine", prompt="by hand")]
    file.path.unlink()
    assert file.all() == []


def test_names_are_found_in_order_and_a_wrong_one_is_named(file: StyleFile) -> None:
    file.replace([GOOD, WRAP])
    assert file.named(["Wrap, ü", "Good", "Good"]) == (WRAP, GOOD, GOOD)
    with pytest.raises(RequestError) as caught:
        file.named(["Goood"])
    assert caught.value.field == "styles" and "Good" in (caught.value.hint or "")
    with pytest.raises(RequestError):
        file.replace([GOOD, GOOD])
    assert file.all() == [GOOD, WRAP]
