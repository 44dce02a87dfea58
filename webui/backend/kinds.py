"""The kinds of model files, told apart by the names and shapes of their tensors: pure, without files, torch, or anybody's file names.

Key layouts: CompVis/stable-diffusion and Stability-AI/generative-models ("LDM", one file), Stability-AI/sd3-ref, black-forest-labs/flux, diffusers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from webui.backend.formats.contract import Header, Tensors
from webui.schema.model import Layout, Prediction

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "net.")
"""Before the denoiser's names: in a checkpoint, and in files of the denoiser alone."""

EMA = "model_ema.diffusion_model"
"""Before the names of the averaged copy, which have no dots."""

CLIP_L = ("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.")
"""The text encoder of SD 1; the second form was written before transformers 4.31."""


_OF_ITS_OWN = {"easel.config", "easel.base"}
"""Notes of files with sizes of their own."""


@dataclass(frozen=True)
class Model:
    """A checkpoint, or the denoiser of one."""

    family: str
    layout: Layout = "ldm"
    variant: str = "base"
    prediction: Prediction | None = None
    """None when the weights do not say."""

    zero_snr: bool = False
    """Trained to zero terminal signal-to-noise ratio, and says so."""

    parts: tuple[str, ...] = ()
    dtype: str = ""
    ema: bool = False


@dataclass(frozen=True)
class Other:
    """Something else; `reason` completes "x.safetensors is …"."""

    reason: str


Describe = Callable[["View"], Model | None]


class View:
    """Shapes, with the denoiser's names looked up under any of its prefixes. All names stand in one text, where they are found fast."""

    def __init__(self, tensors: Tensors, sized: bool = False) -> None:
        self.shapes, self.dtypes = tensors.shapes, tensors.dtypes
        self.sized = sized
        """Whether the file is of sizes of its own, and says so."""

        self._names = "\n" + "\n".join(tensors.shapes) + "\n"
        self.prefix = next((prefix for prefix in PREFIXES if self.starts(prefix)), "")

    def starts(self, *starts: str) -> bool:
        """Whether any name starts with one of these."""
        return any("\n" + start in self._names for start in starts)

    def ends(self, *ends: str) -> bool:
        """Whether any name ends with one of these."""
        return any(end + "\n" in self._names for end in ends)

    def contains(self, *words: str) -> bool:
        """Whether any name contains one of these."""
        return any(word in self._names for word in words)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one of the denoiser's tensors, or () when it is not there. An averaged copy counts when there is no other."""
        return self.shapes.get(self.prefix + name) or self.shapes.get(EMA + name.replace(".", ""), ())

    def side(self, name: str, axis: int = 1) -> int:
        """One side of that shape, 0 when it is not there."""
        shape = self.shape(name)
        return shape[axis] if axis < len(shape) else 0

    def parts(self, **starts: tuple[str, ...]) -> tuple[str, ...]:
        """The names of the parts of which there is a tensor that starts so."""
        return tuple(part for part, names in starts.items() if self.starts(*names))


_VARIANTS = {4: "base", 5: "depth", 8: "edit", 9: "inpainting"}
"""By the channels that a UNet takes."""

_VAE = ("first_stage_model.decoder.", "vae.decoder.")


def _unet_names(view: View) -> tuple[Layout, int, int, int]:
    """Of a UNet: layout, channels in, width of the context, width of the vector (0 without one). Channels 0: no UNet."""
    if channels := view.side("input_blocks.0.0.weight"):
        context = _context(view, "input_blocks.{}.1.transformer_blocks.0.attn2.to_k.weight", (1, 2, 4, 5, 7, 8))
        return "ldm" if view.prefix == PREFIXES[0] or view.starts(EMA) else "unet", channels, context, view.side("label_emb.0.0.weight")
    context = _context(view, "down_blocks.{}.attentions.0.transformer_blocks.0.attn2.to_k.weight", (0, 1, 2))
    vector = view.side("add_embedding.linear_1.weight") or view.side("class_embedding.linear_1.weight")
    return "unet", view.side("conv_in.weight") if context else 0, context, vector


def _context(view: View, pattern: str, places: tuple[int, ...]) -> int:
    return next((width for place in places if (width := view.side(pattern.format(place)))), 0)


def _stable_diffusion(view: View) -> Model | None:
    """SD 1, SD 2, SDXL and its refiner. A text encoder in the file says which; without one the widths of context and vector do."""
    layout, channels, context, vector = _unet_names(view)
    if not channels:
        return None
    family = _family_by_encoder(view) or {768: "sd1", 1024: "sd2", 2048: "sdxl", 1280: "sdxl-refiner"}.get(context)
    if family is None and view.sized:
        family = "sdxl" if vector else "sd2" if _is_linear(view) else "sd1"
    if family is None:
        return None
    encoders: dict[str, dict[str, tuple[str, ...]]] = {
        "sd1": {"text_encoder": CLIP_L}, "sd2": {"text_encoder": ("cond_stage_model.model.",)},
        "sdxl": {"text_encoder": ("conditioner.embedders.0.transformer.",), "text_encoder_2": ("conditioner.embedders.1.model.",)},
        "sdxl-refiner": {"text_encoder_2": ("conditioner.embedders.0.model.",)},
    }
    if channels == 7:
        return None  # the upscalers
    variant = _VARIANTS.get(channels)
    if family == "sd2" and vector:
        variant = {1536: "unclip-l", 2048: "unclip-h"}.get(vector, "unclip-l" if view.starts("embedder.model.") else variant)
    parts = ("unet", *view.parts(**encoders[family], vae=_VAE, image_encoder=("embedder.",), depth_estimator=("depth_model.",)))
    if layout == "ldm" and parts == ("unet",):
        layout = "unet"
    return Model(family, layout, variant or f"{channels} channels", *_said_by_marks(view), parts=parts)


def _is_linear(view: View) -> bool:
    return any(len(shape) == 2 for name, shape in view.shapes.items() if name.endswith(".proj_in.weight"))


def _family_by_encoder(view: View) -> str | None:
    if view.starts("conditioner.embedders.1.model."):
        return "sdxl"
    if view.starts("conditioner.embedders.0.model."):
        return "sdxl-refiner"
    if view.starts("conditioner.embedders.0.transformer."):
        return "sdxl"
    if view.starts("cond_stage_model.model."):
        return "sd2"
    return "sd1" if view.starts(*CLIP_L) else None


def _said_by_marks(view: View) -> tuple[Prediction | None, bool]:
    """Empty tensors by which newer files say what their UNet predicts."""
    if "edm_mean" in view.shapes or "edm_vpred.sigma_max" in view.shapes:
        return "edm", False
    return "v" if "v_pred" in view.shapes else None, "ztsnr" in view.shapes


_T5_PARTS = {
    "text_encoder": ("text_encoders.clip_l.",), "text_encoder_2": ("text_encoders.clip_g.",), "text_encoder_3": ("text_encoders.t5xxl.",),
    "vae": _VAE,
}


def _sd3(view: View) -> Model | None:
    """SD 3 medium (24 blocks), 3.5 medium (24 with a second attention), 3.5 large (38). Variants are named as they are sold."""
    if not view.shape("joint_blocks.0.x_block.attn.qkv.weight"):
        if not (view.shape("pos_embed.proj.weight") and view.shape("transformer_blocks.0.attn.add_k_proj.weight")):
            return None
        large, dual = view.shape("transformer_blocks.30.attn.to_q.weight"), view.shape("transformer_blocks.0.attn2.to_k.weight")
        return Model("sd3", "unet", "large-3.5" if large else "medium-3.5" if dual else "medium", "flow", parts=("transformer",))
    large, dual = view.shape("joint_blocks.30.x_block.attn.qkv.weight"), view.shape("joint_blocks.0.x_block.attn2.qkv.weight")
    parts = ("transformer", *view.parts(**_T5_PARTS))
    layout: Layout = "ldm" if len(parts) > 1 else "unet"
    return Model("sd3", layout, "large-3.5" if large else "medium-3.5" if dual else "medium", "flow", parts=parts)


def _flux(view: View) -> Model | None:
    """Flux.1: dev has a guidance input, schnell has none; fill takes 384 channels, the depth and edge models 128."""
    names = "double_blocks.0.img_attn.qkv.weight", "img_in.weight", "guidance_in.in_layer.weight"
    if not view.shape(names[0]):
        names = "single_transformer_blocks.0.attn.to_q.weight", "x_embedder.weight", "time_text_embed.guidance_embedder.linear_1.weight"
    if not view.shape(names[0]) or not view.shape(names[1]):
        return None
    channels = view.side(names[1])
    variant = {384: "fill", 128: "control"}.get(channels) or ("dev" if view.shape(names[2]) else "schnell")
    encoders = {"text_encoder": _T5_PARTS["text_encoder"], "text_encoder_2": _T5_PARTS["text_encoder_3"], "vae": _VAE}
    parts = ("transformer", *view.parts(**encoders))
    return Model("flux", "ldm" if len(parts) > 1 else "unet", variant, "flow", parts=parts)


FAMILIES: tuple[Describe, ...] = (_sd3, _flux, _stable_diffusion)


def _any(test: Callable[..., bool], *words: str) -> Callable[[View], bool]:
    return lambda view: test(view, *words)


def _is_embedding(view: View) -> bool:
    return len(view.shapes) <= 8 and view.starts("emb_params\n", "clip_l\n", "clip_g\n", "string_to_param.")


def _is_vae(view: View) -> bool:
    return view.starts("first_stage_model.decoder.") or all(f"decoder.{name}.weight" in view.shapes for name in ("conv_in", "conv_out"))


def _is_upscaler(view: View) -> bool:
    return view.side("input_blocks.0.0.weight") == 7 or view.side("conv_in.weight") == 7


Rule = tuple[Callable[[View], bool], str]
_ADAPTER = (".lora_down.weight", ".lora_up.weight", ".lora_A.weight", ".hada_w1_a", ".lokr_w1", ".lokr_w1_a", ".oft_blocks", ".oft_diag", ".on_input")
OTHERS: tuple[Rule, ...] = (
    (_any(View.ends, *_ADAPTER), "a LoRA (or another adapter), not a checkpoint"),
    (_any(View.contains, "zero_convs.0", "controlnet_down_blocks", "controlnet_blocks.0", "controlnet_cond_embedding"),
     "a ControlNet, not a checkpoint"),
    (_any(View.contains, "motion_modules.0"), "a motion module of AnimateDiff, not a checkpoint"),
    (_any(View.starts, "ip_adapter.", "image_proj."), "an IP-Adapter, not a checkpoint"),
    (_is_embedding, "an embedding, not a checkpoint"),
)
"""Tried first, because such files have names of a denoiser too."""

LATER: tuple[Rule, ...] = (
    (_any(View.contains, "distilled_guidance_layer."), "a Chroma model, which Easel does not run"),
    (_any(View.contains, "single_stream_modulation.lin"), "a Flux.2 model, which Easel does not run"),
    (_any(View.contains, "cap_embedder.0"), "a Lumina 2 or Z-Image model, which Easel does not run"),
    (_any(View.contains, "double_layers.0.attn.w2q"), "an AuraFlow model, which Easel does not run"),
    (_any(View.contains, "txt_norm.weight"), "a Qwen-Image model, which Easel does not run"),
    (_any(View.contains, "head.modulation"), "a Wan video model, which Easel does not run"),
    (_any(View.contains, "patchify_proj."), "an LTX video model, which Easel does not run"),
    (_any(View.contains, "individual_token_refiner."), "a Hunyuan video model, which Easel does not run"),
    (_any(View.contains, "clip_txt_mapper.", "channelwise.0.weight"), "a part of Stable Cascade, which Easel does not run"),
)
"""Families that nobody should take for one of ours. Tried before ours, whose names they share."""

REST: tuple[Rule, ...] = (
    (_is_vae, "a VAE alone, not a checkpoint"),
    (_is_upscaler, "the SD 2 upscaler, which Easel does not run"),
    (_any(View.starts, "text_model.encoder.", "text_model.embeddings.", "transformer.resblocks.", "encoder.block.0.layer.0.SelfAttention",
          "enc.blk.0.attn_q."),
     "a text encoder alone, not a checkpoint"),
    (_any(View.contains, "RDB1.conv1", "rdb1.conv1", "RRDB_trunk"), "an upscaler, not a checkpoint"),
)
"""Tried last."""


def recognise(header: Header) -> Model | Other | None:
    """What the tensors are, or None when nothing fits."""
    sized = not _OF_ITS_OWN.isdisjoint(header.metadata)
    return _recognise(header.alike, sized) if header.alike is not None else _recognise.__wrapped__(Tensors(header.shapes, dict(header.dtypes)), sized)


@lru_cache(maxsize=4)
def _recognise(tensors: Tensors, sized: bool) -> Model | Other | None:
    view = View(tensors, sized)
    whole = f"{PREFIXES[0]}out.2.weight" in view.shapes  # the end of a UNet in a checkpoint: no adapter or other family has it
    if not whole and (other := _first(view, OTHERS + LATER)):
        return other
    found = next((model for describe in FAMILIES if (model := describe(view))), None)
    if found is None:
        return _first(view, REST)
    return replace(found, dtype=_weight_dtype(view), ema=view.starts("model_ema."))


def _first(view: View, rules: tuple[Rule, ...]) -> Other | None:
    return next((Other(reason) for matches, reason in rules if matches(view)), None)


def _weight_dtype(view: View) -> str:
    """The dtype that most of the denoiser's weights have; biases and norms, often kept finer, do not count."""
    if view.ends(".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4"):
        return "NF4"
    prefix = view.prefix or (EMA if view.starts(EMA) else "")
    return Counter(view.dtypes[name] for name, shape in view.shapes.items() if len(shape) > 1 and name.startswith(prefix)).most_common(1)[0][0]


def describe_unknown(header: Header) -> str:
    """What was seen in a file that fits nothing: "12 tensors; the largest is x (4 × 8); the first are a, b, c"."""
    shapes = header.shapes
    if not shapes:
        return "no tensors"
    size = {name: math.prod(shape) for name, shape in shapes.items()}
    largest = max(size, key=lambda name: size[name])
    sides = " × ".join(map(str, shapes[largest])) or "one number"
    first = ", ".join(name[:80] for name in list(shapes)[:3])
    return f"{len(shapes)} tensors; the largest is {largest[:80]} ({sides}); the first are {first}"
