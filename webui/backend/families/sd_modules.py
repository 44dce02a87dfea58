"""The modules of models of the Stable Diffusion kind, built from their sizes, and what their text encoders and autoencoders say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from webui.backend.blueprint import blueprint
from webui.backend.components import END, Encoded
from webui.backend.families.sd_config import SdConfig, TextConfig, UNetConfig, VaeConfig

SIZE_WIDTH = 256
"""Width of what each size told to SDXL becomes."""

TextModule = CLIPTextModel | CLIPTextModelWithProjection


@dataclass(frozen=True, eq=False)
class SdModules:
    """The modules of one model, on their device, in eval mode, without gradients."""

    config: SdConfig
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: TextModule | None = None
    text_encoder_2: TextModule | None = None

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The modules that it has, by the names of their parts."""
        names = ("unet", "vae", "text_encoder", "text_encoder_2")
        return {name: module for name in names if (module := getattr(self, name)) is not None}


def build_unet(config: UNetConfig) -> UNet2DConditionModel:
    """diffusers' UNet of these sizes; call it under `blueprint` to allocate nothing."""
    down = tuple("CrossAttnDownBlock2D" if attention else "DownBlock2D" for attention in config.attention)
    up = tuple("CrossAttnUpBlock2D" if attention else "UpBlock2D" for attention in reversed(config.attention))
    layers = [attention or 1 for attention in config.attention]
    layers[-1] = config.middle  # diffusers takes the middle's from the last level
    told: dict[str, Any] = {"attention_head_dim": config.heads, "transformer_layers_per_block": tuple(layers)}  # typed Any: see build_vae
    if config.described:
        told |= {
            "addition_embed_type": "text_time", "addition_time_embed_dim": SIZE_WIDTH, "projection_class_embeddings_input_dim": config.described,
        }
    if config.classed:
        told |= {"class_embed_type": "projection", "projection_class_embeddings_input_dim": config.classed}
    return UNet2DConditionModel(
        in_channels=config.latent_channels + config.picture_channels, out_channels=config.latent_channels, block_out_channels=config.channels,
        down_block_types=down, up_block_types=up, layers_per_block=config.layers,
        cross_attention_dim=config.context, norm_num_groups=config.groups, use_linear_projection=config.linear, **told,
    )


def build_vae(config: VaeConfig) -> AutoencoderKL:
    """diffusers' KL autoencoder of these sizes."""
    levels = len(config.channels)
    blocks: dict[str, Any] = {  # typed Any: diffusers declares these as tuples of length one
        "down_block_types": ("DownEncoderBlock2D",) * levels, "up_block_types": ("UpDecoderBlock2D",) * levels, "block_out_channels": config.channels,
    }
    return AutoencoderKL(
        **blocks, layers_per_block=config.layers, latent_channels=config.latent_channels,
        norm_num_groups=config.groups, scaling_factor=config.scaling, shift_factor=config.shift or None, use_quant_conv=config.quantized,
        use_post_quant_conv=config.quantized,
    )


def build_text_encoder(config: TextConfig) -> TextModule:
    """transformers' CLIP text encoder of these sizes, with its projection if it has one."""
    return CLIPTextModelWithProjection(_clip_sizes(config)) if config.projection else build_clip(config)


def build_clip(config: TextConfig) -> CLIPTextModel:
    """The same without projection."""
    return CLIPTextModel(_clip_sizes(config))


def _clip_sizes(config: TextConfig) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=config.vocabulary, hidden_size=config.width, intermediate_size=config.inner, num_hidden_layers=config.layers,
        num_attention_heads=config.heads, max_position_embeddings=config.positions,
        hidden_act="quick_gelu" if config.kind == "clip" else "gelu", projection_dim=config.projection or config.width,
        bos_token_id=END - 1, eos_token_id=END, pad_token_id=END,
    )


def builders(config: SdConfig) -> dict[str, Callable[[], nn.Module]]:
    """How each part is made."""
    made: dict[str, Callable[[], nn.Module]] = {"unet": lambda: build_unet(config.unet), "vae": lambda: build_vae(config.vae)}
    for name, text in config.texts.items():
        made[name] = lambda text=text: build_text_encoder(text)
    return made


def build_modules(config: SdConfig) -> SdModules:
    """All modules on the meta device: shapes and names, no memory."""
    with blueprint():
        parts: dict[str, Any] = {name: build() for name, build in builders(config).items()}
    return SdModules(config, **parts)


def build_keys(build: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """The state dict of a module that is not there, on the meta device."""
    with blueprint():
        return build().state_dict()


def encode_text(module: TextModule, tokens: Tensor, layer: int = 1, normed: bool = True) -> Encoded:
    """States (chunks, 77, width) of a layer counted from the last, beyond the first layer: the first's; and the vector of each chunk, at its first
    end mark, from an encoder with a projection."""
    text = module.text_model if isinstance(module, CLIPTextModelWithProjection) else module
    if layer <= 1 and normed:
        output = text(tokens)
        states = output.last_hidden_state
    else:
        output = text(tokens, output_hidden_states=True)
        hidden = output.hidden_states  # the embeddings, then the output of each layer
        states = hidden[max(len(hidden) - layer, 1)]
        states = text.final_layer_norm(states) if normed else states
    pooled = module.text_projection(output.pooler_output) if isinstance(module, CLIPTextModelWithProjection) else None
    return Encoded(states, pooled)


def restore_buffers(module: nn.Module, device: torch.device) -> None:
    """CLIP's position ids are not in the state dict, so they are still on the meta device; they simply count."""
    assert isinstance(module, CLIPTextModel | CLIPTextModelWithProjection)
    text = module.text_model if isinstance(module, CLIPTextModelWithProjection) else module
    positions = torch.arange(module.config.max_position_embeddings, device=device)[None]
    text.embeddings.register_buffer("position_ids", positions, persistent=False)


@dataclass(frozen=True, eq=False)
class SdAutoencoder:
    """`components.Autoencoder` over diffusers' KL autoencoder. `scaling` and `shift`: of all channels, or (1, channels, 1, 1)."""

    vae: AutoencoderKL
    scaling: float | Tensor
    shift: float | Tensor = 0.0

    @property
    def _dtype(self) -> torch.dtype:
        """Asked every time, for it may be widened; of the first weight, because diffusers' own `dtype` walks through all of them."""
        return next(self.vae.parameters()).dtype

    def decode(self, latents: Tensor) -> Tensor:
        """See `Autoencoder.decode`."""
        latents = (latents / self.scaling + self.shift).to(self._dtype)
        return self.vae.decode(latents, return_dict=False)[0].float()  # pyright: ignore[reportArgumentType]

    def encode(self, pictures: Tensor, noise: Tensor | None = None) -> Tensor:
        """See `Autoencoder.encode`."""
        found = self.vae.encode(pictures.to(self._dtype), return_dict=False)[0]
        latents = found.mean if noise is None else found.mean + found.std * noise.to(found.std.device)
        return (latents.float() - self.shift) * self.scaling


def scaled_linear_alphas(beta_start: float, beta_end: float, timesteps: int) -> Tensor:
    """Cumulative alphas of the training, float32 of a float64 product: betas linear in their square root (Rombach et al. 2022, LDM's `ddpm.py`)."""
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, timesteps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0).float()
