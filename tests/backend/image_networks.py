"""Small networks in the layouts of published upscalers, with random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from spandrel.architectures.ESRGAN import ESRGAN


def esrgan_weights(seed: int = 0, scale: int = 4, filters: int = 16, blocks: int = 2) -> dict[str, torch.Tensor]:
    """ESRGAN's layout. The last layer is centred, so that pictures are neither black nor white."""
    torch.manual_seed(seed)
    net = ESRGAN(num_filters=filters, num_blocks=blocks, scale=scale)
    weights = {key: value.detach().clone() for key, value in net.state_dict().items()}
    last = max((key for key in weights if key.endswith("bias")), key=lambda key: int(key.split(".")[1]))
    weights[last] += 0.5
    return weights


def save_esrgan(path: Path, **changes: int) -> Path:
    """As a safetensors file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(esrgan_weights(**changes), path)
    return path
