"""T5 as a GGUF file, as llama.cpp converts it, written by gguf's own writer: recognised, packed in memory, answering as the numbers it stands for."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.backend.test_dit_layouts import load
from tests.backend.test_sd_layouts import Folder
from tools.random_checkpoint import random_tensor
from tools.random_dit import PIECES, write_parts, write_tokenizer
from webui.backend.components import TextEncoder
from webui.backend.families.places import find_part
from webui.backend.families.spiece import read_ggml
from webui.backend.families.t5_keys import published_name
from webui.backend.headers import read_header
from webui.backend.identify import identify
from webui.backend.network_files import NetworkFiles
from webui.schema.errors import ModelError

TEXT = "a red house"


def t5_gguf(path: Path, weights: dict[str, torch.Tensor], kind: str, words: bool = True) -> dict[str, torch.Tensor]:
    """A file under llama.cpp's names, its matrices quantised, and the numbers that it stands for under the published ones."""
    values, writer = dict[str, torch.Tensor](), gguf.GGUFWriter(path, "t5encoder")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.T5ENCODER, 2)
    for name, value in weights.items():
        theirs = names.get_name(name, try_suffixes=(".weight",))
        assert theirs is not None
        if value.ndim < 2 or "relative" in name:
            writer.add_tensor(theirs, value.float().numpy())
            values[name] = value.float()
            continue
        blocks = gguf.quants.quantize(value.float().numpy(), gguf.GGMLQuantizationType[kind])
        writer.add_tensor(theirs, blocks, raw_dtype=gguf.GGMLQuantizationType[kind])
        values[name] = torch.from_numpy(gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[kind]))
    writer.add_tokenizer_model("t5")
    if words:
        pieces = [*PIECES, "[PAD23]", "[PAD24]"]
        writer.add_token_list(pieces)
        writer.add_token_scores([-float(len(PIECES) - len(piece)) for piece in pieces])
        writer.add_token_types([3, 3, 2, *[1] * (len(PIECES) - 3), 5, 5])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


def shelf_of(files: dict[str, Path], t5: Path) -> Folder:
    return Folder((("vae", files["vae"]), ("text_encoder", files["text_encoder"]), ("text_encoder", t5)))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Flux in parts, with no tokenizer anywhere."""
    files = write_parts(tmp_path / "parts", "flux-dev", 3, random_tensor)
    (tmp_path / "parts" / "tokenizer.json").unlink()
    return files


def words_of(encoder: TextEncoder) -> list[int]:
    assert encoder.tokenize is not None
    return encoder.tokenize(TEXT)


@pytest.mark.parametrize("kind", ["Q8_0", "Q5_1", "Q4_0"])
def test_it_answers_as_the_numbers_that_it_stands_for(files: dict[str, Path], kind: str, tmp_path: Path) -> None:
    small, same = tmp_path / "t5" / "t5xxl.gguf", tmp_path / "same" / "t5xxl.safetensors"
    for path in (small, same):
        path.parent.mkdir()
    values = t5_gguf(small, load_file(files["text_encoder_2"]), kind)
    save_file({name: value.contiguous() for name, value in values.items()}, same)
    packed = load(files["transformer"], shelf_of(files, small))
    own, module = packed.text_encoders[1], packed.modules["text_encoder_2"]
    tokens = words_of(own)
    assert [PIECES[token] for token in tokens] == ["▁a", "▁red", "▁house"]
    read_from = Folder((*shelf_of(files, same).found, ("text_encoder", write_tokenizer(tmp_path / "words" / "tokenizer.json"))))
    plain = load(files["transformer"], read_from)
    ids = torch.tensor([[*tokens, 1, *[0] * 8]])
    with torch.inference_mode():
        expected = plain.text_encoders[1].encode(ids, None).states
        torch.testing.assert_close(own.encode(ids, None).states, expected, atol=2e-2, rtol=0)  # diffusers unpacks to 16 bits
        assert expected.abs().max() > 0.5
    held = {name: value for name, value in module.state_dict().items() if value.dtype == torch.uint8}
    assert len(held) == 7 * 2, "q, k, v, o and the three of the feed-forward, in both blocks"
    numbers = sum(value.nbytes for value in plain.modules["text_encoder_2"].state_dict().values())
    assert sum(value.nbytes for value in module.state_dict().values()) < numbers * 0.5
    assert np.isclose(sum(value.nbytes for value in held.values()), sum(values[name].numel() for name in values if "block" in name), rtol=0.6)


def test_without_words_in_it_the_way_out_is_said(files: dict[str, Path], tmp_path: Path) -> None:
    small = tmp_path / "t5xxl.gguf"
    t5_gguf(small, load_file(files["text_encoder_2"]), "Q8_0", words=False)
    with pytest.raises(ModelError, match="tokenizer of T5, cannot be read"):
        load(files["transformer"], shelf_of(files, small))


def test_it_is_recognised_and_listed(files: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "text_encoder"
    folder.mkdir()
    t5_gguf(folder / "t5-v1_1-xxl-encoder-Q8_0.gguf", load_file(files["text_encoder_2"]), "Q8_0")
    found = NetworkFiles({"text_encoder": [folder]}, None, None).files("text_encoder")  # pyright: ignore[reportArgumentType] (hashes nothing)
    assert [entry.name for entry in found] == ["t5-v1_1-xxl-encoder-Q8_0"]
    shapes = read_header(Path(found[0].path)).shapes
    place = find_part(shapes, "text_encoder_3", "t5")
    assert place is not None and place.words == "ggml" and set(place.below(shapes)) == set(load_file(files["text_encoder_2"]))
    with pytest.raises(ModelError, match="is a text encoder alone"):
        identify(Path(found[0].path))


def test_names_that_it_does_not_know_stay() -> None:
    assert published_name("enc.blk.3.ffn_gate.weight") == "encoder.block.3.layer.1.DenseReluDense.wi_0.weight"
    assert [published_name(name) for name in ("enc.blk.3.other.weight", "x", "token_embd.weight")] == ["enc.blk.3.other.weight", "x", "shared.weight"]


def test_words_marked_as_fillers_are_dropped_and_extra_ones_added(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "t5.gguf"
    t5_gguf(path, load_file(files["text_encoder_2"]), "Q8_0")
    words = read_ggml(path)
    assert words.get_vocab_size() == len(PIECES) + 100 and words.token_to_id("<extra_id_99>") == len(PIECES)
    (tmp_path / "cut.gguf").write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="damaged"):
        read_ggml(tmp_path / "cut.gguf")
