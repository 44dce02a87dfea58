"""SD 3's and Flux's modules as the engine sees them: how their transformers are called, and what their texts become. Knows no files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from torch import Tensor, nn
from torch.nn.functional import pad

from webui.backend.components import Autoencoder, Denoise, Encoded, Frame, ModuleCall, View
from webui.schema.errors import ModelError

EMPTY_T5 = 256
"""Tokens of zeros that stand for T5's words where SD 3 goes without it, as diffusers does."""


def build_transformer(family: str, sizes: Mapping[str, Any]) -> nn.Module:
    """diffusers' transformer of these sizes; call it under `blueprint` to allocate nothing."""
    return (SD3Transformer2DModel if family == "sd3" else FluxTransformer2DModel)(**sizes)


def sd3_denoise(transformer: nn.Module, places: int) -> Denoise:
    """SD 3 sees latents as they are, and is told t as the timestep. It knows so many places a side."""

    def denoise(call: ModuleCall) -> Tensor:
        if max(call.x.shape[2:]) > places * 2:
            hint = "Take a smaller size."
            raise ModelError(f"This model makes pictures of up to {places * 16} pixels a side.", field="checkpoint", hint=hint)
        return transformer(
            call.x, call.context, call.added["pooled"], call.t, joint_attention_kwargs=dict(call.patches) or None, return_dict=False,
        )[0]

    return denoise


def flux_denoise(transformer: nn.Module, guided: bool) -> Denoise:
    """Flux sees 2 x 2 cells as one token with its place, and is told t as a share."""

    def denoise(call: ModuleCall) -> Tensor:
        rows, _, height, width = call.x.shape
        words = torch.zeros(call.context.shape[1], 3, device=call.x.device, dtype=call.x.dtype)
        output = transformer(
            pack(call.x), call.context, call.added["pooled"], call.t / 1000, flux_places(height, width, call.x), words,
            call.added["guidance"].reshape(rows) if guided else None, joint_attention_kwargs=dict(call.patches) or None, return_dict=False,
        )[0]
        return unpack(output, height, width)

    return denoise


def pack(x: Tensor) -> Tensor:
    """(rows, channels, h, w) → (rows, h/2 w/2, 4 channels): 2 x 2 cells become one token."""
    rows, channels, height, width = x.shape
    cells = x.reshape(rows, channels, height // 2, 2, width // 2, 2)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(rows, height * width // 4, channels * 4)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """`pack` turned round."""
    rows, _, channels = tokens.shape
    cells = tokens.reshape(rows, height // 2, width // 2, channels // 4, 2, 2)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(rows, channels // 4, height, width)


def flux_places(height: int, width: int, like: Tensor) -> Tensor:
    """(h/2 w/2, 3): 0, row and column of each token."""
    places = torch.zeros(height // 2, width // 2, 3, device=like.device, dtype=like.dtype)
    places[..., 1] = torch.arange(height // 2, device=like.device)[:, None]
    places[..., 2] = torch.arange(width // 2, device=like.device)
    return places.reshape(-1, 3)


def sd3_join(width: int) -> Callable[[Sequence[Encoded]], Encoded]:
    """CLIP's states side by side and filled up to T5's `width`, T5's behind them (zeros without it); both vectors side by side."""

    def join(encoded: Sequence[Encoded]) -> Encoded:
        first, second, *rest = encoded
        clip = torch.cat([first.states, second.states], -1)
        clip = pad(clip, (0, width - clip.shape[-1]))
        words = rest[0].states.to(clip.dtype) if rest else clip.new_zeros(len(clip), EMPTY_T5, width)
        assert first.pooled is not None and second.pooled is not None
        return Encoded(torch.cat([clip, words], 1), torch.cat([first.pooled, second.pooled], -1))

    return join


def flux_join(encoded: Sequence[Encoded]) -> Encoded:
    """T5's states, CLIP's vector."""
    clip, words = encoded
    return Encoded(words.states, clip.pooled)


def describe_pooled(pooled: Tensor | None, frame: Frame) -> dict[str, Tensor]:
    """The vector for the whole, for SD 3 and Flux schnell."""
    del frame
    assert pooled is not None
    return {"pooled": pooled}


def describe_guided(pooled: Tensor | None, frame: Frame) -> dict[str, Tensor]:
    """The same, and how strong built-in guidance is to be."""
    assert pooled is not None
    return {"pooled": pooled, "guidance": torch.tensor(frame.distilled, device=pooled.device, dtype=torch.float32)}


def look_and_fill(device: torch.device) -> Callable[[Autoencoder, View], Tensor]:
    """What Flux fill sees: the latents of the picture without what is masked, and behind them the mask, 64 channels for the 8 x 8 pixels of a cell
    (diffusers, `pipeline_flux_fill.py`). Without a picture it is grey, and the mask everywhere."""

    def look(autoencoder: Autoencoder, view: View) -> Tensor:
        size = (view.height * 8, view.width * 8)
        picture = torch.zeros(1, 3, *size) if view.picture is None else view.picture
        mask = torch.ones(1, 1, *size) if view.mask is None else view.mask
        cells = mask.reshape(1, view.height, 8, view.width, 8).permute(0, 2, 4, 1, 3).reshape(1, 64, view.height, view.width)
        return torch.cat([autoencoder.encode((picture * (1 - mask)).to(device)), cells.to(device)], 1)

    return look
