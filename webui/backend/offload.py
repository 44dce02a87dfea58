"""Parts of a model that are not on the device all the time: one at a time, or layer by layer; weights stored in 8 bits; a VAE that works in tiles.

Built on hooks of accelerate and diffusers, so the modules are called as ever. Knows no families.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from diffusers.hooks.group_offloading import apply_group_offloading
from diffusers.hooks.layerwise_casting import apply_layerwise_casting
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn

from webui.backend.memory import TILE

CPU = torch.device("cpu")


class Ring:
    """Modules that take turns on a device: a call brings one there and sends the one before it back to RAM."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._there: weakref.ref[nn.Module] | None = None

    def join(self, module: nn.Module) -> None:
        """From now on the module, which is on the CPU, comes to the device when it is called (also by a VAE's `encode` and `decode`)."""
        add_hook_to_module(module, _Turn(self), append=True)

    def enter(self, module: nn.Module) -> None:
        """It is this module's turn."""
        there = self._there() if self._there else None
        if there is module:
            return
        if there is not None:
            there.to(CPU)
        module.to(self._device)
        self._there = weakref.ref(module)


class _Turn(ModelHook):
    no_grad = False

    def __init__(self, ring: Ring) -> None:
        self._ring = ring

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        self._ring.enter(module)
        return args, kwargs


def fetch_by_layer(module: nn.Module, device: torch.device) -> None:
    """Each layer comes to the device for its own work only; with CUDA the next one is fetched on a stream of its own meanwhile."""
    streams = device.type == "cuda"
    apply_group_offloading(module, device, CPU, "leaf_level", non_blocking=streams, use_stream=streams, record_stream=streams)


def store_in_8_bits(module: nn.Module, dtype: torch.dtype) -> None:
    """Keep the weights of linear layers and convolutions as float8_e4m3fn and widen each to `dtype` while it computes. Norms and embeddings stay."""
    apply_layerwise_casting(module, storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)


def is_moved_about(module: nn.Module) -> bool:
    """Whether only its own thread may call this module: it is not on the device all the time."""
    return any(hasattr(part, "_hf_hook") or hasattr(part, "_diffusers_hook") for part in module.modules())


def set_tiling(vae: nn.Module, on: bool) -> None:
    """Let the VAE work on tiles of `TILE` pixels whose seams are blended, or on whole pictures. Other kinds of VAE are left as they are."""
    if not isinstance(vae, AutoencoderKL):
        return
    vae.use_tiling = on
    vae.tile_sample_min_size = TILE
    vae.tile_latent_min_size = TILE // 2 ** (len(vae.config["block_out_channels"]) - 1)
