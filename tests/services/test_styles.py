"""`styles.csv` as A1111 and people leave it, and as we write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from webui.schema.errors import RequestError
from webui.schema.style import Style
from webui.services.styles import Styles

GOOD = Style(name="Good", prompt="masterpiece, best\nquality", negative_prompt="“low”res")
WRAP = Style(name="Wrap, ü", prompt="photo of {prompt}")


@pytest.fixture
def file(tmp_path: Path) -> Styles:
    """A styles file that does not exist yet."""
    return Styles(tmp_path / "styles.csv")


def test_what_is_written_is_read(file: Styles, tmp_path: Path) -> None:
    path = tmp_path / "styles.csv"
    assert file.all() == []
    file.replace([GOOD, WRAP])
    assert path.read_bytes().startswith(b"\xef\xbb\xbfname,prompt,negative_prompt\r\n")
    assert file.all() == [GOOD, WRAP] == Styles(path).all()
    file.replace([WRAP])
    assert file.all() == [WRAP] and Styles(path.with_name("styles.csv.bak")).all() == [GOOD, WRAP]


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
def test_odd_files(file: Styles, tmp_path: Path, content: bytes, expected: list[Style]) -> None:
    (tmp_path / "styles.csv").write_bytes(content)
    assert file.all() == expected


def test_an_edit_by_hand_is_seen(file: Styles, tmp_path: Path) -> None:
    path = tmp_path / "styles.csv"
    file.replace([GOOD])
    assert file.all() == [GOOD]
    path.write_text("name,prompt\nMine,by hand\n", encoding="utf-8")
    assert file.all() == [Style(name="Mine", prompt="by hand")]
    path.unlink()
    assert file.all() == []


def test_names_are_found_in_order_and_a_wrong_one_is_named(file: Styles) -> None:
    file.replace([GOOD, WRAP])
    assert file.named(["Wrap, ü", "Good", "Good"]) == (WRAP, GOOD, GOOD)
    with pytest.raises(RequestError) as caught:
        file.named(["Goood"])
    assert caught.value.field == "styles" and "Good" in (caught.value.hint or "")
    with pytest.raises(RequestError):
        file.replace([GOOD, GOOD])
    assert file.all() == [GOOD, WRAP]


def test_several_files_are_listed_and_each_style_is_saved_to_its_own(tmp_path: Path) -> None:
    first, more = tmp_path / "mine.csv", tmp_path / "more"
    more.mkdir()
    (more / "b.csv").write_text("name,prompt\nB,from b\nBoth,b's\n", encoding="utf-8")
    (more / "a.csv").write_text("name,prompt\nA,from a\nBoth,a's\n", encoding="utf-8")
    styles = Styles(first, more / "*.csv", more / "a.csv")
    a, b, both = Style(name="A", prompt="from a"), Style(name="B", prompt="from b"), Style(name="Both", prompt="b's")
    assert styles.all() == [a, b, both]
    new, changed = Style(name="New", prompt="n"), b.revise(prompt="changed")
    untouched = (more / "a.csv").read_bytes()
    styles.replace([a, changed, both, new])
    assert (first.read_text(encoding="utf-8-sig"), (more / "a.csv").read_bytes()) == ("name,prompt,negative_prompt\nNew,n,\n", untouched)
    assert Styles(more / "b.csv").all() == [changed, both]
    styles.replace([a, changed, new])  # "Both" is deleted: what it hid in the other file is there again
    assert styles.all() == [new, a, Style(name="Both", prompt="a's"), changed]
    styles.replace([new, changed, Style(name="Both", prompt="a's")])
    styles.replace([new, changed, Style(name="Both", prompt="a's"), a])  # taken back: at home in its file
    assert Styles(more / "a.csv").all() == [Style(name="Both", prompt="a's"), a]


def test_a_pattern_that_fits_nothing_yet(tmp_path: Path) -> None:
    styles = Styles(tmp_path / "styles" / "*.csv")
    assert styles.all() == []
    styles.replace([GOOD])
    assert Styles(tmp_path / "styles" / "styles.csv").all() == [GOOD] == styles.all()
