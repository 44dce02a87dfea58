"""What a file is, from its header; and what it says about every kind of wrong file."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from webui.backend.headers import read_header
from webui.backend.identify import SUGGESTS_KEY, Identity, identify
from webui.schema.errors import ModelError
from webui.schema.model import Suggestions

UNET_IN = "model.diffusion_model.input_blocks.0.0.weight"
CLIP = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
VAE = "first_stage_model.decoder.conv_in.weight"
SD1 = {UNET_IN: (8, 4, 3, 3), CLIP: (10, 4), VAE: (4, 4, 3, 3)}


def _message(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        identify(path)
    assert caught.value.field == "checkpoint"
    assert caught.value.hint
    assert path.name in caught.value.message
    return caught.value.message


def test_sd1(tiny_checkpoint: Path, tmp_path: Path, fake) -> None:
    assert identify(tiny_checkpoint).family == "sd1"
    assert identify(fake(tmp_path / "lora vae inpainting xl.safetensors", SD1)).family == "sd1"  # names say nothing


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"lora_unet_down_blocks_0.lora_down.weight": (4, 8), "lora_unet_down_blocks_0.lora_up.weight": (8, 4)}, "a LoRA"),
        ({"transformer.blocks.0.attn.lora_A.weight": (4, 8)}, "a LoRA"),
        ({"decoder.conv_in.weight": (4, 4, 3, 3), "decoder.conv_out.weight": (3, 4, 3, 3), "encoder.conv_in.weight": (4, 3, 3, 3)}, "a VAE"),
        ({"control_model.zero_convs.0.0.weight": (4, 4, 1, 1), "control_model.input_blocks.0.0.weight": (4, 4, 3, 3)}, "a ControlNet"),
        ({"emb_params": (2, 768)}, "an embedding"),
        (SD1 | {UNET_IN: (8, 9, 3, 3)}, "inpainting"),
        ({UNET_IN: (8, 4, 3, 3), CLIP: (10, 4)}, "without its VAE"),
        ({UNET_IN: (8, 4, 3, 3), "cond_stage_model.model.token_embedding.weight": (10, 4)}, "Stable Diffusion 2"),
        ({UNET_IN: (8, 4, 3, 3), "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight": (10, 4)}, "Stable Diffusion XL"),
        ({"model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": (4, 4)}, "Stable Diffusion 3"),
        ({"double_blocks.0.img_attn.qkv.weight": (4, 4)}, "Flux"),
        ({UNET_IN: (8, 4, 3, 3)}, "without its text encoder"),
        ({"words.weight": (2, 2)}, "not a model of a family known"),
        ({}, "not a model of a family known"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_kinds_are_named(tmp_path: Path, fake, shapes: dict, words: str) -> None:
    assert words in _message(fake(tmp_path / "x.safetensors", shapes))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"abc", "cut short"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4265380512\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (b"\n<html lang=en>Sign in</html>" + b" " * 50, "a web page"),
        (b"PK\x03\x04" + b"\0" * 100, "a PyTorch pickle"),
        (b"just some text that somebody saved", "not a safetensors file"),
        (struct.pack("<Q", 2**62) + b"{}", "not a safetensors file"),
        (struct.pack("<Q", 500) + b'{"a": ', "cut short"),
        (struct.pack("<Q", 6) + b"{nojso", "damaged"),
        (struct.pack("<Q", 16) + b'{"a": [1, 2, 3]}', "damaged"),
        (struct.pack("<Q", 13) + b'{"a": {"b":1}', "damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_model_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    assert words in _message(path)


def test_truncated_data(tmp_path: Path, fake) -> None:
    path = fake(tmp_path / "short.safetensors", SD1)
    path.write_bytes(path.read_bytes()[:-1])
    assert "cut short" in _message(path)


def test_sizes_that_do_not_agree(tmp_path: Path) -> None:
    text = json.dumps({UNET_IN: {"dtype": "F16", "shape": [8, 4, 3, 3], "data_offsets": [0, 10]}}).encode()
    path = tmp_path / "odd.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 10)
    assert "do not agree" in _message(path)


def test_deeply_nested_header(tmp_path: Path) -> None:
    text = b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    path = tmp_path / "deep.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    assert "damaged" in _message(path)


def test_ckpt_is_not_supported_yet(tmp_path: Path) -> None:
    path = tmp_path / "old.ckpt"
    path.write_bytes(b"anything")
    assert "not supported yet" in _message(path)


def test_a_file_that_vanished(tmp_path: Path) -> None:
    assert "not there any more" in _message(tmp_path / "gone.safetensors")


def test_header_of_a_real_file(tiny_checkpoint: Path) -> None:
    header = read_header(tiny_checkpoint)
    assert header.shapes[UNET_IN] == (32, 4, 3, 3)
    assert "easel.config" in header.metadata


def test_suggestions_of_a_file_are_read(tmp_path: Path, fake) -> None:
    text = json.dumps({"prompts": ["a red house"], "width": 256, "height": 320, "cfg_scale": 5})
    suggests = identify(fake(tmp_path / "a.safetensors", SD1, {SUGGESTS_KEY: text})).suggests
    assert suggests == Suggestions(prompts=("a red house",), width=256, height=320, cfg_scale=5)
    assert identify(fake(tmp_path / "b.safetensors", SD1)).suggests is None


@pytest.mark.parametrize("text", ["{", "[]", '{"width": 7}', '{"prompts": "no list"}', '{"other": 1}'])
def test_nonsense_in_suggestions_does_not_cost_the_model(tmp_path: Path, fake, text: str) -> None:
    assert identify(fake(tmp_path / "a.safetensors", SD1, {SUGGESTS_KEY: text})) == Identity("sd1")
