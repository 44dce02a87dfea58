"""A checkpoint written anew: round trips are bit-identical, every choice does what it says, and plain diffusers reads the folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.backend.conftest import Hashes
from tools.random_checkpoint import KINDS, family_of, write_checkpoint, write_folder
from webui.backend.catalog import Catalog
from webui.backend.convert import convert
from webui.backend.device import Device
from webui.backend.families import sd
from webui.backend.parts import ModelChoice, load_part
from webui.backend.recipes import ConvertFiles
from webui.backend.rewrite import ema_name
from webui.engine.prompt.tokens import encode, tokenizer_files
from webui.schema.errors import ModelError, StorageError
from webui.schema.model import Checkpoint, ModelFile

CPU = Device(torch.device("cpu"), torch.float32, torch.float32, "sdpa")
POSITIONS = "cond_stage_model.transformer.text_model.embeddings.position_ids"
KEPT = {POSITIONS: torch.arange(77)[None], "alphas_cumprod": torch.linspace(1, 0, 1000), "v_pred": torch.tensor([])}


def seen(path: Path) -> Checkpoint:
    """The checkpoint as the catalog knows it."""
    name = path.name
    return next(item for item in Catalog([path.parent], Hashes()).checkpoints() if item.name == name)


def with_others(path: Path, others: dict[str, Tensor]) -> Path:
    """The same file with more tensors in it."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file({name: tensor.clone() for name, tensor in load_file(path).items()} | others, path, metadata | {"title": "mine"})
    return path


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """The same names, dtypes, shapes and bits."""
    def alike(a: Tensor, b: Tensor) -> bool:
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))

    assert one.keys() == other.keys()
    return all(alike(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", ["sd1", "sd1-inpainting", "sd2", "sdxl", "sdxl-refiner"])
def test_to_a_folder_and_back_gives_every_bit_and_the_notes(tmp_path: Path, kind: str) -> None:
    others = {POSITIONS: KEPT[POSITIONS], "alphas_cumprod": KEPT["alphas_cumprod"]}
    source = with_others(write_checkpoint(tmp_path / "a.safetensors", KINDS["tiny"][kind]), others)
    entry = seen(source)
    if entry.family == "sd2":
        entry = entry.revise(prediction="v")
    heard: list[float] = []
    convert(ConvertFiles(entry, tmp_path / "folder", folder=True), heard.append)
    assert heard == sorted(heard) and heard[-1] == 1.0
    folder = seen(tmp_path / "folder")
    assert (folder.family, folder.layout) == (family_of(kind), "diffusers")
    convert(ConvertFiles(folder, tmp_path / "b.safetensors"))
    assert same(load_file(source), load_file(tmp_path / "b.safetensors"))
    with safe_open(source, framework="pt") as before, safe_open(tmp_path / "b.safetensors", framework="pt") as after:
        assert before.metadata() == after.metadata()
    for part in sd.plan(ModelChoice(folder)).parts:  # and it loads
        assert next(load_part(part, CPU).parameters()).dtype == torch.float32


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_a_folder_from_elsewhere_becomes_the_file_of_the_same_model(tmp_path: Path, kind: str) -> None:
    source = write_checkpoint(tmp_path / "a.safetensors", KINDS["tiny"][kind])
    write_folder(tmp_path / "folder", KINDS["tiny"][kind], family=kind, shards=2)  # float32
    convert(ConvertFiles(seen(tmp_path / "folder"), tmp_path / "b.safetensors", dtype="float16"))
    before, after = load_file(source), load_file(tmp_path / "b.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_plain_diffusers_loads_the_folder_with_its_tokenizer(tmp_path: Path) -> None:
    entry = seen(write_checkpoint(tmp_path / "a.safetensors", KINDS["tiny"]["sd1"]))
    files = {f"tokenizer/{name}": text for name, text in tokenizer_files("<|endoftext|>").items()}
    convert(ConvertFiles(entry, tmp_path / "folder", folder=True, extra=files))
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "folder", local_files_only=True, torch_dtype=torch.float32)
    text = "A cat's café, 2 naïve dogs!"
    assert pipeline.tokenizer(text).input_ids == [49406, *encode(text), 49407]
    weights = load_file(entry.path)
    assert torch.equal(pipeline.unet.conv_in.weight, weights["model.diffusion_model.input_blocks.0.0.weight"].float())


def test_dtype_prune_and_ema(tmp_path: Path) -> None:
    plain = write_checkpoint(tmp_path / "a.safetensors", KINDS["tiny"]["sd1"])
    unet = {name: tensor for name, tensor in load_file(plain).items() if name.startswith("model.diffusion_model.")}
    average = {ema_name(name): tensor.float() + 1 for name, tensor in unet.items()}
    entry = seen(with_others(plain, average | KEPT | {"model_ema.decay": torch.tensor(0.99), "first_stage_model.loss.logvar": torch.zeros(1)}))
    target = tmp_path / "b.safetensors"
    files = ConvertFiles(entry, target, replace=True)
    convert(files)
    assert same(load_file(entry.path), load_file(target))
    convert(replace(files, prune=True, ema="drop"))
    gone = {"alphas_cumprod", "model_ema.decay", "first_stage_model.loss.logvar"}
    assert load_file(target).keys() == load_file(entry.path).keys() - average.keys() - gone
    convert(replace(files, ema="use", dtype="float16"))
    used = load_file(target)
    assert all(torch.equal(used[name], average[ema_name(name)].half()) for name in unet) and not any(name.startswith("model_ema") for name in used)
    assert used[POSITIONS].dtype == torch.int64
    convert(ConvertFiles(entry, tmp_path / "folder", folder=True, ema="use"))
    convert(ConvertFiles(seen(tmp_path / "folder"), target, dtype="float16", replace=True))
    again = load_file(target)
    assert all(torch.equal(again[name], average[ema_name(name)].half()) for name in unet)


def test_a_file_with_averages_only(tmp_path: Path) -> None:
    plain = load_file(write_checkpoint(tmp_path / "a.safetensors", KINDS["tiny"]["sd1"]))
    averaged = {ema_name(name) if name.startswith("model.diffusion_model.") else name: tensor for name, tensor in plain.items()}
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        save_file(averaged, tmp_path / "e.safetensors", file.metadata())
    entry = seen(tmp_path / "e.safetensors")
    convert(ConvertFiles(entry, tmp_path / "used.safetensors", ema="use"))
    assert same(load_file(tmp_path / "used.safetensors"), plain)
    convert(ConvertFiles(entry, tmp_path / "folder", folder=True))
    convert(ConvertFiles(seen(tmp_path / "folder"), tmp_path / "back.safetensors"))
    assert same(load_file(tmp_path / "back.safetensors"), plain)
    with pytest.raises(ModelError, match="the only ones of the UNet"):
        convert(ConvertFiles(entry, tmp_path / "none.safetensors", ema="drop"))


def test_a_vae_is_baked_into_either_layout(tmp_path: Path) -> None:
    entry = seen(write_checkpoint(tmp_path / "a.safetensors", KINDS["tiny"]["sd1"]))
    other = load_file(write_checkpoint(tmp_path / "other.safetensors", KINDS["tiny"]["sd1"], seed=1))
    vae = {name.removeprefix("first_stage_model."): tensor for name, tensor in other.items() if name.startswith("first_stage_model.")}
    save_file(vae, tmp_path / "vae.safetensors")
    stat = (tmp_path / "vae.safetensors").stat()
    chosen = ModelFile(kind="vae", name="vae", path=str(tmp_path / "vae.safetensors"), size=stat.st_size, mtime=stat.st_mtime)
    convert(ConvertFiles(entry, tmp_path / "b.safetensors", vae=chosen))
    convert(ConvertFiles(entry, tmp_path / "folder", folder=True, vae=chosen))
    convert(ConvertFiles(seen(tmp_path / "folder"), tmp_path / "c.safetensors"))
    for made in ("b", "c"):
        weights = load_file(tmp_path / f"{made}.safetensors")
        assert weights.keys() == load_file(entry.path).keys()
        assert all(torch.equal(weights[f"first_stage_model.{name}"], tensor) for name, tensor in vae.items())


def test_what_cannot_be_done_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    entry = seen(write_checkpoint(tmp_path / "a.safetensors", KINDS["tiny"]["sd1"]))
    before = {path.name for path in tmp_path.iterdir()}

    def stop(fraction: float) -> None:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        convert(ConvertFiles(entry, tmp_path / "folder", folder=True), stop)
    with pytest.raises(ModelError, match="no EMA weights"):
        convert(ConvertFiles(entry, tmp_path / "folder", folder=True, ema="use"))
    with pytest.raises(ModelError, match="of a family that is not converted"):
        convert(ConvertFiles(entry.revise(family="pipeline"), tmp_path / "folder", folder=True))
    two = seen(write_checkpoint(tmp_path / "two.safetensors", KINDS["tiny"]["sd2"])).revise(prediction=None)
    with pytest.raises(ModelError, match="predicts v or epsilon"):
        convert(ConvertFiles(two, tmp_path / "f", folder=True), stop)  # said before there is progress
    (tmp_path / "two.safetensors").unlink()
    assert {path.name for path in tmp_path.iterdir()} == before
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("mine")
    with pytest.raises(StorageError, match="is there already"):
        convert(ConvertFiles(entry, tmp_path / "folder", folder=True))
    assert (tmp_path / "folder" / "mine").read_text() == "mine"
    convert(ConvertFiles(entry, tmp_path / "folder", folder=True, replace=True))
    assert seen(tmp_path / "folder").family == "sd1" and not (tmp_path / "folder" / "mine").exists()
