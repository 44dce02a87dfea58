"""Captioners: where they are looked for, what a tagger sees, how tags become text, and BLIP on a tiny model in transformers' layout."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

from webui.backend.device import Device
from webui.engine.captioners import Tag, find_captioner, join_tags
from webui.engine.captions import Captioner, read_tags, run_tagger
from webui.schema.errors import ModelError
from webui.schema.settings import PictureSettings

CPU = Device(torch.device("cpu"), torch.float32, torch.float32, "sdpa")
TAGS = [Tag("long_hair", 0.9), Tag("1girl", 0.99), Tag("cat_(animal)", 0.6), Tag("hat", 0.2)]


@pytest.mark.parametrize(("settings", "text"), [
    ({}, r"1girl, cat \(animal\), long hair"),
    ({"deepbooru_sort_alpha": False}, r"1girl, long hair, cat \(animal\)"),
    ({"deepbooru_use_spaces": False, "deepbooru_escape": False}, "1girl, cat_(animal), long_hair"),
    ({"interrogate_deepbooru_score_threshold": 0.1, "deepbooru_filter_tags": "long hair, 1girl"}, r"cat \(animal\), hat"),
    ({"interrogate_return_ranks": True, "interrogate_deepbooru_score_threshold": 0.8}, "(1girl:0.990), (long hair:0.900)"),
])
def test_tags_as_text(settings: dict[str, Any], text: str) -> None:
    assert join_tags(TAGS, PictureSettings(**settings)) == text


def test_where_captioners_are_looked_for(tmp_path: Path) -> None:
    for kind, place in (("BLIP", "models/BLIP"), ("Deepbooru", "models/deepbooru")):
        with pytest.raises(ModelError) as caught:
            find_captioner(tmp_path, kind, "model")
        assert caught.value.field == "model" and place in (caught.value.hint or "")
    (tmp_path / "BLIP" / "b").mkdir(parents=True)
    (tmp_path / "BLIP" / "b" / "config.json").write_text("{}")
    assert find_captioner(tmp_path, "BLIP") == tmp_path / "BLIP" / "b"
    (tmp_path / "tagger").mkdir()
    (tmp_path / "tagger" / "model.onnx").write_bytes(b"")
    with pytest.raises(ModelError):
        find_captioner(tmp_path, "Deepbooru")  # the table is missing
    (tmp_path / "tagger" / "selected_tags.csv").write_text("")
    assert find_captioner(tmp_path, "Deepbooru") == tmp_path / "tagger"


class Session:
    """Stands for onnxruntime's: remembers what it saw."""

    def __init__(self, side: int, scores: list[float]) -> None:
        self.side, self.scores, self.seen = side, scores, np.zeros(0)

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="input", shape=["batch", self.side, self.side, 3])]

    def get_outputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="output")]

    def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        assert names == ["output"]
        self.seen = feed["input"]
        return [np.array([self.scores], np.float32)]


def test_a_tagger_sees_the_picture_on_a_white_square_in_bgr() -> None:
    session = Session(8, [0.5])
    assert run_tagger(session, Image.new("RGB", (16, 8), (255, 0, 0))).tolist() == [0.5]
    assert session.seen.shape == (1, 8, 8, 3) and session.seen.dtype == np.float32
    assert session.seen[0, 4, 4].tolist() == [0, 0, 255]
    assert session.seen[0, 0, 4].tolist() == [255, 255, 255]


def tagger(folder: Path, table: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"")
    (folder / "selected_tags.csv").write_text(table, encoding="utf-8")
    return folder


def test_ratings_are_no_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tagger(tmp_path / "deepbooru" / "wd", "tag_id,name,category,count\n1,general,9,1\n2,red_hat,0,1\n3,somebody,4,1\n")
    assert read_tags(folder / "selected_tags.csv") == [("general", "9"), ("red_hat", "0"), ("somebody", "4")]
    monkeypatch.setattr("webui.engine.captions.open_session", lambda path: Session(8, [0.99, 0.8, 0.7]))
    assert Captioner(CPU, tmp_path).describe(Image.new("RGB", (8, 8)), "Deepbooru", PictureSettings()) == "red hat, somebody"


def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tagger(tmp_path / "deepbooru", "tag_id,name,category,count\n2,red_hat,0,1\n")
    monkeypatch.setattr("webui.engine.captions.open_session", lambda path: Session(8, [0.9, 0.8]))
    with pytest.raises(ModelError, match="2 scores for 1 tags"):
        Captioner(CPU, tmp_path).describe(Image.new("RGB", (8, 8)), "Deepbooru", PictureSettings())


@pytest.fixture
def blip(tmp_path: Path) -> Path:
    """A models folder with a tiny BLIP of random weights."""
    folder = tmp_path / "BLIP" / "tiny"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", *(f"word{number}" for number in range(57))]
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    small: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BlipConfig(
        vision_config=small | {"image_size": 32, "patch_size": 16},
        text_config=small | {"vocab_size": 64, "encoder_hidden_size": 32, "bos_token_id": 5, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0},
        projection_dim=32,
    )
    BlipForConditionalGeneration(config).save_pretrained(folder)
    return tmp_path


def test_blip_gives_a_sentence_of_the_length_asked_for(blip: Path) -> None:
    captioner = Captioner(CPU, blip)
    settings = PictureSettings(interrogate_clip_min_length=3, interrogate_clip_max_length=9)
    text = captioner.describe(Image.new("RGB", (50, 40), "red"), "BLIP", settings)
    assert 1 <= len(text.split()) <= 9
    assert captioner.describe(Image.new("RGB", (50, 40), "red"), "BLIP", settings) == text
    captioner.trim(keep=True)
    assert captioner._held
    captioner.trim()
    assert not captioner._held


def test_a_damaged_blip_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "BLIP").mkdir()
    (tmp_path / "BLIP" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be read"):
        Captioner(CPU, tmp_path).describe(Image.new("RGB", (8, 8)), "BLIP", PictureSettings())
