"""A start for the autoencoder: its weights are set so that the first three latent channels are the picture reduced 8 times and the decoder enlarges
them again. Training then only adds what a thumbnail lacks. Without this, colours come last (the norms take them away) and the start costs minutes.

How it passes the norms: each colour is carried by two channels that the residual path copies unchanged. The last norm of either half sees two more
channels of a large constant ±K in the same group, which keeps its deviation nearly constant; its weights are +1 and -1 for the pair, and
silu(x) - silu(-x) = x, so norm and activation together are linear.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

PAIRS = ((0, 1), (6, 7), (12, 13))
"""Channels that carry red, green and blue, each twice."""

MARKS = ((2, 3), (8, 9), (14, 15))
"""Channels of the constants +K and -K before the last norm."""

CARRIERS = [channel for pair in PAIRS for channel in pair]
MARK = 6.0
BLUR = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
HALVE = torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 0]]) / 4
CENTRE = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]])


Module = Any
"""diffusers' blocks say of their parts only that they are modules."""


@torch.no_grad()
def start_as_thumbnail(vae: AutoencoderKL) -> None:
    """Set the weights in place. The narrowest level must have 24 channels or more, in 4 norm groups. Raises `ValueError` otherwise."""
    if min(vae.config["block_out_channels"]) < 24 or vae.config["norm_num_groups"] != 4:
        raise ValueError("The thumbnail needs at least 24 channels a level and 4 norm groups.")
    halves: tuple[Module, Module] = (vae.encoder, vae.decoder)
    for half in halves:
        for name, module in half.named_modules():
            if hasattr(module, "conv2") and hasattr(module, "conv1"):
                _carry_through_resnet(module)
            elif name.endswith("to_out.0"):
                _clear_rows(module, CARRIERS)
            elif name.endswith(("downsamplers.0.conv", "upsamplers.0.conv")):
                _carry(module, HALVE if half is vae.encoder else BLUR, {channel: channel for channel in CARRIERS})
        _carry(half.conv_in, CENTRE, {channel: colour for colour, pair in enumerate(PAIRS) for channel in pair})
        groups = half.conv_norm_out.num_channels // 4
        _set_marks(half.mid_block.resnets[-1] if half is vae.encoder else half.up_blocks[-1].resnets[-1])
        _open_norm(half.conv_norm_out, half.conv_out, groups)
    _pass(vae.quant_conv)
    _pass(vae.post_quant_conv)
    _set_narrow_spread(vae.quant_conv)


def _carry(convolution: Module, kernel: Tensor, sources: dict[int, int]) -> None:
    """Output channel `key` is input channel `value` through the kernel."""
    _clear_rows(convolution, list(sources))
    for channel, source in sources.items():
        convolution.weight[channel, source] = kernel


def _clear_rows(module: Module, rows: list[int]) -> None:
    module.weight[rows] = 0
    module.bias[rows] = 0


def _carry_through_resnet(resnet: Module) -> None:
    _clear_rows(resnet.conv2, CARRIERS)
    if resnet.conv_shortcut is not None:
        _carry(resnet.conv_shortcut, torch.ones(1, 1), {channel: channel for channel in CARRIERS})


def _set_marks(resnet: Module) -> None:
    rows = [channel for pair in MARKS for channel in pair]
    _clear_rows(resnet.conv2, rows)
    if resnet.conv_shortcut is not None:
        _clear_rows(resnet.conv_shortcut, rows)
    resnet.conv2.bias[rows] = torch.tensor([MARK, -MARK] * 3)


def _open_norm(norm: Module, convolution: Module, group: int) -> None:
    """`group` channels share a norm: with m marks pairs in it, the deviation is K · sqrt(2 m / group)."""
    for colour, (plus, minus) in enumerate(PAIRS):
        marks = sum(first // group == plus // group for first, _ in MARKS)
        norm.weight[plus], norm.weight[minus] = 1.0, -1.0
        convolution.weight[colour] = 0
        convolution.bias[colour] = 0
        scale = MARK * (2 * marks / group) ** 0.5
        convolution.weight[colour, plus], convolution.weight[colour, minus] = CENTRE * scale, -CENTRE * scale


def _set_narrow_spread(convolution: Module) -> None:
    """A small, constant variance of the latents: logarithm -6."""
    convolution.bias[4:] = -6.0
    convolution.weight[4:] = 0


def _pass(convolution: Module) -> None:
    """The first channels unchanged."""
    count = min(4, convolution.weight.shape[0])
    convolution.weight[:count] = 0
    convolution.bias[:count] = 0
    for channel in range(count):
        convolution.weight[channel, channel] = 1
