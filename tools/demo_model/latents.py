"""Drawn scenes as latents on disk, so that the UNet's training neither draws nor encodes. Knows no training.

Scene number n is `make_scene(n)`; the file grows, and what is there stays valid for the autoencoder that made it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from tools.demo_model.loop import load_state, need_state
from tools.demo_model.scene import Scene, make_scene
from tools.demo_model.sizes import DEMO
from tools.demo_model.world import draw
from webui.backend.families.sd_config import SdConfig
from webui.backend.families.sd_modules import build_vae

TARGET_SPREAD = 0.8
"""Standard deviation of the scaled latents. Below 1 because flat pictures are redundant: the noise schedule, made for photographs, hides too little
of them (Hoogeboom et al. 2023, simple diffusion)."""


class LatentCache:
    """Unscaled latents of scenes 0, 1, 2 … as float16 in one flat file."""

    def __init__(self, file: Path, vae: AutoencoderKL, size: int = 256) -> None:
        self._file, self._vae, self._size = file, vae, size
        self._shape = (4, size // 8, size // 8)

    def __len__(self) -> int:
        """Scenes that are encoded."""
        return self._file.stat().st_size // (2 * int(np.prod(self._shape))) if self._file.exists() else 0

    @torch.inference_mode()
    def grow(self, count: int, batch: int = 8) -> None:
        """Encode scenes until there are at least `count`."""
        device = next(self._vae.parameters()).device
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab") as file:
            while (have := len(self)) < count:
                pictures = to_tensor([make_scene(number) for number in range(have, have + batch)], self._size).to(device)
                latents = self._vae.encode(pictures).latent_dist.mode()  # pyright: ignore[reportAttributeAccessIssue]
                file.write(latents.half().cpu().numpy().tobytes())
                file.flush()

    def read(self) -> Tensor:
        """All of them: (scenes, 4, h, w), float16, mapped from the file."""
        count = len(self)
        return torch.from_numpy(np.memmap(self._file, dtype=np.float16, mode="c", shape=(count, *self._shape)))


def load_vae(folder: Path, config: SdConfig = DEMO) -> AutoencoderKL:
    """The averaged autoencoder of FOLDER/vae.pt, with the decoder of FOLDER/decoder.pt where that was trained further. Raises `FileNotFoundError`
    before there is one."""
    vae = build_vae(config.vae)
    vae.load_state_dict(need_state(folder / "vae.pt")["average"])
    if further := load_state(folder / "decoder.pt"):
        decoding_half(vae).load_state_dict(further["average"])
    return vae.requires_grad_(False).eval()


def decoding_half(vae: AutoencoderKL) -> torch.nn.ModuleList:
    """The modules between latents and pictures."""
    assert vae.post_quant_conv is not None
    return torch.nn.ModuleList([vae.post_quant_conv, vae.decoder])


def to_tensor(scenes: list[Scene], size: int = 256) -> Tensor:
    """Drawn scenes as (scenes, 3, size, size) in [-1, 1]."""
    pictures = np.stack([np.asarray(draw(scene, size)) for scene in scenes])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def measure_scaling(latents: Tensor) -> float:
    """The factor that brings the latents to `TARGET_SPREAD`: `scaling_factor` of the model's configuration."""
    return round(TARGET_SPREAD / latents[:2000].float().std().item(), 5)
