"""A loaded model as the engine sees it, whatever its family: modules, their precision, how the model was trained, and how its module is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

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
    """One call of a denoiser: x (batch, channels, height, width) and context (batch, tokens, width) in its dtype, t (batch,) float32."""

    x: Tensor
    t: Tensor
    context: Tensor
    call: int = 0
    """Number of the call within the pass, from 0."""

    residuals: Residuals | None = None
    added: Mapping[str, Tensor] = field(default_factory=dict)
    """Further conditioning by name (SDXL's sizes, IP-Adapter's image embeddings)."""

    patches: Mapping[str, Any] = field(default_factory=dict)
    """What attention processors are handed along (masks, scales)."""


Prediction = Literal["epsilon", "v", "flow"]
"""What a denoiser was trained to predict: the noise, v = sqrt(a) noise - sqrt(1 - a) picture, or the flow noise - picture."""

Denoise = Callable[[ModuleCall], Tensor]
"""A family's denoiser: its raw prediction, shaped like x."""

EncodeText = Callable[[Tensor, int], Tensor]
"""Token ids (chunks, 77) and clip skip (1 = the last layer, 2 = the one before it, …) → (chunks, 77, width)."""


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
    encode_text: EncodeText
    autoencoder: Autoencoder
    prediction: Prediction
    alphas_cumprod: Tensor
    """(1000,) float32 on the CPU."""

    latent_channels: int
    modules: Mapping[str, nn.Module]
    """The bare modules by name (`unet`, `vae`, `text_encoder`), for adapters."""
