"""Makes checkpoints with random weights, in the layouts that real ones have.

    python tools/random_checkpoint.py PATH [--kind sd1|sd2|sdxl|…] [--size tiny|full] [--seed N] [--layout file|pickle|shards|folder|unet]

The same seed gives the same weights in every layout: one safetensors file, a PyTorch pickle (.ckpt), an index with shards beside it, a diffusers
folder, or the UNet alone under CompVis' names.

`tiny` is a model of a few megabytes whose UNet runs in milliseconds, for tests and for a machine without models; `full` has exactly the family's
sizes (SD 1.5: 2.1 GB), for measurements; of SD 3 and Flux the published widths with one block of each kind (Flux: 1 GB). The pictures are abstract,
but they change with prompt and seed. Tensors of one file are written one by one.
"""

from __future__ import annotations

import argparse
import json
import math
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools import random_dit
from webui.backend.families.ldm import LOGIT_SCALE, prefixes, read_part, to_ldm_weights
from webui.backend.families.ldm_keys import UNET_PREFIX
from webui.backend.families.part_files import BASE_KEY
from webui.backend.families.places import find_part
from webui.backend.families.sd_config import CONFIG_KEY, PRESETS, SdConfig, TextConfig, UNetConfig, VaeConfig
from webui.backend.families.sd_modules import build_modules, builders
from webui.backend.layouts import stamp
from webui.backend.weights import open_weights

Shapes = dict[str, tuple[int, ...]]

_VAE = VaeConfig(channels=(16, 16, 32, 32), layers=1, groups=8)
_CLIP = TextConfig(width=32, inner=64, layers=2, heads=2)
_OPEN_CLIP = TextConfig(width=48, inner=64, layers=3, heads=3, kind="open_clip", projection=48, layer=2)

TINY = SdConfig(
    unet=UNetConfig(channels=(32, 64), attention=(False, True), layers=1, heads=4, context=32, groups=16), vae=_VAE, text_encoder=_CLIP,
)
_TINY_2 = SdConfig(
    unet=UNetConfig(channels=(32, 64), attention=(1, 1), layers=1, heads=(2, 4), context=48, groups=16, linear=True), vae=_VAE,
    text_encoder=_OPEN_CLIP, scheduler=PRESETS["sd2"].scheduler,
)
_TINY_XL = SdConfig(
    unet=UNetConfig(
        channels=(32, 64, 64), attention=(0, 1, 2), layers=1, heads=(2, 4, 4), context=80, groups=16, linear=True, described=48 + 6 * 256,
    ),
    vae=_VAE.revise(scaling=0.13025), text_encoder=_CLIP.revise(layer=2, normed=False), text_encoder_2=_OPEN_CLIP.revise(normed=False),
)
_TINY_REFINER = SdConfig(
    unet=UNetConfig(
        channels=(32, 64, 64), attention=(0, 1, 0), layers=1, heads=(2, 4, 4), context=48, groups=16, linear=True, described=48 + 5 * 256,
    ),
    vae=_TINY_XL.vae, text_encoder=None, text_encoder_2=_TINY_XL.text_encoder_2,
)


def _seeing(config: SdConfig, channels: int) -> SdConfig:
    """The same, looking at a picture of so many channels."""
    return config.revise(unet=config.unet.revise(picture_channels=channels))


_BASES = {"tiny": {"sd1": TINY, "sd2": _TINY_2, "sdxl": _TINY_XL, "sdxl-refiner": _TINY_REFINER}, "full": dict(PRESETS)}
_PICTURES = {"sd1-inpainting": 5, "sd1-edit": 4, "sd2-inpainting": 5, "sd2-depth": 1, "sdxl-inpainting": 5, "sdxl-edit": 4}
_CLASSED = {"sd2-unclip-l": 1536, "sd2-unclip-h": 2048}
KINDS: Mapping[str, Mapping[str, SdConfig]] = {
    size: bases | {kind: _seeing(bases[kind.split("-")[0]], channels) for kind, channels in _PICTURES.items()}
    | {kind: bases["sd2"].revise(unet=bases["sd2"].unet.revise(classed=width)) for kind, width in _CLASSED.items()}
    for size, bases in _BASES.items()
}
"""Sizes → kind → config. The family of a kind is the first part of its name, but for `sdxl-refiner`."""

GAINS = {".attn2.to_v.": 4.0, ".attn2.to_out.": 2.0}
"""Spread of some weights against 1/sqrt(inputs): the text must be heard through an untrained attention, which averages over 77 tokens."""


def family_of(kind: str) -> str:
    """The family of a kind."""
    return kind if kind in PRESETS else kind.split("-")[0]


def write_checkpoint(path: Path, config: SdConfig = TINY, seed: int = 0, *, stated: bool = True) -> Path:
    """Write a float16 safetensors file with random weights in LDM's layout; the same seed gives the same bytes. Holds one tensor at a time.
    `stated`: it tells its sizes."""
    return _write(path, _shapes(config), seed, {CONFIG_KEY: config.model_dump_json()} if stated else {})


def random_weights(config: SdConfig = TINY, seed: int = 0) -> dict[str, Tensor]:
    """What `write_checkpoint` writes with this seed, in memory: LDM keys, float16."""
    shapes = _shapes(config)
    return {name: tensor.to(torch.float16).contiguous() for name, tensor in zip(shapes, _tensors(shapes, seed), strict=True)}


def write_pickle(path: Path, config: SdConfig = TINY, seed: int = 0) -> Path:
    """The same as PyTorch's own file, as a training program leaves it: `state_dict` among other things."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": random_weights(config, seed), "epoch": 1, "global_step": 1000, CONFIG_KEY: config.model_dump_json()}, path)
    return path


def write_shards(path: Path, config: SdConfig = TINY, seed: int = 0, count: int = 3) -> Path:
    """The same in `count` safetensors files beside the index `path`, which ends in `.safetensors.index.json`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _save_shards(path, random_weights(config, seed), count, {CONFIG_KEY: config.model_dump_json()})
    return path


def write_unet(path: Path, config: SdConfig = TINY, seed: int = 0, *, base: str = "") -> Path:
    """The UNet alone in a safetensors file, under CompVis' names without their prefix. `base`: the checkpoint that it says it belongs to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = {name.removeprefix(UNET_PREFIX): tensor for name, tensor in random_weights(config, seed).items() if name.startswith(UNET_PREFIX)}
    save_file(own, path, {CONFIG_KEY: config.model_dump_json()} | ({BASE_KEY: base} if base else {}))
    return path


def write_folder(path: Path, config: SdConfig = TINY, seed: int = 0, *, family: str = "sd1", shards: int = 1) -> Path:
    """The same as a diffusers folder, without tokenizers; `shards`: files of the UNet."""
    whole = write_checkpoint(path / "whole.safetensors", config, seed)
    pipeline = "StableDiffusionXLPipeline" if config.unet.described else "StableDiffusionPipeline"
    index: dict[str, object] = {"_class_name": pipeline, "_diffusers_version": "0.42.0", "scheduler": ["diffusers", "EulerDiscreteScheduler"]}
    with open_weights(whole) as weights:
        for name in prefixes(config):
            shown, own = config, builders(config)[name]
            if family == "sd2" and name == "text_encoder" and config.text_encoder is not None:
                shown = config.revise(text_encoder=config.text_encoder.revise(layers=config.text_encoder.layers - 1, projection=0))
                own = builders(shown)[name]
            module, place = own(), find_part(weights.keys(), name, config.texts[name].kind if name in config.texts else "clip")
            assert place is not None
            values = {key: value.contiguous() for key, value in read_part(weights, place, shown, name, module.state_dict()).items()}
            _save(path / name, module, values, shards if name == "unet" else 1)
            index[name] = ["transformers" if name in config.texts else "diffusers", type(module).__name__]
    whole.unlink()
    prediction = {"v": "v_prediction"}.get(config.scheduler.prediction, "epsilon")
    scheduler = {
        "_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000, "prediction_type": prediction, "rescale_betas_zero_snr": config.scheduler.zero_snr,
    }
    for file, content in (("model_index.json", index), ("scheduler/scheduler_config.json", scheduler)):
        (path / file).parent.mkdir(exist_ok=True)
        (path / file).write_text(json.dumps(content))
    return path


def _save(folder: Path, module: nn.Module, values: Mapping[str, Tensor], shards: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = isinstance(module, PreTrainedModel)
    config = module.config.to_json_string() if text else module.to_json_string()  # pyright: ignore[reportCallIssue]
    (folder / "config.json").write_text(config)
    # transformers 4 wrote every name of a text model behind `text_model.`, and so are the files that are in circulation
    names = {name: f"text_model.{name}" if text and not name.startswith("text_") else name for name in values}
    stem = "model" if text else "diffusion_pytorch_model"
    if shards == 1:
        save_file({names[name]: value for name, value in values.items()}, folder / f"{stem}.safetensors", {"format": "pt"})
        return
    _save_shards(folder / f"{stem}.safetensors.index.json", {names[name]: value for name, value in values.items()}, shards, {"format": "pt"})


def _save_shards(index: Path, weights: Mapping[str, Tensor], count: int, metadata: dict[str, str]) -> None:
    names, places = list(weights), dict[str, str]()
    for number in range(count):
        shard = f"{index.name.removesuffix('.safetensors.index.json')}-{number + 1:05}-of-{count:05}.safetensors"
        places |= dict.fromkeys(names[number::count], shard)
        save_file({name: weights[name] for name in names[number::count]}, index.parent / shard, metadata)
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}), encoding="utf-8")


LAYOUTS = {"file": write_checkpoint, "pickle": write_pickle, "shards": write_shards, "folder": write_folder, "unet": write_unet}


def _shapes(config: SdConfig) -> Shapes:
    return {name: tuple(value.shape) for name, value in to_ldm_weights(build_modules(config)).items()}


def _write(path: Path, shapes: Shapes, seed: int, metadata: dict[str, str]) -> Path:
    header: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
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


def _tensors(shapes: Shapes, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for name, shape in shapes.items():
        yield random_tensor(name, shape, generator)


def random_tensor(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Norms are the identity, biases zero, everything else normal with 1/sqrt(inputs), which keeps the scale from layer to layer."""
    if not shape:
        return torch.tensor(LOGIT_SCALE)
    if len(shape) == 1:
        return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
    if "_embedding" in name:
        return torch.randn(shape, generator=generator) * (1.0 if "token" in name else 0.2)
    gain = next((gain for part, gain in GAINS.items() if part in name), 1.0)
    return torch.randn(shape, generator=generator) * (gain / math.sqrt(math.prod(shape[1:])))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Makes a checkpoint with random weights.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--kind", choices=[*sorted(KINDS["tiny"]), *random_dit.SIZES], default="sd1")
    parser.add_argument("--size", choices=sorted(KINDS), default="tiny")
    parser.add_argument("--layout", choices=list(LAYOUTS), default="file")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.kind in random_dit.SIZES:
        if options.layout not in ("file", "folder"):
            parser.error(f"{options.kind} is made as a file or a folder.")
        write = random_dit.write_folder if options.layout == "folder" else random_dit.write_file
        path = write(options.path, options.kind, options.seed, random_tensor, wide=options.size == "full")
        print(f"{path}: {stamp(path)[1] / 1e6:.1f} MB")
        return
    config = KINDS[options.size][options.kind]
    if options.layout == "folder":
        path = write_folder(options.path, config, options.seed, family=family_of(options.kind))
    else:
        path = LAYOUTS[options.layout](options.path, config, options.seed)
    print(f"{path}: {stamp(path)[1] / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
