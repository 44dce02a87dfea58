"""Cards of models: from the disk, with what people and other programs wrote beside them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.backend.conftest import Hashes
from tests.conftest import Fake
from webui.backend.catalog import Catalog
from webui.backend.network_files import NetworkFiles
from webui.schema.errors import NotFoundError, RequestError
from webui.schema.model_work import Merge
from webui.services.hashing import Hasher
from webui.services.model_work import ModelWorkshop
from webui.services.queue import JobQueue
from webui.services.shelf import ModelShelf
from webui.services.sidecars import CardNotes, find_preview, read_notes, write_notes, write_preview

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def shelf(tmp_path: Path, queue: JobQueue) -> ModelShelf:
    """On `sd` and `Lora` below the test's folder."""
    hashes = Hashes()
    catalog = Catalog([tmp_path / "sd"], hashes)
    files = NetworkFiles({"lora": (tmp_path / "Lora",), "vae": (tmp_path / "VAE",), "embedding": (tmp_path / "embeddings",)}, hashes, hashes)
    return ModelShelf(catalog, files, ModelWorkshop(catalog, files), queue, Hasher(catalog, queue))


def test_cards_of_every_kind_with_what_lies_beside_them(shelf: ModelShelf, tmp_path: Path, fake: Fake) -> None:
    fake(tmp_path / "sd" / "real" / "a.safetensors", {"x": (2, 3)}, {"modelspec.license": "MIT"})
    lora = fake(tmp_path / "Lora" / "styles" / "b.safetensors", {"l.lora_down.weight": (4, 2)}, {"ss_base_model_version": "sd_v1"})
    (tmp_path / "embeddings").mkdir()
    (tmp_path / "embeddings" / "c.png").write_bytes(PNG)
    lora.with_name("b.preview.png").write_bytes(PNG)
    lora.with_name("b.json").write_text(json.dumps({"description": "soft", "tags": ["oil", 3], "sd version": "SD1", "activation text": "oil"}))
    cards = {card["name"]: card for card in shelf.cards()}
    assert {name: (card["kind"], card["title"], card.get("folder")) for name, card in cards.items()} == {
        "real/a.safetensors": ("checkpoint", "a", "real"), "b": ("lora", "b", "styles"), "c": ("embedding", "c", None),
    }
    assert cards["real/a.safetensors"]["error"] and "preview" not in cards["real/a.safetensors"]
    assert cards["b"].items() >= {"tags": ["oil", "3"], "about": "soft", "base": "SD1", "activation": "oil"}.items()
    assert shelf.preview("lora", "b").name == "b.preview.png" and shelf.preview("embedding", "c").name == "c.png"
    card = shelf.card("checkpoint", "real/a.safetensors")
    assert (card["licence"], card["dtypes"], card["parameters"], card["tensors"]) == ("MIT", {"F16": 1}, 6, 1)
    assert shelf.card("lora", "b")["base"] == "SD1"
    for kind, name in (("lora", "none"), ("nothing", "b")):
        with pytest.raises(NotFoundError):
            shelf.card(kind, name)


def test_words_are_changed_and_foreign_ones_kept(tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    model.write_bytes(b"")
    (tmp_path / "m.json").write_text('{"description": "old", "civitai": {"id": 7}, "notes": "n"}')
    write_notes(model, CardNotes.model_validate({"description": "new", "preferred weight": 0.7, "tags": ["a"]}))
    assert read_notes(model) == {"description": "new", "civitai": {"id": 7}, "notes": "n", "preferred weight": 0.7, "tags": ["a"]}
    (tmp_path / "m.json").write_text("not json")
    write_notes(model, CardNotes(notes="mine"))
    assert read_notes(model) == {"notes": "mine"}
    assert [path.read_text() for path in tmp_path.glob("m.json.damaged-*")] == ["not json"]


def test_the_words_of_shards_do_not_stand_in_their_index(tmp_path: Path) -> None:
    index = tmp_path / "m.safetensors.index.json"
    index.write_text('{"weight_map": {}}')
    write_notes(index, CardNotes(notes="mine"))
    assert read_notes(index) == {"notes": "mine"} == json.loads((tmp_path / "m.json").read_text())
    assert index.read_text() == '{"weight_map": {}}'
    (tmp_path / "m.v2.safetensors").write_bytes(b"")
    write_notes(tmp_path / "m.v2.safetensors", CardNotes(notes="other"))
    assert (tmp_path / "m.v2.json").is_file()


def test_what_a_checkpoint_predicts_is_set_on_its_card(shelf: ModelShelf, tmp_path: Path, fake: Fake) -> None:
    unet = {"model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3), "first_stage_model.decoder.conv_in.weight": (4, 4, 3, 3),
            "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (10, 4)}
    fake(tmp_path / "sd" / "a.safetensors", unet)
    assert shelf.card("checkpoint", "a.safetensors")["prediction"] is None
    card = shelf.change_notes("checkpoint", "a.safetensors", CardNotes(prediction="v-zsnr"))
    assert (card["prediction"], card["zero_snr"], card["notes"]["prediction"]) == ("v", True, "v-zsnr")
    assert shelf.change_notes("checkpoint", "a.safetensors", CardNotes(prediction=""))["prediction"] is None


def test_a_new_preview_is_the_one_shown_and_the_old_one_is_kept(tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    model.write_bytes(b"")
    (tmp_path / "m.png").write_bytes(PNG + b"old")
    written = write_preview(model, PNG + b"new")
    assert written.name == "m.preview.png" and find_preview(model) == written and (tmp_path / "m.png.bak").read_bytes() == PNG + b"old"
    assert find_preview(tmp_path / "n.safetensors") is None
    with pytest.raises(RequestError, match="no PNG"):
        write_preview(model, b"<svg/>")


def test_five_thousand_files_take_less_than_a_second(shelf: ModelShelf, tmp_path: Path) -> None:
    folder = tmp_path / "Lora"
    folder.mkdir()
    for number in range(5000):
        (folder / f"style {number:04}.safetensors").write_bytes(b"")
    shelf.cards()
    begun = time.process_time()  # of this process: the machine may be busy with others
    assert len(shelf.cards()) == 5000
    assert time.process_time() - begun < 1.0


def test_look_again_hears_of_every_kind(shelf: ModelShelf, tmp_path: Path, fake: Fake) -> None:
    shelf.look_again()
    assert not shelf.look_again()
    fake(tmp_path / "Lora" / "b.safetensors", {"x": (1,)})
    assert shelf.look_again() and not shelf.look_again()


def test_work_is_queued_once_for_a_name(shelf: ModelShelf, tmp_path: Path, fake: Fake, queue: JobQueue) -> None:
    fake(tmp_path / "sd" / "a.safetensors", {"x": (1,)})
    request = Merge(primary_model_name="a", interp_method="No interpolation", custom_name="new")
    job = shelf.submit(request)
    assert (job.lane, queue.view(job).kind, queue.view(job).title) == ("cpu", "merge", "new.safetensors")
    with pytest.raises(RequestError, match="being made already"):
        shelf.submit(request)
    forms = {name: {field["key"]: field for field in fields} for name, fields in shelf.forms().items()}
    assert forms["merge"]["primary_model_name"]["choices"] == ["", "a.safetensors"] and forms["merge"]["interp_method"]["default"] == "Weighted sum"
    assert "output" not in forms["convert"] and forms["convert"]["ema"]["choices"] == ["keep", "use", "drop"]
