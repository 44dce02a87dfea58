"""What lies beside a checkpoint and says what it is: a .yaml as CompVis' and Stability's programs and A1111 read it, and its card, the .json."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from webui.backend.formats.contract import reading, refusal
from webui.schema.model import Prediction

log = logging.getLogger(__name__)

LIMIT = 100_000
"""Bytes. A1111's own files have two thousand."""


_PREDICTIONS: Mapping[str, Prediction] = {
    "eps": "epsilon", "v": "v", "EpsScaling": "epsilon", "VScaling": "v", "EDMScaling": "edm", "VScalingWithEDMcNoise": "edm",
}


@dataclass(frozen=True)
class Said:
    """What it says; None where it is silent."""

    family: str | None = None
    variant: str | None = None
    prediction: Prediction | None = None
    zero_snr: bool = False


def read_yaml(path: Path) -> Said | None:
    """What the file says, or None when there is none. Raises `ModelError` when it cannot be read."""
    if not path.is_file():
        return None
    with reading(path), path.open("rb") as file:
        text = file.read(LIMIT + 1)
    try:
        if len(text) > LIMIT:
            raise ValueError("it is too long")
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = str(error).splitlines()[0][:200]
        raise refusal(path, f"beside the model cannot be read as YAML ({where})", "Correct it, or remove it.") from error
    family, variant = _family(tree), _variant(tree)
    said = _at(tree, "parameterization") or _target(_at(tree, "denoiser_config", "params", "scaling_config"))
    prediction = _PREDICTIONS.get(said) if isinstance(said, str) else None
    zero = _at(tree, "zero_snr") is True or _at(tree, "zsnr") is True
    return Said(family, variant, prediction, zero)


BY_HAND: Mapping[str, Said] = {
    "epsilon": Said(prediction="epsilon"), "v": Said(prediction="v"), "v-zsnr": Said(prediction="v", zero_snr=True),
}
"""What a person may set on a model's card, under the key `prediction`."""


def read_card(path: Path) -> Said | None:
    """What a person set, or None. A card that cannot be read says nothing: its words are for people, and other programs write there too."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s is passed over: %s", path, str(error).splitlines()[0])
        return None
    set_by_hand = content.get("prediction") if isinstance(content, dict) else None
    return BY_HAND.get(set_by_hand) if isinstance(set_by_hand, str) else None


def _family(tree: Any) -> str | None:
    encoder = _target(_at(tree, "cond_stage_config"))
    width = _at(tree, "unet_config", "params", "context_dim") or _at(tree, "network_config", "params", "context_dim")
    by_width = {768: "sd1", 1024: "sd2", 2048: "sdxl", 1280: "sdxl-refiner"}.get(width) if isinstance(width, int) else None
    return by_width or {"FrozenCLIPEmbedder": "sd1", "FrozenOpenCLIPEmbedder": "sd2"}.get(encoder or "")


def _variant(tree: Any) -> str | None:
    channels = _at(tree, "unet_config", "params", "in_channels") or _at(tree, "network_config", "params", "in_channels")
    return {5: "depth", 8: "edit", 9: "inpainting"}.get(channels) if isinstance(channels, int) else None


def _at(tree: Any, *path: str) -> Any:
    """What stands under model → params → path, or None."""
    for key in ("model", "params", *path):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _target(config: Any) -> str | None:
    """The class that a part is made of, without its module."""
    target = config.get("target") if isinstance(config, dict) else None
    return target.rpartition(".")[2] if isinstance(target, str) else None
