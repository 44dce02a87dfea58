"""The networks a line names: written and read back, and those named that are not here."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.services.conftest import CHECKPOINT
from tests.services.test_metadata import KNOWN, LINE, png
from webui.schema.generation import Txt2Img
from webui.schema.model import FileKind, ModelFile
from webui.services.infotext.files import read_metadata
from webui.services.infotext.networks import name_missing, read_hashes, write_hashes
from webui.services.infotext.restore import Known

HERE: Mapping[tuple[FileKind, str], str] = {
    ("lora", "Anna"): "a" * 12, ("lora", "bob new"): "b" * 12, ("embedding", "hands"): "c" * 12, ("vae", "nice.vae"): "d" * 10,
}
"""(kind, name) → hash."""


class Shelf:
    """Implements `networks.Files`."""

    def find(self, kind: FileKind, name: str) -> ModelFile | None:
        """By name."""
        return entry(kind, name) if (kind, name) in HERE else None

    def with_hash(self, kind: FileKind, short: str, budget: int) -> ModelFile | None:
        """By hash."""
        return next((entry(*key) for key, value in HERE.items() if key[0] == kind and short == value), None)

    def known_hash(self, entry: ModelFile) -> str | None:
        """What stands above."""
        return HERE[entry.kind, entry.name]


def entry(kind: FileKind, name: str) -> ModelFile:
    """A file."""
    return ModelFile(kind=kind, name=name, path=f"/{name}", size=1, mtime=1.0)


@pytest.mark.parametrize(
    ("prompt", "fields", "comments"),
    [
        ("a <lora:Anna:0.5>", {}, []),
        ("a <lora:Anna:0.5>", {"Lora hashes": f"Anna: {'a' * 12}"}, []),
        ("a <lora:Anna:0.5>", {"Lora hashes": f"Anna: {'e' * 12}"}, ["The LoRA “Anna” is here with another hash (aaaaaaaaaaaa, not eeeeeeeeeeee)."]),
        ("a <lora:bob:te=1>", {"Lora hashes": f"bob: {'b' * 12}"}, ["The LoRA “bob” [bbbbbbbbbbbb] is here as “bob new”."]),
        ("a <lora:x:1><lora:x:1>", {"Lora hashes": "x: 0123"}, ["The LoRA “x” [0123] is not here."]),
        ("a <lora:x, y:1>", {"Lora hashes": "x y: 0123"}, ["The LoRA “x, y” [0123] is not here."]),
        ("", {"Lora hashes": "gone: 0123"}, ["The LoRA “gone” [0123] is not here."]),
        ("<hypernet:h:1> <other:thing>", {}, ["The hypernetwork “h” is not here."]),
        ("", {"TI hashes": f"hands: {'c' * 12}, feet: 9"}, ["The embedding “feet” [9] is not here."]),
        ("", {"VAE": "nice.vae.pt", "VAE hash": "d" * 10}, []),
        ("", {"VAE": "other.pt", "VAE hash": "d" * 10}, ["The VAE “other” [dddddddddd] is here as “nice.vae”."]),
        ("", {"VAE": "None"}, []),
        ("", {"VAE": "other.pt"}, ["The VAE “other” is not here."]),
    ],
)
def test_what_is_missing_is_named(prompt: str, fields: dict[str, str], comments: list[str]) -> None:
    assert name_missing(prompt, fields, Shelf()) == comments


def test_a_line_and_a_file_of_ours_name_what_is_missing() -> None:
    known = Known(KNOWN.samplers, KNOWN.schedulers, KNOWN.checkpoints, files=Shelf())
    line = LINE.replace("a cat", "a cat <lora:gone:1>").replace("Model hash: abababab00, ", "") + ', Lora hashes: "gone: 0123456789ab"'
    sentence = "The LoRA “gone” [0123456789ab] is not here."
    assert read_metadata(line.encode(), known).comments == (sentence,)
    request = Txt2Img(prompt="a cat <lora:gone:1>", seed=1)
    easel = Txt2Img.model_dump_json(request)
    assert read_metadata(png({"parameters": line, "easel": f'{{"request": {easel}}}'}), known).comments == (sentence,)


@pytest.mark.parametrize(
    ("name", "line", "found", "comment"),
    [
        (CHECKPOINT.name, LINE, CHECKPOINT.name, None),
        ("moved/some model.safetensors", "", CHECKPOINT.name, "is here as folder/some model.safetensors"),
        ("renamed.safetensors", LINE.replace("abababab00", "ababababab"), CHECKPOINT.name, "is here as folder/some model.safetensors"),
        ("gone.safetensors", LINE.replace("some model", "gone"), "", "“gone” [abababab00] is not here; the one in use stays"),
    ],
)
def test_a_checkpoint_that_is_not_here(name: str, line: str, found: str, comment: str | None) -> None:
    easel = Txt2Img(prompt="x", checkpoint=name).model_dump_json()
    told = read_metadata(png({"parameters": line, "easel": f'{{"request": {easel}}}'}), KNOWN)
    assert told.request and told.request.checkpoint == found
    assert (len(told.comments) == 0) if comment is None else (comment in told.comments[0])


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters=",:"), min_size=1).map(str.strip).filter(bool)


@given(st.dictionaries(NAMES, st.text("0123456789abcdef", min_size=8, max_size=12)))
def test_hashes_are_read_as_they_were_written(hashes: dict[str, str]) -> None:
    assert read_hashes(write_hashes(hashes.items())) == hashes


def test_names_lose_what_separates() -> None:
    assert write_hashes([("a:b, c", "12"), ("d", "34")]) == "ab c: 12, d: 34"
    assert read_hashes("a: 1, broken, : 2, b:") == {"a": "1"} and read_hashes(None) == {}
