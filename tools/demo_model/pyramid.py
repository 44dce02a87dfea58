"""Trains the inner part of a UNet on its own first: everything below the finest level, on latents reduced two times. Knows no texts and no data.

The inner part sees the same things at the same scale as later inside the whole UNet, at half the cost. Its input is exactly what the whole UNet's
first downsampler can compute (a 3×3 binomial filter with stride 2), so that `InnerUNet.expand` hands over without a jump: from then on the finest
level adds what the reduced latents lack. Training at half the picture size instead would teach every thing at half its scale.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional

LATENTS = 4
BINOMIAL = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
NOISE_SPREAD = 0.375
"""Standard deviation of white noise of deviation 1 after `reduce`: the root of the sum of the squared taps."""

MARK = 4.0
"""The constant K of `_pass_input`."""


def reduce(latents: Tensor) -> Tensor:
    """(n, 4, h, w) → (n, 4, h/2, w/2): binomial filter, stride 2, the border padded with zeros as the UNet's downsampler does."""
    kernel = BINOMIAL.to(latents)[None, None].expand(latents.shape[1], 1, 3, 3)
    return functional.conv2d(latents, kernel, stride=2, padding=1, groups=latents.shape[1])


class InnerUNet(nn.Module):
    """The levels below the finest of a `UNet2DConditionModel`, with a stem and a head of its own. Shares the UNet's modules, copies nothing."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        outer, inner = unet.config["block_out_channels"][:2]
        self.unet = unet
        self.stem = nn.Conv2d(LATENTS, outer, 1)
        self.norm = nn.GroupNorm(unet.config["norm_num_groups"], inner)
        self.head = nn.Conv2d(inner, LATENTS, 3, padding=1)

    def forward(self, latents: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        """Reduced noisy latents (n, 4, h, w), timesteps (n,), text (n, tokens, width) → the reduced noise, of deviation 1."""
        unet: Any = self.unet
        embedding = unet.time_embedding(unet.time_proj(timesteps).to(latents.dtype))
        hidden = self.stem(latents)
        kept = [hidden]
        for block in list(unet.down_blocks)[1:]:
            hidden, made = block(hidden, embedding, **_text(block, context))
            kept += made
        hidden = unet.mid_block(hidden, embedding, encoder_hidden_states=context)
        blocks = list(unet.up_blocks)[:-1]
        for block in blocks:
            count = len(block.resnets)
            skips, kept = tuple(kept[-count:]), kept[:-count]
            enlarge = block.upsamplers
            block.upsamplers = None if block is blocks[-1] else enlarge
            try:
                hidden = block(hidden, skips, embedding, **_text(block, context))
            finally:
                block.upsamplers = enlarge
        return self.head(functional.silu(self.norm(hidden)))

    @torch.no_grad()
    def expand(self) -> None:
        """Set the finest level's weights so that the inner part gets from it exactly what `stem` gave. Its way up begins as "noise = input"."""
        unet: Any = self.unet  # Any: diffusers' blocks say of their parts only that they are modules
        unet.conv_in.weight[:LATENTS] = 0
        unet.conv_in.bias[:LATENTS] = 0
        for channel in range(LATENTS):
            unet.conv_in.weight[channel, channel, 1, 1] = 1
        for resnet in unet.down_blocks[0].resnets:
            resnet.conv2.weight.zero_()
            resnet.conv2.bias.zero_()
        down = unet.down_blocks[0].downsamplers[0].conv
        down.weight.zero_()
        down.weight[:, :LATENTS] = self.stem.weight * BINOMIAL.to(self.stem.weight)
        down.bias.copy_(self.stem.bias)
        up = unet.up_blocks[-2].upsamplers[0].conv
        nn.init.dirac_(up.weight)
        up.bias.zero_()
        _pass_input(unet)


def _pass_input(unet: Any) -> None:
    """Make the last resnet, norm and convolution give back the UNet's input: nearly the noise itself at high noise, so little is left to learn.

    As in thumbnail.py, two channels of one group of the last norm carry each latent and two hold the constants +K and -K.
    """
    resnet = unet.up_blocks[-1].resnets[-1]
    norm, last = unet.conv_norm_out, unet.conv_out
    group = norm.num_channels // norm.num_groups
    if group < 4 or norm.num_groups < LATENTS:
        return  # a toy: it learns without
    skip = resnet.conv_shortcut.weight.shape[1] - unet.conv_in.weight.shape[0]
    last.weight.mul_(0.1)
    for latent in range(LATENTS):
        first = latent * group
        rows = slice(first, first + 4)
        for convolution in (resnet.conv2, resnet.conv_shortcut):
            convolution.weight[rows] = 0
            convolution.bias[rows] = 0
        resnet.conv_shortcut.weight[first : first + 2, skip + latent] = 1
        resnet.conv2.bias[first + 2], resnet.conv2.bias[first + 3] = MARK, -MARK
        norm.weight[first + 1] = -1
        scale = MARK * (2 / group) ** 0.5
        last.weight[latent] *= 0.3
        last.weight[:, first : first + 2] = 0
        last.weight[latent, first, 1, 1], last.weight[latent, first + 1, 1, 1] = scale, -scale
        last.bias[latent] = 0


def _text(block: nn.Module, context: Tensor) -> dict[str, Tensor]:
    return {"encoder_hidden_states": context} if getattr(block, "has_cross_attention", False) else {}
