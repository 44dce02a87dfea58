"""Sizes of models of the Stable Diffusion kind: the standard ones of each family, and those that a smaller model carries in its own file. No torch.

A model of other sizes (our demo model, the random ones of the tests) writes what differs from its family as JSON under the safetensors metadata key
`easel.config`: `{"unet": {...}, "vae": {...}, "text_encoder": {...}, "scheduler": {...}}`. A file without a word about itself is measured
(`sizes`); what shapes do not show is the family's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from webui.schema.base import Frozen
from webui.schema.errors import ModelError

CONFIG_KEY = "easel.config"
Layers = Annotated[int, Field(ge=0, le=64)]


class UNetConfig(Frozen):
    """The denoiser. `attention` says how many transformer layers the attention blocks of each level have, 0 for a level without."""

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    attention: tuple[Layers, ...] = (1, 1, 1, 0)
    layers: int = Field(default=2, ge=1, le=8)
    heads: int | tuple[int, ...] = 8
    """How many, in all levels or in each (diffusers calls it `attention_head_dim`)."""

    context: int = Field(default=768, ge=1, le=8192)
    """Width of the text encoders' output."""

    groups: int = Field(default=32, ge=1, le=128)
    latent_channels: int = Field(default=4, ge=1, le=64)
    picture_channels: int = Field(default=0, ge=0, le=64)
    """Further input channels, for a picture: 5 for inpainting (mask and latents), 4 for editing, 1 for depth."""

    linear: bool = False
    """Attention blocks begin and end with linear layers instead of 1x1 convolutions."""

    described: int = Field(default=0, ge=0, le=16384)
    """Width of the vector that stands beside the text: pooled text and 256 for each size told; 0 = none."""

    classed: int = Field(default=0, ge=0, le=16384)
    """Width of the vector that stands for a picture in unCLIP models; 0 = none."""

    @property
    def middle(self) -> int:
        """Transformer layers in the middle: as many as in the deepest level that has some."""
        return next((count for count in reversed(self.attention) if count), 1)

    @model_validator(mode="after")
    def _one_entry_a_level(self) -> UNetConfig:
        levels = len(self.channels)
        if levels != len(self.attention) or not 1 <= levels <= 8 or (isinstance(self.heads, tuple) and levels != len(self.heads)):
            raise ValueError("channels, attention and heads must have one entry per level, 1 to 8 levels")
        return self


class VaeConfig(Frozen):
    """The autoencoder. Each level but the last halves the picture, so four levels give the factor 8 of every SD model."""

    channels: tuple[int, int, int, int] = (128, 256, 512, 512)
    layers: int = Field(default=2, ge=1, le=8)
    groups: int = Field(default=32, ge=1, le=128)
    latent_channels: int = Field(default=4, ge=1, le=64)
    scaling: float = Field(default=0.18215, gt=0)
    shift: float = 0.0
    """What stands for 0 in the latents, before they are scaled."""

    quantized: bool = True
    """With a convolution on either side of the latents, as autoencoders have that come from VQ models."""


class TextConfig(Frozen):
    """A text encoder of CLIP's kind."""

    vocabulary: int = Field(default=49408, ge=49408, le=65536)
    width: int = Field(default=768, ge=1, le=8192)
    inner: int = Field(default=3072, ge=1, le=32768)
    layers: int = Field(default=12, ge=1, le=64)
    heads: int = Field(default=12, ge=1, le=64)
    positions: Literal[77] = 77
    kind: Literal["clip", "open_clip"] = "clip"
    """OpenAI's, or that of OpenCLIP, which has other names in LDM files and an exact GELU."""

    projection: int = Field(default=0, ge=0, le=8192)
    """Width of the vector for the whole text; 0 = none."""

    layer: int = Field(default=1, ge=1, le=64)
    """Which layer's output is used, counted from the last; `normed`: under the final layer norm."""

    normed: bool = True


class SchedulerConfig(Frozen):
    """How the model was trained: betas are linear in their square root ("scaled linear"), `prediction` is what the UNet puts out; `auto` = it is
    asked (SD 2.x has both)."""

    beta_start: float = Field(default=0.00085, gt=0, lt=1)
    beta_end: float = Field(default=0.012, gt=0, lt=1)
    timesteps: Literal[1000] = 1000
    prediction: Literal["epsilon", "v", "auto"] = "epsilon"
    zero_snr: bool = False
    """Trained with zero terminal SNR: the last timestep is pure noise."""


class SdConfig(Frozen):
    """Everything needed to build the modules of a model."""

    unet: UNetConfig = UNetConfig()
    vae: VaeConfig = VaeConfig()
    text_encoder: TextConfig | None = TextConfig()
    text_encoder_2: TextConfig | None = None
    scheduler: SchedulerConfig = SchedulerConfig()

    @property
    def texts(self) -> dict[str, TextConfig]:
        """The text encoders by the name of their part."""
        both = {"text_encoder": self.text_encoder, "text_encoder_2": self.text_encoder_2}
        return {name: config for name, config in both.items() if config is not None}


_CLIP_L = TextConfig()
_BIG_G = TextConfig(width=1280, inner=5120, layers=32, heads=20, kind="open_clip", projection=1280, layer=2, normed=False)

PRESETS: Mapping[str, SdConfig] = {
    "sd1": SdConfig(),
    "sd2": SdConfig(
        unet=UNetConfig(heads=(5, 10, 20, 20), context=1024, linear=True),
        text_encoder=TextConfig(width=1024, inner=4096, layers=24, heads=16, kind="open_clip", projection=1024, layer=2),
        scheduler=SchedulerConfig(prediction="auto"),
    ),
    "sdxl": SdConfig(
        unet=UNetConfig(channels=(320, 640, 1280), attention=(0, 2, 10), heads=(5, 10, 20), context=2048, linear=True, described=2816),
        vae=VaeConfig(scaling=0.13025), text_encoder=_CLIP_L.revise(layer=2, normed=False), text_encoder_2=_BIG_G,
    ),
    "sdxl-refiner": SdConfig(
        unet=UNetConfig(
            channels=(384, 768, 1536, 1536), attention=(0, 4, 4, 0), heads=(6, 12, 24, 24), context=1280, linear=True, described=2560,
        ),
        vae=VaeConfig(scaling=0.13025), text_encoder=None, text_encoder_2=_BIG_G,
    ),
}
"""The published sizes of each family: CompVis/stable-diffusion, Stability-AI/stablediffusion and Stability-AI/generative-models, `configs/`."""


def read_config(metadata: Mapping[str, str], name: str, family: str = "sd1") -> SdConfig | None:
    """What a file's metadata states of its sizes, over those of its family; None when it states nothing. Raises `ModelError` when it states
    nonsense; `name` is the file's, for the message."""
    text = metadata.get(CONFIG_KEY)
    if text is None:
        return None
    try:
        stated = json.loads(text)
        if not isinstance(stated, dict):
            raise TypeError("not an object")
        return SdConfig.model_validate(_over(PRESETS[family].model_dump(), stated))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = f"{where}: {first['msg']}"
    except (ValueError, TypeError, RecursionError) as error:
        reason = str(error)
    raise ModelError(f"{name} describes its own sizes wrongly ({CONFIG_KEY}, {reason}).", field="checkpoint")


def _over(base: dict[str, Any], stated: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in stated.items():
        old = merged.get(key)
        merged[key] = _over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
