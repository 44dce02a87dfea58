"""What a model file is, from its header alone: a family we can run, or in plain words why not. Reads a few kilobytes and needs no torch.

Goes by the shapes of named weights, never by the file's name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from webui.backend.formats.contract import Header, Shapes, refusal
from webui.backend.headers import read_header
from webui.schema.model import Suggestions

log = logging.getLogger(__name__)

SUGGESTS_KEY = "easel.suggests"
"""Metadata key under which a file carries `Suggestions` as JSON."""

@dataclass(frozen=True)
class Kind:
    """A kind of file: `matches` looks at the shapes; `reason` is None for a family we run, else why the file is no checkpoint for us."""

    name: str
    matches: Callable[[Shapes], bool]
    reason: str | None = None


@dataclass(frozen=True)
class Identity:
    """What a file is, and what it says of itself."""

    family: str
    suggests: Suggestions | None = None


def identify(path: Path) -> Identity:
    """The family of the file. Raises `ModelError` at field `checkpoint` with the reason when we cannot run it."""
    if path.suffix.lower() in (".ckpt", ".pt", ".pth", ".bin"):
        raise refusal(path, f"is a {path.suffix} file, which is not supported yet", "Convert it to .safetensors.")
    header = read_header(path)
    kind = next((kind for kind in KINDS if kind.matches(header.shapes)), None)
    if kind is None:
        raise refusal(path, "is not a model of a family known to Easel", "Supported: Stable Diffusion 1.x in one .safetensors file.")
    if kind.reason is not None:
        raise refusal(path, f"is {kind.reason}", "Put it into the folder for its kind, or choose another checkpoint.")
    return Identity(kind.name, _suggestions(path, header))


def _suggestions(path: Path, header: Header) -> Suggestions | None:
    """Nonsense in there is logged and ignored: the model itself is none the worse."""
    text = header.metadata.get(SUGGESTS_KEY)
    try:
        return Suggestions.model_validate_json(text) if text else None
    except ValidationError as error:
        log.warning("%s: its %s is ignored: %s", path.name, SUGGESTS_KEY, error.errors(include_url=False)[0]["msg"])
        return None


_UNET_IN = "model.diffusion_model.input_blocks.0.0.weight"
_CLIP_L = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
_OPEN_CLIP = "cond_stage_model.model.token_embedding.weight"
_XL = "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight"
_REFINER = "conditioner.embedders.0.model.token_embedding.weight"


def _unet_channels(shapes: Shapes) -> int:
    shape = shapes.get(_UNET_IN, ())
    return shape[1] if len(shape) == 4 else 0


def _is_sd1(shapes: Shapes) -> bool:
    return _unet_channels(shapes) == 4 and len(shapes.get(_CLIP_L, ())) == 2 and "first_stage_model.decoder.conv_in.weight" in shapes


def _is_adapter(shapes: Shapes) -> bool:
    ends = (".lora_down.weight", ".lora_up.weight", ".lora_A.weight", ".hada_w1_a", ".lokr_w1", ".lokr_w1_a", ".oft_blocks", ".oft_diag", ".on_input")
    return any(name.endswith(ends) for name in shapes)


def _is_controlnet(shapes: Shapes) -> bool:
    return any("zero_convs.0" in name or "controlnet_down_blocks" in name for name in shapes)


def _is_embedding(shapes: Shapes) -> bool:
    return len(shapes) <= 4 and any(name in shapes for name in ("emb_params", "clip_l", "clip_g"))


def _is_sd1_with_picture_input(shapes: Shapes) -> bool:
    return _CLIP_L in shapes and _unet_channels(shapes) in (8, 9)


def _is_vae(shapes: Shapes) -> bool:
    return "decoder.conv_in.weight" in shapes and "decoder.conv_out.weight" in shapes and _UNET_IN not in shapes


KINDS = (
    Kind("lora", _is_adapter, "a LoRA (or another adapter), not a checkpoint"),
    Kind("vae", _is_vae, "a VAE alone, not a checkpoint"),
    Kind("controlnet", _is_controlnet, "a ControlNet, not a checkpoint"),
    Kind("embedding", _is_embedding, "an embedding, not a checkpoint"),
    Kind("sd1", _is_sd1),
    Kind("sd1-inpainting", _is_sd1_with_picture_input, "an SD 1.x inpainting or editing model, which is not supported yet"),
    Kind("sd1-part", lambda shapes: _CLIP_L in shapes and _UNET_IN in shapes, "an SD 1.x model without its VAE, which is not supported yet"),
    Kind("sd2", lambda shapes: _OPEN_CLIP in shapes, "a Stable Diffusion 2 model, which is not supported yet"),
    Kind("sdxl", lambda shapes: _XL in shapes or _REFINER in shapes, "a Stable Diffusion XL model, which is not supported yet"),
    Kind("sd3", lambda shapes: any("joint_blocks.0." in name for name in shapes), "a Stable Diffusion 3 model, which is not supported yet"),
    Kind("flux", lambda shapes: any("double_blocks.0." in name for name in shapes), "a Flux model, which is not supported yet"),
    Kind("unet", lambda shapes: _UNET_IN in shapes or "conv_in.weight" in shapes, "a UNet without its text encoder, not a whole checkpoint"),
)
"""In the order they are tried."""
