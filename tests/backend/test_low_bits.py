"""Linear layers that store their weights in 8 or 4 bits, and files that bitsandbytes wrote so. `nf4.json` was made by bitsandbytes itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.backend.test_dit_layouts import CPU, checkpoint_at, load
from tests.backend.test_sd_layouts import Folder
from tests.golden.vectors import document
from tools.random_checkpoint import KINDS as SD
from tools.random_checkpoint import random_tensor, write_checkpoint
from tools.random_dit import write_file, write_parts
from webui.backend.components import Components, ModuleCall
from webui.backend.families.part_files import open_file
from webui.backend.headers import read_header
from webui.backend.low_bits import CODE, Int8Linear, Nf4Linear, unpack_nf4
from webui.backend.manager import ModelManager
from webui.backend.nf4_file import Nf4Weights, read_states
from webui.backend.parts import HERE, ModelChoice, Residence
from webui.backend.weights import open_weights
from webui.schema.errors import ModelError

STATE = "quant_state.bitsandbytes__nf4"


@pytest.fixture(scope="module")
def vector() -> dict[str, Any]:
    return document("nf4")


def half(numbers: list[int]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int16).view(torch.float16).reshape(8, 128)


def test_nf4_is_bitsandbytes(vector: dict[str, Any]) -> None:
    found = Nf4Linear(nn.Linear(128, 8)).pack(half(vector["weight"]))
    assert found["weight"].flatten().tolist() == vector["plain_packed"]
    scales = found["scales"].view(torch.float32)
    assert scales.flatten().tolist() == vector["plain_absmax"]
    assert torch.equal(unpack_nf4(found["weight"], scales).half(), half(vector["plain_dequantised"]))


def nf4_tensors(vector: dict[str, Any]) -> dict[str, Tensor]:
    """A weight `a` as bitsandbytes' own state dict has it, with scales that are quantised too."""
    kinds = {"nested_absmax": torch.float32, "quant_map": torch.float32, "nested_quant_map": torch.float32}
    state = {f"a.weight.{key}": torch.tensor(value, dtype=kinds.get(key, torch.uint8)) for key, value in vector["state_bytes"].items()}
    return {"a.weight": torch.tensor(vector["packed"], dtype=torch.uint8)[:, None], "b": torch.ones(3)} | state


def test_a_file_of_bitsandbytes_is_read_to_the_bit(vector: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(nf4_tensors(vector), path)
    states = read_states(path, read_header(path))
    with open_weights(path) as weights:
        plain, kept = Nf4Weights(weights, states), Nf4Weights(weights, states, ("a.weight",))
        assert sorted(plain.keys()) == ["a.weight", "b"] and plain.shape("a.weight") == (8, 128)
        assert torch.equal(plain.get("a.weight").half(), half(vector["dequantised"])) and torch.equal(plain.get("b"), torch.ones(3))
        assert sorted(kept.keys()) == ["a.scales", "a.weight", "b"]
        layer = Nf4Linear(nn.Linear(128, 8, bias=False))
        layer.load_state_dict({"weight": kept.get("a.weight"), "scales": kept.get("a.scales")}, assign=True)
    assert torch.equal(layer.widened().half(), half(vector["dequantised"]))
    assert torch.allclose(layer(torch.eye(128)), half(vector["dequantised"]).float().T, atol=2e-3)


@pytest.mark.parametrize(("key", "value"), [
    (f"a.weight.{STATE}", torch.tensor([*b"{}"], dtype=torch.uint8)), (f"a.weight.{STATE}", torch.tensor([255], dtype=torch.uint8)),
    ("a.weight.quant_map", torch.zeros(16)), ("a.weight.absmax", torch.zeros(15, dtype=torch.uint8)),
], ids=["no shape", "no text", "another code", "too few scales"])  # fmt: skip
def test_nonsense_is_refused_in_words(vector: dict[str, Any], tmp_path: Path, key: str, value: Tensor) -> None:
    path = tmp_path / "a.safetensors"
    save_file(nf4_tensors(vector) | {key: value}, path)
    with pytest.raises(ModelError, match="notes of NF4 that make no sense"):
        read_states(path, read_header(path))


def test_the_other_code_of_bitsandbytes_is_refused_with_a_way_out(vector: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({name.replace("__nf4", "__fp4"): value for name, value in nf4_tensors(vector).items()}, path)
    with pytest.raises(ModelError, match="FP4 of bitsandbytes") as caught:
        read_states(path, read_header(path))
    assert caught.value.hint and "gguf" in caught.value.hint


def in_nf4(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The matrices of a transformer as bitsandbytes would store them, and the numbers that stand for."""
    found, meant = dict[str, Tensor](), dict[str, Tensor]()
    for name, value in weights.items():
        if value.ndim != 2 or value.numel() % 64 or not name.endswith("weight") or "diffusion_model" not in name:
            found[name] = meant[name] = value
            continue
        packed = {key: one.flatten() for key, one in Nf4Linear(nn.Linear(64, value.numel() // 64)).pack(value.reshape(-1, 64)).items()}
        said = json.dumps({"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": list(value.shape)})
        found |= {
            name: packed["weight"][:, None], f"{name}.absmax": packed["scales"].view(torch.float32), f"{name}.quant_map": torch.tensor(CODE),
            f"{name}.{STATE}": torch.tensor([*said.encode()], dtype=torch.uint8),
        }
        blocks = packed["scales"].view(torch.float32)[:, None]
        meant[name] = unpack_nf4(packed["weight"].reshape(len(blocks), -1), blocks).reshape(value.shape).contiguous()
    return found, meant


def answer(components: Components, channels: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x, context = torch.randn(2, channels, 8, 8, generator=generator), torch.randn(2, 20, 160 if channels == 16 else 32, generator=generator)
    added = {"pooled": torch.randn(2, 48, generator=generator), "guidance": torch.full((2,), 3.5)} if channels == 16 else {}
    with torch.inference_mode():
        return components.denoise(ModuleCall(x, torch.full((2,), 700.0), context, added=added))


def held(components: Components, part: str) -> int:
    return sum(value.nbytes for value in components.modules[part].state_dict().values())


def test_a_whole_flux_in_nf4_answers_as_what_it_stands_for(tmp_path: Path) -> None:
    whole = load_file(write_file(tmp_path / "whole.safetensors", "flux-dev", 3, random_tensor))
    small, meant = in_nf4(whole)
    save_file(small, tmp_path / "nf4.safetensors")
    save_file(meant, tmp_path / "meant.safetensors")
    checkpoint = checkpoint_at(tmp_path / "nf4.safetensors")
    assert (checkpoint.family, checkpoint.variant, checkpoint.dtype) == ("flux", "dev", "NF4")
    assert open_file(checkpoint).header.shapes == read_header(tmp_path / "meant.safetensors").shapes
    packed, plain = load(tmp_path / "nf4.safetensors"), load(tmp_path / "meant.safetensors")
    expected = answer(plain)
    torch.testing.assert_close(answer(packed), expected, atol=1e-5, rtol=1e-5)
    assert expected.abs().max() > 0.1
    assert isinstance(packed.modules["transformer"].get_submodule("transformer_blocks.0.attn.to_q"), Nf4Linear), "a third of what is one in the file"
    assert held(packed, "transformer") < 0.3 * held(plain, "transformer")


@pytest.mark.parametrize(("storage", "least", "most"), [("int8", 0.4, 0.5), ("nf4", 0.3, 0.4)])
def test_weights_of_a_transformer_are_stored_in_few_bits(storage: Any, least: float, most: float, tmp_path: Path) -> None:
    files = write_parts(tmp_path, "flux-dev", 3, random_tensor)
    shelf = Folder(tuple(("vae" if part == "vae" else "text_encoder", file) for part, file in files.items() if part != "transformer"))
    manager, choice = ModelManager(CPU), ModelChoice(checkpoint_at(files["transformer"]), shelf=shelf)
    few = Residence(storage=storage)
    estimated = manager.sizes(choice, few)["transformer"].weights
    with manager.lease(choice, keep=2) as plain, manager.lease(choice, keep=2, residence=few) as small:
        expected = answer(plain)
        difference = (answer(small) - expected).abs().mean() / expected.abs().mean()
        assert 0 < difference < (0.02 if storage == "int8" else 0.3)
        share = held(small, "transformer") / held(plain, "transformer")
        assert least < share < most
        assert estimated == pytest.approx(held(small, "transformer"), rel=0.05)
        assert manager.sizes(choice, HERE)["transformer"].weights == held(plain, "transformer")
        block = small.modules["transformer"].get_submodule("transformer_blocks.0.attn.to_q")
        assert isinstance(block, Int8Linear if storage == "int8" else Nf4Linear)
        assert type(small.modules["transformer"].get_submodule("proj_out")) is nn.Linear


def test_weights_of_a_unet_too(tmp_path: Path) -> None:
    path = tmp_path / "sd.safetensors"
    write_checkpoint(path, SD["tiny"]["sd1"], stated=True)
    manager, choice = ModelManager(CPU), ModelChoice(checkpoint_at(path))
    with manager.lease(choice, keep=2) as plain, manager.lease(choice, keep=2, residence=Residence(storage="int8")) as small:
        expected = answer(plain, 4)
        assert 0 < (answer(small, 4) - expected).abs().mean() < 0.05 * expected.abs().mean()
        assert held(small, "unet") < held(plain, "unet") and held(small, "vae") == held(plain, "vae")


def test_a_row_of_zeros_stays_one() -> None:
    for layer in (Int8Linear(nn.Linear(64, 2)), Nf4Linear(nn.Linear(64, 2))):
        layer.load_state_dict(layer.pack(torch.zeros(2, 64)) | {"bias": torch.tensor([1.0, 2.0])}, assign=True)
        assert torch.equal(layer(torch.ones(1, 64)), torch.tensor([[1.0, 2.0]]))
