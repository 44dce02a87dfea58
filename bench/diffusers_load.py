"""diffusers' own single-file loader in a process of its own, as `model_load` is ours: `python bench/diffusers_load.py FILE DTYPE REPEATS CONFIGS`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm, load_single_file_checkpoint
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextModel

from bench.model_load import DTYPES, measure


def bare(path: Path, dtype: torch.dtype, configs: Path) -> Callable[[], object]:
    """The three modules of a file."""
    terms = {"config": str(configs), "torch_dtype": dtype, "local_files_only": True}

    def load() -> object:
        unet = UNet2DConditionModel.from_single_file(str(path), subfolder="unet", **terms)
        vae = AutoencoderKL.from_single_file(str(path), subfolder="vae", **terms)
        text = create_diffusers_clip_model_from_ldm(
            CLIPTextModel, checkpoint=load_single_file_checkpoint(str(path)), subfolder="text_encoder", **terms,
        )
        return unet, vae, text

    return load


if __name__ == "__main__":
    print(json.dumps(measure(bare(Path(sys.argv[1]), DTYPES[sys.argv[2]], Path(sys.argv[4])), int(sys.argv[3]))))
