"""A loaded model as the engine sees it, whatever its family: modules, their precision, how the model was trained, and how its module is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from webui.backend.device import Device
from webui.schema.model import Checkpoint


@dataclass(frozen=True)
class Residuals:
    """What a ControlNet or T2I-Adapter adds to the denoiser's skip connections (finest first) and its middle; shapes are the module's own."""

    down: tuple[Tensor, ...]
    middle: Tensor | None = None


@dataclass(frozen=True)
class ModuleCall:
    """One call of a denoiser: x (batch, channels, height, width) and context (batch, tokens, width) in its dtype, t (batch,) float32.

    x has more channels than there are latent ones for a model that also looks at a picture (inpainting, editing, depth): the picture's come last.
    """

    x: Tensor
    t: Tensor
    context: Tensor
    call: int = 0
    """Number of the call within the pass, from 0."""

    residuals: Residuals | None = None
    added: Mapping[str, Tensor] = field(default_factory=dict)
    """Further conditioning by name, a row each of x (SDXL's pooled text and sizes, IP-Adapter's image embeddings)."""

    patches: Mapping[str, Any] = field(default_factory=dict)
    """What attention processors are handed along (masks, scales)."""


Prediction = Literal["epsilon", "v", "flow", "edm"]
"""What a denoiser was trained to predict: the noise, v = sqrt(a) noise - sqrt(1 - a) picture, the flow noise - picture, or what Karras et al. 2022
call F (-v, for pictures of another spread)."""

Denoise = Callable[[ModuleCall], Tensor]
"""A family's denoiser: its raw prediction, shaped like x."""


@dataclass(frozen=True)
class Encoded:
    """Encoded texts: states (texts, tokens, width), and a vector for the whole of each (texts, width) where the encoder has one."""

    states: Tensor
    pooled: Tensor | None = None


EncodeText = Callable[[Tensor, int | None], Encoded]
"""Token ids (chunks, 77, or as many as the encoder reads) and clip skip (1 = the last layer, 2 = the one before it, …; None = the layer that the
family uses)."""

END = 49407
"""CLIP's end mark."""


@dataclass(frozen=True)
class TextEncoder:
    """One of a model's text encoders."""

    encode: EncodeText
    pad: int = END
    """What stands behind the first end mark of a chunk."""

    clip_skip: Literal["always", "asked", "never"] = "always"
    """Whether the setting "Clip skip" counts for it; `asked`: only together with `sdxl_clip_l_skip`."""

    tokenize: Callable[[str], list[int]] | None = None
    """Its own words for a text, without an end mark; None = CLIP's, in chunks of 75. Such an encoder (T5) reads the whole text at once."""

    length: int = 77
    """Tokens that a text of an encoder with words of its own is filled up to."""


@dataclass(frozen=True)
class Frame:
    """What SDXL and Flux are told about a picture besides its prompt. Pixels; `score` is how beautiful it should be, for the refiner."""

    width: int
    height: int
    crop_top: int = 0
    crop_left: int = 0
    score: float = 6.0
    distilled: float = 3.5
    """What a model with built-in guidance is told."""


@dataclass(frozen=True)
class Flow:
    """How the noise of a flow model is laid out: how far its timesteps are shifted towards the noise, and whether its own schedule goes `even`ly down
    to 0 (see `engine.schedules.FlowTable`)."""

    shift: float
    even: bool = False


@dataclass(frozen=True)
class Edm:
    """Noise levels of a model's own (Karras et al. 2022, https://arxiv.org/abs/2206.00364): the least and the most noise, and the spread of its
    pictures' latents. `karras`: its own schedule is that paper's, else evenly spaced in log sigma."""

    least: float
    most: float
    data: float = 1.0
    karras: bool = False


def join_encoded(encoded: Sequence[Encoded]) -> Encoded:
    """States of several encoders side by side (texts, tokens, sum of widths), and the last vector that there is."""
    if len(encoded) == 1:
        return encoded[0]
    pooled = next((one.pooled for one in reversed(encoded) if one.pooled is not None), None)
    return Encoded(torch.cat([one.states for one in encoded], -1), pooled)


def describe_nothing(pooled: Tensor | None, frame: Frame) -> Mapping[str, Tensor]:
    """For families whose denoiser sees the prompt only."""
    del pooled, frame
    return {}


@dataclass(frozen=True)
class View:
    """What a denoiser that also looks at a picture could be shown. Height and width in latent cells; without a picture there is none to begin
    with."""

    height: int
    width: int
    picture: Tensor | None = None
    """(1, 3, 8 height, 8 width) in [-1, 1]."""

    mask: Tensor | None = None
    """(1, 1, 8 height, 8 width), 0 … 1: what is made anew; None = everything."""

    mask_weight: float = 1.0
    """How much of what is masked is hidden from the model."""

    depth: Tensor | None = None
    """(1 or one for each picture, 1, any height, any width): how near each place is, in any unit."""


def look_at_nothing(autoencoder: Autoencoder, view: View) -> None:
    """For families whose denoiser sees the latents only."""
    del autoencoder, view



class Autoencoder(Protocol):
    """Pictures to latents and back; latents are scaled as the denoiser knows them, pictures are in [-1, 1]."""

    def decode(self, latents: Tensor) -> Tensor:
        """(batch, channels, h, w) → (batch, 3, 8 h, 8 w), both float32."""
        ...

    def encode(self, pictures: Tensor, noise: Tensor | None = None) -> Tensor:
        """(batch, 3, height, width) → the middle of the latent distribution, (batch, channels, height // 8, width // 8), both float32; with noise of
        that shape a draw from it."""
        ...


@dataclass(frozen=True, eq=False)
class Components:
    """A loaded model. Compared and hashed by identity, so that caches can hang on it and go with it."""

    checkpoint: Checkpoint
    device: Device
    denoise: Denoise
    text_encoders: tuple[TextEncoder, ...]
    autoencoder: Autoencoder
    prediction: Prediction
    alphas_cumprod: Tensor
    """(1000,) float32 on the CPU."""

    latent_channels: int
    modules: Mapping[str, nn.Module]
    """The bare modules by name (`unet`, `vae`, `text_encoder`), for adapters."""

    join: Callable[[Sequence[Encoded]], Encoded] = join_encoded
    """What the text encoders said, in their order, as the denoiser wants it."""

    describe: Callable[[Tensor | None, Frame], Mapping[str, Tensor]] = describe_nothing
    """`ModuleCall.added` of one row, from its pooled vector (width,) and the picture's frame."""

    look: Callable[[Autoencoder, View], Tensor | None] = look_at_nothing
    """What a denoiser that also looks at a picture gets: (1, its further channels, height, width in latent cells). Raises `ModelError`."""

    flow: Callable[[int, int], Flow] | None = None
    """Of a flow model: its noise for a picture of this width and height in pixels."""

    edm: Edm | None = None
    """Of a model with noise levels of its own; `alphas_cumprod` then does not count."""

    zero_negative: bool = False
    """An empty negative prompt is all zeros instead of the encoding of nothing."""

    sdxl: bool = False
    """Some schedules have other numbers for SDXL."""

    zero_snr: bool = False
    """Trained to zero terminal signal-to-noise ratio: `alphas_cumprod` is brought there before it is used."""
