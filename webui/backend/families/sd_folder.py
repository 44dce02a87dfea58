"""A model of the Stable Diffusion kind in a diffusers folder: each part in a folder of its own with its `config.json`, in its module's own words."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from pydantic import ValidationError
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from webui.backend.families.ldm import read_own
from webui.backend.families.places import find_part
from webui.backend.families.sd_config import PRESETS, SchedulerConfig, SdConfig, TextConfig
from webui.backend.families.sd_modules import build_keys, restore_buffers
from webui.backend.families.sizes import measure_text, measure_unet, measure_vae
from webui.backend.headers import read_header, weight_files
from webui.backend.parts import Part, Source
from webui.backend.weights import Weights
from webui.schema.errors import ModelError
from webui.schema.model import Checkpoint

PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}


@dataclass(frozen=True)
class Folder:
    """The parts of a folder, and the sizes of what they make."""

    parts: tuple[Part, ...]
    config: SdConfig


def read_folder(checkpoint: Checkpoint) -> Folder:
    """Raises `ModelError` when a part or its description is missing, damaged or of another kind."""
    folder, family = Path(checkpoint.path), checkpoint.family or "sd1"
    config = PRESETS[family].revise(scheduler=_scheduler(folder, checkpoint))
    parts = []
    for name in (*config.texts, "unet", "vae"):
        part, sizes = _read_part(folder / name, name, config, checkpoint)
        if isinstance(sizes, TextConfig) and family == "sd2":
            sizes = sizes.revise(layer=1)  # in this layout the last layer, which SD 2.x does not use, is left away
        config = config.revise(**{name: sizes})
        parts.append(part)
    return Folder(tuple(parts), config)


def _read_part(folder: Path, name: str, config: SdConfig, checkpoint: Checkpoint) -> tuple[Part, Any]:
    stated = read_json(folder / "config.json", checkpoint)
    header = read_header(folder)
    text = config.texts.get(name)
    place = find_part(header.shapes, name)  # in this layout every text encoder has transformers' names
    if place is None or place.words != "module":
        raise ModelError(f"{checkpoint.name}: {name} holds no weights of such a part.", field="checkpoint", hint="Download the folder again.")
    try:
        if name == "unet":
            unet = measure_unet(header.shapes, place, config.unet)
            heads = stated.get("attention_head_dim", unet.heads)  # diffusers' name for how many there are
            shown = {"groups": stated.get("norm_num_groups", unet.groups), "heads": tuple(heads) if isinstance(heads, list) else heads}
            sizes, build = unet.revise(**shown), module_builder(UNet2DConditionModel, stated)
        elif name == "vae":
            scale, groups = stated.get("scaling_factor", config.vae.scaling), stated.get("norm_num_groups", config.vae.groups)
            sizes, build = measure_vae(header.shapes, place, config.vae).revise(scaling=scale, groups=groups), module_builder(AutoencoderKL, stated)
        else:
            assert text is not None
            sizes = measure_text(header.shapes, place, text)
            projected = "text_projection.weight" in header.shapes
            build = clip_builder(stated, projected)
            sizes = sizes.revise(projection=sizes.projection if projected else 0)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        what = f"{checkpoint.name}: the description of its {name} makes no sense ({str(error).splitlines()[0]})."
        raise ModelError(what, field="checkpoint", hint="Download the folder again.") from error

    def read(weights: Weights) -> dict[str, Tensor]:
        return read_own(weights, place, name, build_keys(build))

    source = source_at(folder)
    return (Part(name, source, build, read, restore_buffers) if text else Part(name, source, build, read)), sizes


def module_builder(kind: Any, stated: dict[str, Any]) -> Callable[[], nn.Module]:
    """diffusers' module as its own description has it."""
    return lambda: kind.from_config(stated)


def clip_builder(stated: dict[str, Any], projected: bool) -> Callable[[], nn.Module]:
    """transformers' CLIP as its own description has it, with its projection or without."""
    sizes = CLIPTextConfig.from_dict(stated)
    return lambda: (CLIPTextModelWithProjection if projected else CLIPTextModel)(sizes)


def source_at(folder: Path) -> Source:
    """The file with the weights; for shards the folder."""
    files = weight_files(folder)
    path = files[0] if len(files) == 1 else folder
    stat = path.stat()
    return Source(str(path), stat.st_mtime, stat.st_size)


def _scheduler(folder: Path, checkpoint: Checkpoint) -> SchedulerConfig:
    stated = read_json(folder / "scheduler" / "scheduler_config.json", checkpoint)
    schedule = stated.get("beta_schedule", "scaled_linear")
    if schedule != "scaled_linear":
        what = f"{checkpoint.name} was trained with the noise schedule {str(schedule)[:40]}, which is not supported yet."
        raise ModelError(what, field="checkpoint")
    try:
        return SchedulerConfig(
            beta_start=stated.get("beta_start", 0.00085), beta_end=stated.get("beta_end", 0.012),
            prediction=PREDICTIONS[stated.get("prediction_type", "epsilon")],  # pyright: ignore[reportArgumentType]
            zero_snr=bool(stated.get("rescale_betas_zero_snr", False)),
        )
    except (KeyError, TypeError, ValidationError) as error:
        what = f"{checkpoint.name}: its scheduler_config.json describes a training that is not supported ({str(error).splitlines()[0]})."
        raise ModelError(what, field="checkpoint") from error


def read_json(path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """A description in a checkpoint's folder. Raises `ModelError` when it is missing or damaged."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        what = f"{checkpoint.name}: {path.parent.name}/{path.name} is missing or cannot be read."
        raise ModelError(what, field="checkpoint", hint="Download the folder again.") from error
    if not isinstance(value, dict):
        raise ModelError(f"{checkpoint.name}: {path.parent.name}/{path.name} is damaged.", field="checkpoint", hint="Download the folder again.")
    return value
