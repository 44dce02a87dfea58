"""SD 3 and Flux between one file in the published names and a diffusers folder: what `folder_layout` needs to know of these two families.

One file has the transformer and the VAE where Stable Diffusion files have theirs, and the texts' encoders under `text_encoders.`, as Stability AI and
ComfyUI put them together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from webui.backend.families import dit, ldm
from webui.backend.families.dit_keys import transformer_layout
from webui.backend.families.ldm import Laid
from webui.backend.families.ldm_keys import UNET_PREFIX, VAE_PREFIX
from webui.backend.families.sd_config import SdConfig, VaeConfig
from webui.backend.families.t5 import find_tokenizer
from webui.backend.families.t5_keys import file_names
from webui.backend.headers import read_header
from webui.backend.parts import ModelChoice
from webui.backend.weights import DTYPES
from webui.schema.errors import ModelError
from webui.schema.model import Checkpoint

FAMILIES = tuple(dit.KINDS)
PIPELINES = {"sd3": "StableDiffusion3Pipeline", "flux": "FluxPipeline", "fill": "FluxFillPipeline"}
_TEXTS = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
_PROJECTION = "text_projection.weight"
_FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000}
_DYNAMIC = {"use_dynamic_shifting": True, "shift": 3.0, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256, "max_image_seq_len": 4096}


def check_plain(checkpoint: Checkpoint) -> None:
    """Raises `ModelError` for weights that a folder cannot hold: quantised ones, and those with scales beside them."""
    header = read_header(Path(checkpoint.path))
    if any(kind not in DTYPES for kind in header.dtypes.values()) or any(".quant_state." in name or "scale_weight" in name for name in header.shapes):
        raise ModelError(f"{checkpoint.name} is quantised, and is not converted.", field="source", hint="Take the file in 16 bits.")


def published(family: str, part: str, own: Mapping[str, Tensor]) -> dict[str, Laid]:
    """Name in one file → how it is laid out, for a part with these weights under its module's names. CLIP-L's projection
    is left out where it changes nothing: files lack it, and folders have to have one."""
    if part == "transformer":
        laid = transformer_layout(family, {name: tuple(value.shape) for name, value in own.items()})
        return {UNET_PREFIX + name: one for name, one in laid.items()}
    if part == "vae":
        config = SdConfig(vae=_vae_of(own))
        return {VAE_PREFIX + name: one for name, one in ldm.layout(config, "vae", own).items()}
    if part == dit.KINDS[family].t5:
        return {f"text_encoders.t5xxl.transformer.{theirs}": Laid((ours,)) for ours, theirs in file_names(("shared.weight",), own).items()}
    prefix = f"text_encoders.{_TEXTS[part]}.transformer."
    idle = part == "text_encoder" and _PROJECTION in own and torch.equal(own[_PROJECTION], torch.eye(len(own[_PROJECTION])).to(own[_PROJECTION]))
    names = [name for name in own if not (idle and name == _PROJECTION)]
    return {prefix + (name if name.startswith("text_") else f"text_model.{name}"): Laid((name,)) for name in names}


def in_folder(family: str, part: str, module: nn.Module, own: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """A part's weights as a folder has them, and its `config.json`."""
    if part == dit.KINDS[family].t5:
        names, config = file_names(("shared.weight",), own), module.config.to_dict()  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
        said = config | {"architectures": ["T5EncoderModel"], "is_encoder_decoder": True, "tie_word_embeddings": False}
        return {names[name]: value for name, value in own.items()}, json.dumps(said, indent=2)
    if part.startswith("text"):
        config = module.config.to_json_string()  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
        return {name if name.startswith("text_") else f"text_model.{name}": value for name, value in own.items()}, config
    return dict(own), module.to_json_string()  # pyright: ignore[reportCallIssue]


def write_index(folder: Path, checkpoint: Checkpoint, modules: Mapping[str, nn.Module]) -> None:
    """`model_index.json`, the scheduler, and T5's tokenizer, which is the one that the file uses."""
    family, t5 = checkpoint.family or "sd3", dit.KINDS[checkpoint.family or "sd3"].t5
    index: dict[str, Any] = {"_class_name": PIPELINES["fill" if checkpoint.variant == "fill" else family], "_diffusers_version": "0.35.0"}
    for part in ("text_encoder", "text_encoder_2", "text_encoder_3", "transformer", "vae"):
        module = modules.get(part)
        if module is None:
            if part == t5:
                index |= {part: [None, None], _tokenizer_of(part): [None, None]}
            continue
        kind = "T5EncoderModel" if part == t5 else type(module).__name__
        index[part] = ["transformers" if part.startswith("text") else "diffusers", kind]
        if part.startswith("text"):
            index[_tokenizer_of(part)] = ["transformers", "T5TokenizerFast" if part == t5 else "CLIPTokenizer"]
    index["scheduler"] = ["diffusers", _FLOW["_class_name"]]
    if family == "sd3":
        index |= {"image_encoder": [None, None], "feature_extractor": [None, None]}
    said = _FLOW | (_DYNAMIC if checkpoint.is_distilled else {"shift": dit.SD3_SHIFT if family == "sd3" else 1.0})
    own = Path(checkpoint.path) / "scheduler" / "scheduler_config.json"
    text = own.read_text("utf-8") if checkpoint.layout == "diffusers" and own.is_file() else json.dumps(said, indent=2)
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(text, encoding="utf-8")
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    if t5 in modules:
        _copy_tokenizer(checkpoint, folder / _tokenizer_of(t5), t5)


def parts_of(choice: ModelChoice) -> tuple[Any, ...]:
    """The parts of a checkpoint. Raises `ModelError`."""
    return dit.plan(choice).parts


def _copy_tokenizer(checkpoint: Checkpoint, target: Path, t5: str) -> None:
    source = Path(checkpoint.path)
    found = find_tokenizer([source / _tokenizer_of(t5)] if checkpoint.layout == "diffusers" else [source.parent])
    if found is not None:
        target.mkdir(parents=True, exist_ok=True)
        (target / found.name).write_bytes(found.read_bytes())
        said = {"tokenizer_class": "T5TokenizerFast", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "model_max_length": 512}
        (target / "tokenizer_config.json").write_text(json.dumps(said, indent=2), encoding="utf-8")


def _tokenizer_of(part: str) -> str:
    return part.replace("text_encoder", "tokenizer")


def _vae_of(own: Mapping[str, Tensor]) -> VaeConfig:
    """As many layers as there are: enough to name the weights."""
    layers = 1 + max(int(name.split(".")[4]) for name in own if name.startswith("encoder.down_blocks.0.resnets."))
    return VaeConfig(layers=layers, latent_channels=16, quantized="quant_conv.weight" in own)
