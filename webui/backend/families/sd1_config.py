"""Sizes of a Stable Diffusion 1.x model: the standard ones, and those that a smaller model carries in its own file. Knows no torch.

A file without a word about itself has SD 1.5's sizes. A model of other sizes (our demo model, the random ones of the tests) writes them as JSON
under the safetensors metadata key `easel.config`: `{"unet": {...}, "vae": {...}, "text_encoder": {...}, "scheduler": {...}}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from webui.schema.base import Frozen
from webui.schema.errors import ModelError

CONFIG_KEY = "easel.config"


class UNetConfig(Frozen):
    """The denoiser. Attention stands in the levels where `attention` is true; `heads` is diffusers' `attention_head_dim` of SD 1.x (a count)."""

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    attention: tuple[bool, ...] = (True, True, True, False)
    layers: int = Field(default=2, ge=1, le=8)
    heads: int = Field(default=8, ge=1, le=64)
    context: int = Field(default=768, ge=1, le=8192)
    """Width of the text encoder's output."""

    groups: int = Field(default=32, ge=1, le=128)
    latent_channels: int = Field(default=4, ge=1, le=64)

    @model_validator(mode="after")
    def _one_flag_a_level(self) -> UNetConfig:
        if len(self.channels) != len(self.attention) or not 1 <= len(self.channels) <= 8:
            raise ValueError("channels and attention must have one entry per level, 1 to 8 levels")
        return self


class VaeConfig(Frozen):
    """The autoencoder. Each level but the last halves the picture, so four levels give the factor 8 of every SD model."""

    channels: tuple[int, int, int, int] = (128, 256, 512, 512)
    layers: int = Field(default=2, ge=1, le=8)
    groups: int = Field(default=32, ge=1, le=128)
    latent_channels: int = Field(default=4, ge=1, le=64)
    scaling: float = Field(default=0.18215, gt=0)


class TextConfig(Frozen):
    """CLIP's text encoder."""

    vocabulary: int = Field(default=49408, ge=49408, le=65536)
    width: int = Field(default=768, ge=1, le=8192)
    inner: int = Field(default=3072, ge=1, le=32768)
    layers: int = Field(default=12, ge=1, le=64)
    heads: int = Field(default=12, ge=1, le=64)
    positions: Literal[77] = 77


class SchedulerConfig(Frozen):
    """How the model was trained: betas are linear in their square root ("scaled linear"), `prediction` is what the UNet puts out."""

    beta_start: float = Field(default=0.00085, gt=0, lt=1)
    beta_end: float = Field(default=0.012, gt=0, lt=1)
    timesteps: Literal[1000] = 1000
    prediction: Literal["epsilon", "v"] = "epsilon"


class Sd1Config(Frozen):
    """Everything needed to build the three modules of an SD 1.x model."""

    unet: UNetConfig = UNetConfig()
    vae: VaeConfig = VaeConfig()
    text_encoder: TextConfig = TextConfig()
    scheduler: SchedulerConfig = SchedulerConfig()


def read_config(metadata: Mapping[str, str], name: str) -> Sd1Config:
    """The sizes that a file's metadata states, else SD 1.5's. Raises `ModelError` when it states nonsense; `name` is the file's, for the message."""
    text = metadata.get(CONFIG_KEY)
    if text is None:
        return Sd1Config()
    try:
        return Sd1Config.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{name} describes its own sizes wrongly ({CONFIG_KEY}, {where}: {first['msg']}).", field="checkpoint") from error
