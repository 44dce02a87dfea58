"""Stable Diffusion 1.x: builds the three modules from a single LDM-layout safetensors file, or writes them back into that layout.

Knows nothing of sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from webui.backend.components import Components, ModuleCall
from webui.backend.device import Device
from webui.backend.families import ldm_keys
from webui.backend.families.sd1_config import Sd1Config, TextConfig, UNetConfig, VaeConfig, read_config
from webui.backend.parts import ModelChoice, ModelPlan, Part, source_of
from webui.backend.weights import Weights, open_weights
from webui.schema.model import Checkpoint

FAMILY = "sd1"


@dataclass(frozen=True, eq=False)
class Sd1Modules:
    """The modules of one model, on their device, in eval mode, without gradients."""

    config: Sd1Config
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel


def build_unet(config: UNetConfig) -> UNet2DConditionModel:
    """diffusers' UNet of these sizes; call it under `torch.device("meta")` to allocate nothing."""
    down = tuple("CrossAttnDownBlock2D" if attention else "DownBlock2D" for attention in config.attention)
    up = tuple("CrossAttnUpBlock2D" if attention else "UpBlock2D" for attention in reversed(config.attention))
    return UNet2DConditionModel(
        in_channels=config.latent_channels, out_channels=config.latent_channels, block_out_channels=config.channels, down_block_types=down,
        up_block_types=up, layers_per_block=config.layers, attention_head_dim=config.heads, cross_attention_dim=config.context,
        norm_num_groups=config.groups,
    )


def build_vae(config: VaeConfig) -> AutoencoderKL:
    """diffusers' KL autoencoder of these sizes."""
    levels = len(config.channels)
    blocks: dict[str, Any] = {  # typed Any: diffusers declares these as tuples of length one
        "down_block_types": ("DownEncoderBlock2D",) * levels, "up_block_types": ("UpDecoderBlock2D",) * levels, "block_out_channels": config.channels,
    }
    return AutoencoderKL(
        **blocks, layers_per_block=config.layers, latent_channels=config.latent_channels,
        norm_num_groups=config.groups, scaling_factor=config.scaling,
    )


def build_text_encoder(config: TextConfig) -> CLIPTextModel:
    """transformers' CLIP text encoder of these sizes."""
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=config.vocabulary, hidden_size=config.width, intermediate_size=config.inner, num_hidden_layers=config.layers,
        num_attention_heads=config.heads, max_position_embeddings=config.positions, hidden_act="quick_gelu", projection_dim=config.width,
        bos_token_id=49406, eos_token_id=49407, pad_token_id=49407,
    ))


def build_modules(config: Sd1Config) -> Sd1Modules:
    """All three modules on the meta device: shapes and names, no memory."""
    with torch.device("meta"):
        return Sd1Modules(config, build_unet(config.unet), build_vae(config.vae), build_text_encoder(config.text_encoder))


def to_ldm_names(modules: Sd1Modules) -> dict[str, str]:
    """LDM key → `part/key` of the module that holds it, for every weight of the model."""
    names: dict[str, str] = {}
    for part, prefix, paths in _parts(modules.config):
        keys = getattr(modules, part).state_dict().keys()
        renamed = dict.fromkeys(keys, "") if paths is None else ldm_keys.rename(keys, paths)
        for key in keys:
            names[prefix + (key if paths is None else renamed[key])] = f"{part}/{key}"
    return names


def to_module_weights(weights: Mapping[str, Tensor], part: str, config: Sd1Config) -> dict[str, Tensor]:
    """The weights of one module (`unet`, `vae`, `text_encoder`) out of an LDM state dict, under the module's own names and shapes."""
    prefix, paths = next((prefix, paths) for name, prefix, paths in _parts(config) if name == part)
    own = {key[len(prefix):]: value for key, value in weights.items() if key.startswith(prefix)}
    if paths is None:
        return own
    renamed = ldm_keys.rename(own, ldm_keys.inverted(paths))
    return {renamed[key]: _as_linear(key, value) for key, value in own.items() if key in renamed}


def to_ldm_weights(modules: Sd1Modules) -> dict[str, Tensor]:
    """The whole model as an LDM state dict: what other programs read."""
    weights: dict[str, Tensor] = {}
    for name, place in to_ldm_names(modules).items():
        part, _, key = place.partition("/")
        weights[name] = as_convolution(name, getattr(modules, part).state_dict()[key])
    return weights


def as_convolution(ldm_key: str, value: Tensor) -> Tensor:
    """(out, in) → (out, in, 1, 1) where LDM has a 1x1 convolution and diffusers a linear layer; anything else as it is."""
    return value[:, :, None, None] if ldm_key.endswith(ldm_keys.VAE_ATTENTION_LINEARS) and value.ndim == 2 else value


def plan(choice: ModelChoice) -> ModelPlan:
    """The parts of an SD 1.x checkpoint. Raises `ModelError` when its file cannot be opened or describes itself wrongly."""
    checkpoint = choice.checkpoint
    with open_weights(Path(checkpoint.path)) as weights:
        config = read_config(weights.metadata, checkpoint.name)
    builders: dict[str, Callable[[], nn.Module]] = {
        "unet": lambda: build_unet(config.unet), "vae": lambda: build_vae(config.vae),
        "text_encoder": lambda: build_text_encoder(config.text_encoder),
    }

    def part(name: str, prefix: str) -> Part:
        def read(weights: Weights) -> dict[str, Tensor]:
            own = filter(lambda key: key.startswith(prefix), weights.keys())
            return to_module_weights({key: weights.get(key) for key in own}, name, config)

        if name == "text_encoder":
            return Part(name, source_of(checkpoint), builders[name], read, restore_buffers)
        return Part(name, source_of(checkpoint), builders[name], read)

    parts = tuple(part(name, prefix) for name, prefix, _ in _parts(config))

    def assemble(modules: Mapping[str, nn.Module], device: Device) -> Components:
        return as_components(Sd1Modules(config, **modules), checkpoint, device)  # pyright: ignore[reportArgumentType]

    return ModelPlan(parts, assemble)


@dataclass(frozen=True, eq=False)
class SdAutoencoder:
    """`components.Autoencoder` over diffusers' KL autoencoder."""

    vae: AutoencoderKL
    scaling: float

    def decode(self, latents: Tensor) -> Tensor:
        """See `Autoencoder.decode`."""
        return self.vae.decode((latents / self.scaling).to(self.vae.dtype), return_dict=False)[0].float()  # pyright: ignore[reportArgumentType]

    def encode(self, pictures: Tensor, noise: Tensor | None = None) -> Tensor:
        """See `Autoencoder.encode`."""
        found = self.vae.encode(pictures.to(self.vae.dtype), return_dict=False)[0]
        latents = found.mean if noise is None else found.mean + found.std * noise.to(found.std.device)
        return latents.float() * self.scaling


def as_components(modules: Sd1Modules, checkpoint: Checkpoint, device: Device) -> Components:
    """Modules that are on the device already, as the engine sees them."""
    unet, text_encoder, config = modules.unet, modules.text_encoder, modules.config
    if device.attention == "xformers":
        unet.enable_xformers_memory_efficient_attention()

    def denoise(call: ModuleCall) -> Tensor:
        residuals = call.residuals
        return unet(
            call.x, call.t, call.context, cross_attention_kwargs=dict(call.patches) or None, added_cond_kwargs=dict(call.added) or None,
            down_block_additional_residuals=residuals.down if residuals else None,
            mid_block_additional_residual=residuals.middle if residuals else None, return_dict=False,
        )[0]

    def encode_text(tokens: Tensor, clip_skip: int) -> Tensor:
        return encode_tokens(text_encoder, tokens, clip_skip)

    scheduler = config.scheduler
    return Components(
        checkpoint, device, denoise, encode_text, SdAutoencoder(modules.vae, config.vae.scaling), scheduler.prediction,
        scaled_linear_alphas(scheduler.beta_start, scheduler.beta_end, scheduler.timesteps), config.unet.latent_channels,
        {"unet": unet, "vae": modules.vae, "text_encoder": text_encoder},
    )


def encode_tokens(text_encoder: CLIPTextModel, tokens: Tensor, clip_skip: int = 1) -> Tensor:
    """(chunks, 77, width): the output of layer -clip_skip under the final layer norm, as A1111's clip skip. Beyond the first layer: the first's."""
    if clip_skip <= 1:
        return text_encoder(tokens).last_hidden_state
    states = text_encoder(tokens, output_hidden_states=True).hidden_states  # the embeddings, then the output of each layer
    return text_encoder.final_layer_norm(states[max(len(states) - clip_skip, 1)])


def scaled_linear_alphas(beta_start: float, beta_end: float, timesteps: int) -> Tensor:
    """Cumulative alphas of the training, float32 of a float64 product: betas linear in their square root (Rombach et al. 2022, LDM's `ddpm.py`)."""
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, timesteps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0).float()


def _parts(config: Sd1Config) -> list[tuple[str, str, dict[str, str] | None]]:
    return [
        ("text_encoder", ldm_keys.TEXT_PREFIX, None),
        ("unet", ldm_keys.UNET_PREFIX, ldm_keys.unet_paths(config.unet)),
        ("vae", ldm_keys.VAE_PREFIX, ldm_keys.vae_paths(config.vae)),
    ]


def _as_linear(ldm_key: str, value: Tensor) -> Tensor:
    return value[:, :, 0, 0] if ldm_key.endswith(ldm_keys.VAE_ATTENTION_LINEARS) and value.ndim == 4 else value


def restore_buffers(text_encoder: nn.Module, device: torch.device) -> None:
    """CLIP's position ids are not in the state dict, so they are still on the meta device; they simply count."""
    assert isinstance(text_encoder, CLIPTextModel)
    positions = torch.arange(text_encoder.config.max_position_embeddings, device=device)[None]
    text_encoder.embeddings.register_buffer("position_ids", positions, persistent=False)
