"""SD 3 and Flux between one file and a diffusers folder: every bit comes back, plain diffusers reads the folder, quantised files are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.flux.pipeline_flux_fill import FluxFillPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.backend.test_convert import same
from tests.backend.test_dit_layouts import checkpoint_at, load
from tools.random_checkpoint import random_tensor
from tools.random_dit import file_weights, write_file, write_folder, write_tokenizer
from webui.backend.components import ModuleCall
from webui.backend.convert import convert
from webui.backend.recipes import ConvertFiles
from webui.engine.prompt.tokens import tokenizer_files
from webui.schema.errors import ModelError

KINDS = ["sd3-medium", "sd3-medium-3.5", "flux-dev", "flux-schnell", "flux-fill"]
PIPELINES = {"sd3": StableDiffusion3Pipeline, "flux": FluxPipeline, "fill": FluxFillPipeline}


def bare(name: str) -> str:
    """Without what encoders are put behind in one program and not in another."""
    return name.removeprefix("text_model.").removeprefix("encoder.")


def to_folder(source: Path, target: Path) -> Path:
    convert(ConvertFiles(checkpoint_at(source), target, folder=True))
    return target


@pytest.mark.parametrize("kind", KINDS)
def test_to_a_folder_and_back_gives_every_bit_and_the_notes(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "a.safetensors"
    weights = file_weights(kind, 3, random_tensor) | {"further": torch.ones(3, dtype=torch.int64)}
    t5 = "text_encoders.t5xxl.transformer."
    weights[f"{t5}encoder.embed_tokens.weight"] = weights[f"{t5}shared.weight"].clone()
    if kind == "sd3-medium":
        weights.pop("text_encoders.clip_l.transformer.text_projection.weight")
    save_file(weights, source, {"format": "pt", "title": "mine"})
    write_tokenizer(tmp_path / "tokenizer.json")
    folder = to_folder(source, tmp_path / "folder")
    found = checkpoint_at(folder)
    before = checkpoint_at(source)
    assert (found.family, found.variant, found.layout, found.prediction) == (before.family, before.variant, "diffusers", "flow")
    convert(ConvertFiles(found, tmp_path / "b.safetensors"))
    assert same(load_file(tmp_path / "b.safetensors"), weights)
    with safe_open(tmp_path / "b.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt", "title": "mine"}


@pytest.mark.parametrize("kind", ["sd3-medium-3.5", "flux-dev", "flux-schnell", "flux-fill"])
def test_plain_diffusers_reads_the_folder(tmp_path: Path, kind: str) -> None:
    source = write_file(tmp_path / "a.safetensors", kind, 3, random_tensor)
    extra = {f"{name}/{file}": text for name in ("tokenizer", *(["tokenizer_2"] if kind.startswith("sd3") else []))
             for file, text in tokenizer_files("<|endoftext|>").items()}
    convert(ConvertFiles(checkpoint_at(source), tmp_path / "folder", folder=True, extra=extra))
    pipe: Any = PIPELINES[kind.split("-")[1] if kind == "flux-fill" else kind.split("-")[0]].from_pretrained(
        tmp_path / "folder", torch_dtype=torch.float32, local_files_only=True,
    )
    ours = load(source)
    for part, module in ours.modules.items():
        theirs = {bare(name): value for name, value in getattr(pipe, part).state_dict().items()}
        for name, value in module.state_dict().items():
            assert torch.equal(theirs[bare(name)], value), (part, name)
    shift = pipe.scheduler.config
    assert (shift.shift, shift.use_dynamic_shifting) == {"sd3-medium-3.5": (3.0, False), "flux-schnell": (1.0, False)}.get(kind, (3.0, True))


def test_a_folder_written_by_hand_becomes_one_file(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "flux", "flux-dev", 3, random_tensor, shards=2)
    convert(ConvertFiles(checkpoint_at(folder), tmp_path / "one.safetensors"))
    assert same(load_file(tmp_path / "one.safetensors"), file_weights("flux-dev", 3, random_tensor))
    write_tokenizer(tmp_path / "tokenizer.json")
    x, context = torch.ones(1, 16, 8, 8), torch.ones(1, 20, 160)
    call = ModuleCall(x, torch.full((1,), 700.0), context, added={"pooled": torch.ones(1, 48), "guidance": torch.full((1,), 3.5)})
    with torch.inference_mode():
        assert torch.equal(load(tmp_path / "one.safetensors").denoise(call), load(folder).denoise(call))


def test_without_t5_the_folder_says_so(tmp_path: Path) -> None:
    weights = {name: value for name, value in file_weights("sd3-medium", 3, random_tensor).items() if "t5xxl" not in name}
    save_file(weights, tmp_path / "a.safetensors")
    folder = to_folder(tmp_path / "a.safetensors", tmp_path / "folder")
    index = json.loads((folder / "model_index.json").read_text())
    assert index["text_encoder_3"] == index["tokenizer_3"] == [None, None]
    convert(ConvertFiles(checkpoint_at(folder), tmp_path / "b.safetensors"))
    assert same(load_file(tmp_path / "b.safetensors"), weights)


def test_quantised_files_are_refused(tmp_path: Path) -> None:
    weights = file_weights("flux-dev", 3, random_tensor)
    save_file(weights | {"model.diffusion_model.img_in.scale_weight": torch.ones(())}, tmp_path / "a.safetensors")
    write_tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(ModelError, match="is quantised, and is not converted"):
        to_folder(tmp_path / "a.safetensors", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
