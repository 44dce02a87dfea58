"""Writes the trained parts as one Stable Diffusion 1.x file, the way any checkpoint looks: LDM names, float16, sizes under the
metadata key `easel.config`.

    python tools/demo_model/export.py --folder FOLDER [--out FILE] [--base NAME]

With --base the UNet alone is written, its large matrices in 8 bits, and that it belongs to that checkpoint (metadata key `easel.base`).
The configuration travels in the file, not beside it: a sidecar gets lost when somebody moves the model.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.demo_model.latents import load_vae
from tools.demo_model.loop import load_state
from tools.demo_model.pyramid import InnerUNet
from tools.demo_model.sizes import DEMO
from tools.demo_model.train import load_text_encoder
from webui.backend.families.ldm import to_ldm_weights
from webui.backend.families.ldm_keys import UNET_PREFIX
from webui.backend.families.part_files import BASE_KEY
from webui.backend.families.sd_config import CONFIG_KEY, SdConfig
from webui.backend.families.sd_modules import SdModules, build_unet
from webui.backend.identify import SUGGESTS_KEY
from webui.schema.model import Suggestions

SUGGESTS = Suggestions(
    prompts=(
        "a red house at night", "a yellow star in the night sky", "a pink flower on green hills", "a white boat by the sea",
        "two purple balloons at sunset",
    ),
    width=256, height=256, cfg_scale=5,
)
"""What the page offers with the demo model. The first is what it proposes to a newcomer."""


NARROW = 16_384
"""Matrices of the UNet with at least so many numbers are written in 8 bits when it is written alone: then both demo files stay below 56 MB."""


def export(folder: Path, out: Path, config: SdConfig = DEMO, base: str = "") -> Path:
    """Write the averaged weights; with `base` those of the UNet, and that the other parts are that checkpoint's. Raises `FileNotFoundError` when a
    part is not trained yet, `ValueError` when the UNet never saw its last stage."""
    state = load_state(folder / "unet.pt")
    if state is None:
        raise FileNotFoundError(f"{folder / 'unet.pt'} is not there yet.")
    if state["stage"] != "whole":
        raise ValueError("The UNet has only been trained in the inner stage; train the whole one first.")
    inner = InnerUNet(build_unet(config.unet))
    inner.load_state_dict(state["average"])
    sized = config.model_copy(update={"vae": config.vae.model_copy(update={"scaling": state["scaling"]})})
    modules = SdModules(sized, inner.unet, load_vae(folder, config), load_text_encoder(folder, config))
    weights = {name: value.detach().to(torch.float16).contiguous() for name, value in to_ldm_weights(modules).items()}
    metadata = {"format": "pt", CONFIG_KEY: sized.model_dump_json(), SUGGESTS_KEY: SUGGESTS.model_dump_json(exclude_none=True)}
    if base:
        metadata[BASE_KEY] = base
        own = {name: value for name, value in weights.items() if name.startswith(UNET_PREFIX)}
        weights = {name: value.to(torch.float8_e4m3fn) if value.ndim > 1 and value.numel() >= NARROW else value for name, value in own.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, out, metadata=metadata)
    return out


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Writes the trained demo model as one file.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--base", default="", help="name of the checkpoint whose other parts it has")
    options = parser.parse_args()
    path = export(options.folder, options.out or options.folder / "easel-demo.safetensors", base=options.base)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
