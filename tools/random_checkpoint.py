"""Makes a checkpoint with random weights in genuine Stable Diffusion 1.x layout.

    python tools/random_checkpoint.py PATH [--size tiny|full] [--seed N] [--layout file|pickle|shards|folder|unet]

The same seed gives the same weights in every layout: one safetensors file, a PyTorch pickle (.ckpt), an index with shards beside it, a diffusers
folder, or the UNet alone under CompVis' names.

`tiny` is a model of a few megabytes whose UNet runs in milliseconds, for tests and for a machine without models; `full` has exactly SD 1.5's sizes
(2.1 GB), for measurements. The pictures are abstract, but they change with prompt and seed. Tensors are written one by one.
"""

from __future__ import annotations

import argparse
import json
import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from webui.backend.families.ldm_keys import UNET_PREFIX
from webui.backend.families.sd1 import as_convolution, build_modules, to_ldm_names, to_module_weights
from webui.backend.families.sd1_config import CONFIG_KEY, Sd1Config, TextConfig, UNetConfig, VaeConfig
from webui.backend.layouts import stamp

TINY = Sd1Config(
    unet=UNetConfig(channels=(32, 64), attention=(False, True), layers=1, heads=4, context=32, groups=16),
    vae=VaeConfig(channels=(16, 16, 32, 32), layers=1, groups=8),
    text_encoder=TextConfig(width=32, inner=64, layers=2, heads=2),
)
SIZES = {"tiny": TINY, "full": Sd1Config()}

GAINS = {".attn2.to_v.": 4.0, ".attn2.to_out.": 2.0}
"""Spread of some weights against 1/sqrt(inputs): the text must be heard through an untrained attention, which averages over 77 tokens."""


def write_checkpoint(path: Path, config: Sd1Config = TINY, seed: int = 0) -> Path:
    """Write a float16 safetensors file with random weights; the same seed gives the same bytes. Holds one tensor at a time."""
    shapes = _shapes(config)
    header: dict[str, object] = {"__metadata__": {"format": "pt", CONFIG_KEY: config.model_dump_json()}}
    offset = 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in _tensors(shapes, seed):
            file.write(tensor.to(torch.float16).contiguous().numpy().tobytes())
    return path


def random_weights(config: Sd1Config = TINY, seed: int = 0) -> dict[str, torch.Tensor]:
    """What `write_checkpoint` writes with this seed, in memory: LDM keys, float16."""
    shapes = _shapes(config)
    return {name: tensor.to(torch.float16).contiguous() for name, tensor in zip(shapes, _tensors(shapes, seed), strict=True)}


def write_pickle(path: Path, config: Sd1Config = TINY, seed: int = 0) -> Path:
    """The same as PyTorch's own file, as a training program leaves it: `state_dict` among other things."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": random_weights(config, seed), "epoch": 1, "global_step": 1000, CONFIG_KEY: config.model_dump_json()}, path)
    return path


def write_shards(path: Path, config: Sd1Config = TINY, seed: int = 0, count: int = 3) -> Path:
    """The same in `count` safetensors files beside the index `path`, which ends in `.safetensors.index.json`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = random_weights(config, seed)
    names, places = list(weights), {}
    for number in range(count):
        shard = f"{path.name.removesuffix('.safetensors.index.json')}-{number + 1:05}-of-{count:05}.safetensors"
        places |= dict.fromkeys(names[number::count], shard)
        save_file({name: weights[name] for name in names[number::count]}, path.parent / shard, {CONFIG_KEY: config.model_dump_json()})
    path.write_text(json.dumps({"metadata": {}, "weight_map": places}), encoding="utf-8")
    return path


def write_unet(path: Path, config: Sd1Config = TINY, seed: int = 0) -> Path:
    """The UNet alone in a safetensors file, under CompVis' names without their prefix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = random_weights(config, seed)
    own = {name.removeprefix(UNET_PREFIX): tensor for name, tensor in weights.items() if name.startswith(UNET_PREFIX)}
    save_file(own, path, {CONFIG_KEY: config.model_dump_json()})
    return path


def write_folder(path: Path, config: Sd1Config = TINY, seed: int = 0) -> Path:
    """The same as a diffusers folder, without tokenizer."""
    weights, modules = random_weights(config, seed), build_modules(config)
    for part, stem in (("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model"), ("text_encoder", "model")):
        (path / part).mkdir(parents=True, exist_ok=True)
        own = to_module_weights(weights, part, config)
        save_file({name: tensor.contiguous() for name, tensor in own.items()}, path / part / f"{stem}.safetensors", {"format": "pt"})
    modules.unet.save_config(path / "unet")
    modules.vae.save_config(path / "vae")
    modules.text_encoder.config.save_pretrained(path / "text_encoder")
    scheduler = config.scheduler
    (path / "scheduler").mkdir(exist_ok=True)
    (path / "scheduler" / "scheduler_config.json").write_text(json.dumps({
        "_class_name": "DDIMScheduler", "beta_start": scheduler.beta_start, "beta_end": scheduler.beta_end, "beta_schedule": "scaled_linear",
        "num_train_timesteps": scheduler.timesteps, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1,
        "prediction_type": {"epsilon": "epsilon", "v": "v_prediction"}[scheduler.prediction],
    }), encoding="utf-8")
    entries = {
        "_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"], "scheduler": ["diffusers", "DDIMScheduler"], "tokenizer": [None, None],
        "safety_checker": [None, None], "feature_extractor": [None, None],
    }
    (path / "model_index.json").write_text(json.dumps(entries), encoding="utf-8")
    return path


LAYOUTS = {"file": write_checkpoint, "pickle": write_pickle, "shards": write_shards, "folder": write_folder, "unet": write_unet}


def _shapes(config: Sd1Config) -> dict[str, tuple[int, ...]]:
    modules = build_modules(config)
    states = {part: getattr(modules, part).state_dict() for part in ("unet", "vae", "text_encoder")}
    places = {name: place.partition("/") for name, place in to_ldm_names(modules).items()}
    return {name: tuple(as_convolution(name, states[part][key]).shape) for name, (part, _, key) in places.items()}


def _tensors(shapes: dict[str, tuple[int, ...]], seed: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for name, shape in shapes.items():
        yield _tensor(name, shape, generator)


def _tensor(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Norms are the identity, biases zero, everything else normal with 1/sqrt(inputs), which keeps the scale from layer to layer."""
    if len(shape) == 1:
        return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
    if "_embedding." in name:
        return torch.randn(shape, generator=generator) * (1.0 if "token" in name else 0.2)
    gain = next((gain for part, gain in GAINS.items() if part in name), 1.0)
    return torch.randn(shape, generator=generator) * (gain / math.sqrt(math.prod(shape[1:])))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Makes a checkpoint with random weights in Stable Diffusion 1.x layout.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--size", choices=sorted(SIZES), default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layout", choices=list(LAYOUTS), default="file")
    options = parser.parse_args()
    path = LAYOUTS[options.layout](options.path, SIZES[options.size], options.seed)
    print(f"{path}: {stamp(path)[1] / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
