"""Makes a checkpoint with random weights in genuine Stable Diffusion 1.x layout.

    python tools/random_checkpoint.py PATH [--size tiny|full] [--seed N]

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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from webui.backend.families.sd1 import as_convolution, build_modules, to_ldm_names
from webui.backend.families.sd1_config import CONFIG_KEY, Sd1Config, TextConfig, UNetConfig, VaeConfig

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
    modules = build_modules(config)
    places = to_ldm_names(modules)
    shapes = {}
    for name, place in places.items():
        part, _, key = place.partition("/")
        shapes[name] = tuple(as_convolution(name, getattr(modules, part).state_dict()[key]).shape)
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
    options = parser.parse_args()
    path = write_checkpoint(options.path, SIZES[options.size], options.seed)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
