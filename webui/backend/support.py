"""Which of the checkpoints that can be recognised can be run: one line a family, and the reason in words for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from webui.schema.model import ENLARGES, PIPELINE, Layout, Prediction

NAMES = {
    "sd1": "a Stable Diffusion 1 model", "sd2": "a Stable Diffusion 2 model", "sdxl": "a Stable Diffusion XL model",
    "sdxl-refiner": "a refiner of Stable Diffusion XL", "sd3": "a Stable Diffusion 3 model", "flux": "a Flux model",
    PIPELINE: "a folder with a pipeline of its own",
}
"""How each family that `kinds` tells apart is called."""

PART_NAMES = {
    "unet": "UNet", "transformer": "transformer", "vae": "VAE", "text_encoder": "text encoder", "text_encoder_2": "second text encoder",
    "text_encoder_3": "third text encoder",
}


@dataclass(frozen=True)
class Runs:
    """What of a family can be run. `parts` must be in the file; others are looked for in other files when the model is loaded."""

    variants: tuple[str, ...]
    layouts: tuple[Layout, ...]
    parts: tuple[str, ...]
    predictions: tuple[Prediction | None, ...] = (None,)


_LAYOUTS: tuple[Layout, ...] = ("ldm", "diffusers", "unet")
_SD: tuple[Prediction | None, ...] = (None, "epsilon", "v")

RUNS: Mapping[str, Runs] = {
    "sd1": Runs(("base", "inpainting", "edit"), _LAYOUTS, ("unet",), _SD),
    "sd2": Runs(("base", "inpainting", "edit", "depth", "unclip-l", "unclip-h"), _LAYOUTS, ("unet",), _SD),
    "sdxl": Runs(("base", "inpainting", "edit"), _LAYOUTS, ("unet",), (*_SD, "edm")),
    "sdxl-refiner": Runs(("base",), _LAYOUTS, ("unet",), _SD),
    "sd3": Runs(("medium", "medium-3.5", "large-3.5"), _LAYOUTS, ("transformer",), ("flow",)),
    "flux": Runs(("dev", "schnell", "fill"), _LAYOUTS, ("transformer",), ("flow",)),
}
"""Widened by whoever teaches `families` more; its keys are `manager.FAMILIES`' keys."""


def unsupported(family: str, variant: str, layout: Layout, prediction: Prediction | None, parts: tuple[str, ...]) -> str | None:
    """Why such a checkpoint cannot be run, to complete "x.safetensors is …", or None when it can."""
    if family == PIPELINE:  # what it needs is known when it is loaded
        return "an upscaler: choose it as one in Extras or for hires fix" if variant == ENLARGES else None
    runs = RUNS.get(family)
    name = NAMES[family]
    if runs is None:
        return f"{name}, which is not supported yet"
    if variant not in runs.variants:
        return f"{name} ({variant}), which is not supported yet"
    if layout not in runs.layouts:
        what = "in a diffusers folder" if layout == "diffusers" else "without text encoder and VAE"
        return f"{name} {what}, which is not supported yet"
    lacking = [PART_NAMES[part] for part in runs.parts if part not in parts]
    if lacking:
        return f"{name} without its {' and its '.join(lacking)}, which is not supported yet"
    return None if prediction in runs.predictions else f"{name} that predicts “{prediction}”, which is not supported yet"
