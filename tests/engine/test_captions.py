"""Captioners: where they are looked for, what a tagger sees, how tags become text, and BLIP on a tiny model in transformers' layout."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
)

from webui.backend.device import Device
from webui.engine.captioners import Tag, find_captioner, find_lists, join_tags, lacks_clip
from webui.engine.captions import Captioner, read_tags, run_danbooru, run_tagger
from webui.engine.clip_ranking import ClipRanker
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
    danbooru = tmp_path / "deepbooru" / "danbooru"
    danbooru.mkdir(parents=True)
    (danbooru / "deepdanbooru.onnx").write_bytes(b"")
    (danbooru / "tags.txt").write_text("")
    assert find_captioner(tmp_path, "Deepbooru") == danbooru


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


class Danbooru(Session):
    """DeepDanbooru's entry: 8 pixels a side, channels where the test says."""

    def __init__(self, scores: list[float], first: bool) -> None:
        super().__init__(8, scores)
        self.first = first

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="input", shape=[1, 3, 8, 8] if self.first else [1, 8, 8, 3])]


@pytest.mark.parametrize("first", [True, False])
def test_deepdanbooru_sees_all_of_the_picture_in_rgb(first: bool) -> None:
    session = Danbooru([0.5], first)
    image = Image.new("RGB", (16, 8), (255, 0, 51))
    assert run_danbooru(session, image).tolist() == [0.5]
    seen = session.seen.transpose(0, 2, 3, 1) if first else session.seen
    assert seen.shape == (1, 8, 8, 3) and seen.dtype == np.float32
    assert np.allclose(seen[0, 4, 4], [1, 0, 0.2]) and np.allclose(seen[0, 0, 4], [1, 0, 0.2])  # the edge is spread over the rest


def test_deepdanbooru_tags_go_through_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deepbooru"
    folder.mkdir()
    (folder / "danbooru.onnx").write_bytes(b"")
    (folder / "tags.txt").write_text("1girl\nlong_hair\ncat_(animal)\nrating:safe\n\n", encoding="utf-8")
    monkeypatch.setattr("webui.engine.captions.open_session", lambda path: Danbooru([0.7, 0.9, 0.4, 1.0], False))
    image, captioner = Image.new("RGB", (8, 8)), Captioner(CPU, tmp_path)
    assert captioner.describe(image, "Deepbooru", PictureSettings()) == "1girl, long hair"
    settings = PictureSettings(
        deepbooru_sort_alpha=False, interrogate_deepbooru_score_threshold=0.1, deepbooru_filter_tags="1girl", interrogate_return_ranks=True,
    )
    assert captioner.describe(image, "Deepbooru", settings) == r"(long hair:0.900), (cat \(animal\):0.400)"


def write_lists(place: Path, **lists: str) -> None:
    """Text files of entries."""
    place.mkdir(exist_ok=True)
    for name, text in lists.items():
        (place / f"{name}.txt").write_text(text, encoding="utf-8")


def test_lists_lie_beside_models_or_in_it(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    write_lists(tmp_path / "interrogate", mediums="oil\n\n  ink \n", artists="a\nb\nc", movements="x")
    write_lists(models / "interrogate", **{"artists": "d", "flavors.top3": "1\n2\n3\n4"})
    found = {each.name: (each.top, each.entries(2)) for each in find_lists(models, ["movements"])}
    assert found == {"artists": (1, ["d"]), "flavors.top3": (3, ["1", "2"]), "mediums": (1, ["oil"])}
    assert find_lists(models)[-2].entries(0) == ["oil", "ink"]
    assert find_lists(None) == []
    (models / "interrogate" / "artists.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ModelError, match=r"artists\.txt"):
        find_lists(models)[0].entries(0)


@pytest.fixture
def clip(blip: Path) -> Path:
    """The same models folder with a tiny CLIP of random weights that reads letters."""
    folder = blip / "clip-interrogator" / "tiny"
    folder.mkdir(parents=True)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    torch.manual_seed(1)
    small: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = small | {"vocab_size": len(words), "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = CLIPConfig(text_config=text, vision_config=small | {"image_size": 32, "patch_size": 16}, projection_dim=16)
    model = CLIPModel(config)
    model.logit_scale.data.fill_(math.log(100))  # what the published models learned, and A1111 writes
    model.save_pretrained(folder)
    return blip


ENTRIES = ["oil on canvas", "ink", "a photograph", "pencil", "a very long entry that is longer than what it reads"]


def test_clip_ranks_as_the_model_itself_says(clip: Path) -> None:
    folder = clip / "clip-interrogator" / "tiny"
    picture = Image.linear_gradient("L").convert("RGB").resize((60, 40))
    ranker = ClipRanker(folder, CPU)
    ranked = ranker.rank(ranker.look(picture), ENTRIES, 3)
    words = CLIPTokenizer.from_pretrained(folder)(ENTRIES, padding=True, truncation=True, max_length=16, return_tensors="pt")
    pixels = CLIPImageProcessor.from_pretrained(folder)(images=picture, return_tensors="pt")
    with torch.no_grad():
        shares = CLIPModel.from_pretrained(folder)(**words, **pixels).logits_per_image.softmax(-1)[0]
    order = shares.argsort(descending=True)[:3].tolist()
    assert [tag.name for tag in ranked] == [ENTRIES[index] for index in order]
    assert [tag.score for tag in ranked] == pytest.approx([float(shares[index]) for index in order], abs=1e-5)
    assert ranker.rank(ranker.look(picture), [], 3) == [] and len(ranker.rank(ranker.look(picture), ENTRIES, 99)) == len(ENTRIES)


def test_what_fits_best_stands_behind_the_sentence(clip: Path) -> None:
    write_lists(clip / "interrogate", **{"flavors.top2": "\n".join(ENTRIES), "mediums": "ink", "skipped": "x"})
    captioner, picture = Captioner(CPU, clip), Image.linear_gradient("L").convert("RGB")
    sentence = captioner.describe(picture, "BLIP", PictureSettings())

    def behind(*skipped: str, **settings: Any) -> list[str]:
        text = captioner.describe(picture, "CLIP", PictureSettings(interrogate_clip_skip_categories=("skipped", *skipped), **settings))
        assert text.startswith(f"{sentence}, ")
        return text.removeprefix(f"{sentence}, ").split(", ")

    first, second, last = behind()
    assert {first, second} < set(ENTRIES) and first != second and last == "ink"
    assert behind("flavors.top2", interrogate_return_ranks=True) == ["(ink:1.000)"]
    assert behind("mediums", interrogate_clip_dict_limit=1) == [ENTRIES[0]]


def test_without_clip_there_is_the_sentence_and_a_word_about_the_lists(blip: Path) -> None:
    settings = PictureSettings()
    captioner, picture = Captioner(CPU, blip), Image.new("RGB", (8, 8))
    assert captioner.describe(picture, "CLIP", settings) == captioner.describe(picture, "BLIP", settings)
    assert lacks_clip(blip, settings) == ""
    write_lists(blip / "interrogate", mediums="ink")
    assert captioner.describe(picture, "CLIP", settings) == captioner.describe(picture, "BLIP", settings)
    assert "models/clip-interrogator" in lacks_clip(blip, settings)
    assert lacks_clip(blip, PictureSettings(interrogate_clip_skip_categories=("mediums",))) == ""


def test_a_damaged_clip_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be read"):
        ClipRanker(tmp_path, CPU)
