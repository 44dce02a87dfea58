"""A diffusers folder (`model_index.json` and a folder a module) as one checkpoint: what its configurations say, and that its weights are there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from webui.backend.formats.contract import AGAIN, reading, refusal
from webui.backend.headers import WEIGHT_NAMES, read_header
from webui.backend.kinds import Model
from webui.schema.model import PIPELINE, Prediction

INDEX = "model_index.json"
MODULES = (
    "unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3", "image_encoder", "depth_estimator",
    "prior", "prior_text_encoder", "decoder", "movq", "vqgan",
)
"""Folders with weights. Others (safety checker, feature extractor, tokenizers) are none of the model's."""

_CHANNELS = {4: "base", 5: "depth", 8: "edit", 9: "inpainting"}
_PREDICTIONS: Mapping[str, Prediction] = {"epsilon": "epsilon", "v_prediction": "v", "flow_prediction": "flow", "edm": "edm"}
LIMIT = 1_000_000


def read_folder(path: Path) -> Model:
    """What the folder holds. Raises `ModelError` in plain words when something is missing, damaged, or of no family that we know."""
    index = _json(path, INDEX)
    parts = tuple(name for name in MODULES if isinstance(entry := index.get(name), list) and len(entry) == 2 and entry[1])
    main = next((name for name in ("unet", "transformer") if name in parts), None)
    try:
        model = _model(path, parts, main) if main else None
    except (ValueError, TypeError) as error:
        raise refusal(path, f"has a damaged {main}/config.json", AGAIN) from error
    if model is None or main is None:
        return _foreign(path, index)
    headers = {name: read_header(path / name) for name in parts}
    for name, header in headers.items():
        if not header.shapes:
            raise refusal(path / name, "holds no weights", AGAIN)
    kinds = [headers[main].dtypes[name] for name, shape in headers[main].shapes.items() if len(shape) > 1]
    dtype = max(set(kinds), key=kinds.count, default="")
    scheduler = _json(path, "scheduler/scheduler_config.json") if isinstance(index.get("scheduler"), list) else {}
    said = _PREDICTIONS.get(str(scheduler.get("prediction_type")))
    prediction = model.prediction or ("edm" if "EDM" in str(scheduler.get("_class_name")) else said)
    if prediction == "edm" or (main == "unet" and scheduler.get("beta_schedule", "scaled_linear") != "scaled_linear"):
        return _foreign(path, index)  # other noise levels than those of our samplers
    zero = scheduler.get("rescale_betas_zero_snr") is True
    return Model(model.family, "diffusers", model.variant, prediction, zero, parts, dtype)


def _foreign(path: Path, index: Mapping[str, Any]) -> Model:
    """A folder that its own pipeline runs. Raises `ModelError` when it names none, brings code, or lacks weights."""
    kind = index.get("_class_name")
    if not (isinstance(kind, str) and kind.isidentifier() and kind.endswith("Pipeline")):
        what = f"is a diffusers folder without a pipeline of its own ({str(kind)[:80]})"
        raise refusal(path, what, "Known: Stable Diffusion 1, 2, XL, 3 and Flux.1.")
    names = [name for name, entry in index.items() if isinstance(entry, list) and len(entry) == 2 and entry[1] and (path / name).is_dir()]
    code = next((file for folder in (path, *(path / name for name in names)) for file in folder.glob("*.py")), None)
    if code is not None:
        raise refusal(path, f"brings code of its own ({code.relative_to(path)}), which Easel never runs", "Look for the model without that code.")
    headers = {name: read_header(path / name) for name in names if any((path / name / file).is_file() for file in WEIGHT_NAMES)}
    if not headers:
        raise refusal(path, "holds no weights", AGAIN)
    kinds = [header.dtypes[name] for header in headers.values() for name, shape in header.shapes.items() if len(shape) > 1]
    return Model(PIPELINE, "diffusers", kind, parts=tuple(headers), dtype=max(set(kinds), key=kinds.count, default=""))


def _model(path: Path, parts: tuple[str, ...], main: str) -> Model | None:
    config = _json(path, f"{main}/config.json")
    kind = config.get("_class_name")
    if main == "unet":
        return _unet(path, parts, config) if kind in (None, "UNet2DConditionModel") else None
    if kind == "FluxTransformer2DModel":
        fill = {384: "fill", 128: "control"}.get(config.get("in_channels", 64))
        return Model("flux", variant=fill or ("dev" if config.get("guidance_embeds") else "schnell"), prediction="flow")
    if kind == "SD3Transformer2DModel":
        large, dual = int(config.get("num_layers", 24)) > 30, config.get("dual_attention_layers")
        return Model("sd3", variant="large-3.5" if large else "medium-3.5" if dual else "medium", prediction="flow")
    return None


def _unet(path: Path, parts: tuple[str, ...], config: Mapping[str, Any]) -> Model | None:
    variant = _CHANNELS.get(config.get("in_channels", 4))
    if variant is None:
        return None
    if config.get("addition_embed_type") == "text_time":
        return Model("sdxl" if "text_encoder" in parts else "sdxl-refiner", variant=variant)
    if config.get("addition_embed_type") or "text_encoder" not in parts:
        return None
    encoder = _json(path, "text_encoder/config.json")
    second = config.get("use_linear_projection") is True or encoder.get("hidden_act") == "gelu" or config.get("cross_attention_dim") == 1024
    if config.get("class_embed_type") == "projection":
        wide = config.get("projection_class_embeddings_input_dim") == 2048
        return Model("sd2", variant="unclip-h" if wide else "unclip-l")
    return Model("sd2" if second else "sd1", variant=variant)


def scheduler_of(path: Path) -> dict[str, Any]:
    """How the folder says that pictures are sampled; empty when it says nothing. Raises `ModelError` when it is damaged."""
    return _json(path, "scheduler/scheduler_config.json") if (path / "scheduler" / "scheduler_config.json").is_file() else {}


def _json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    try:
        with reading(path), path.open("rb") as file:
            value = json.loads(file.read(LIMIT))
    except (ValueError, RecursionError) as error:
        raise refusal(folder, f"has a damaged {name}", AGAIN) from error
    if not isinstance(value, dict):
        raise refusal(folder, f"has a damaged {name}", AGAIN)
    return value
