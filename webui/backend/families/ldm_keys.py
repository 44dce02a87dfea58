"""Names of weights: CompVis' single-file layout ("LDM") on one side, diffusers' and transformers' modules on the other.

A pure map of module paths computed from the model's sizes, used in both directions. Knows no tensors and no files. The layout is that of
CompVis/stable-diffusion (`ldm/modules/diffusionmodules/openaimodel.py`, `model.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from webui.backend.families.sd_config import UNetConfig, VaeConfig

UNET_PREFIX = "model.diffusion_model."
EMA_PREFIX = "model_ema."
EMA_UNET = f"{EMA_PREFIX}diffusion_model"
"""Before the names of the UNet's averaged copy, which have no dots."""

VAE_PREFIX = "first_stage_model."
CLIP_PREFIX = "cond_stage_model.transformer.text_model."
OPEN_CLIP_PREFIX = "cond_stage_model.model."

_UNET_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
VAE_ATTENTION_LINEARS = tuple(f".attn_1.{name}.weight" for name in ("q", "k", "v", "proj_out"))
"""Ends of LDM keys that hold a 1x1 convolution where diffusers has a linear layer."""


def unet_paths(config: UNetConfig) -> dict[str, str]:
    """diffusers module path → LDM module path, of the UNet. Paths below an attention block are the same on both sides."""
    paths = {
        "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "conv_norm_out": "out.0", "conv_out": "out.2", "mid_block.attentions.0": "middle_block.1",
    }
    if config.described or config.classed:
        vector = "add_embedding" if config.described else "class_embedding"
        paths |= {f"{vector}.linear_1": "label_emb.0.0", f"{vector}.linear_2": "label_emb.0.2"}
    paths |= _resnet("mid_block.resnets.0", "middle_block.0") | _resnet("mid_block.resnets.1", "middle_block.2")
    last = len(config.channels) - 1
    for level, attention in enumerate(config.attention):
        first = 1 + level * (config.layers + 1)
        for layer in range(config.layers):
            paths |= _resnet(f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{first + layer}.0")
            if attention:
                paths[f"down_blocks.{level}.attentions.{layer}"] = f"input_blocks.{first + layer}.1"
        if level < last:
            paths[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{first + config.layers}.0.op"
    for level, attention in enumerate(reversed(config.attention)):
        first = level * (config.layers + 1)
        for layer in range(config.layers + 1):
            paths |= _resnet(f"up_blocks.{level}.resnets.{layer}", f"output_blocks.{first + layer}.0")
            if attention:
                paths[f"up_blocks.{level}.attentions.{layer}"] = f"output_blocks.{first + layer}.1"
        if level < last:
            paths[f"up_blocks.{level}.upsamplers.0.conv"] = f"output_blocks.{first + config.layers}.{2 if attention else 1}.conv"
    return paths


def vae_paths(config: VaeConfig) -> dict[str, str]:
    """diffusers module path → LDM module path, of the autoencoder. LDM counts decoder levels from the fine end, diffusers from the coarse."""
    levels = len(config.channels)
    paths = {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}
    for half in ("encoder", "decoder"):
        paths |= {f"{half}.conv_in": f"{half}.conv_in", f"{half}.conv_norm_out": f"{half}.norm_out", f"{half}.conv_out": f"{half}.conv_out"}
        for number in (0, 1):
            paths |= _vae_resnet(f"{half}.mid_block.resnets.{number}", f"{half}.mid.block_{number + 1}")
        for ours, theirs in _VAE_ATTENTION.items():
            paths[f"{half}.mid_block.attentions.0.{ours}"] = f"{half}.mid.attn_1.{theirs}"
    for level in range(levels):
        coarse = levels - 1 - level
        for layer in range(config.layers):
            paths |= _vae_resnet(f"encoder.down_blocks.{level}.resnets.{layer}", f"encoder.down.{level}.block.{layer}")
        for layer in range(config.layers + 1):
            paths |= _vae_resnet(f"decoder.up_blocks.{level}.resnets.{layer}", f"decoder.up.{coarse}.block.{layer}")
        if level < levels - 1:
            paths[f"encoder.down_blocks.{level}.downsamplers.0.conv"] = f"encoder.down.{level}.downsample.conv"
            paths[f"decoder.up_blocks.{level}.upsamplers.0.conv"] = f"decoder.up.{coarse}.upsample.conv"
    return paths


def rename(keys: Iterable[str], paths: Mapping[str, str]) -> dict[str, str]:
    """Each key with the longest of its leading module paths replaced; a key that no path covers is left out."""
    renamed = {}
    for key in keys:
        head = key
        while head not in paths and "." in head:
            head = head.rpartition(".")[0]
        if head in paths:
            renamed[key] = paths[head] + key[len(head):]
    return renamed


def ema_name(key: str) -> str:
    """What LDM's `LitEma` calls the average of this weight of the UNet: the name under `model.`, without its dots."""
    return EMA_PREFIX + "".join(key.split(".")[1:])


_WORDS = re.compile(
    r"(input_blocks|output_blocks)(\d+)(\d)|label_emb(\d)(\d)"
    r"|(middle_block|transformer_blocks|in_layers|out_layers|emb_layers|time_embed|to_out|net|out)(\d+)"
    r"|(?:attn[12]|norm[123]?|to_[qkv]|ff|proj_in|proj_out|proj|op|conv|skip_connection|weight|bias)"
)


def dotted(bare: str) -> str | None:
    """A name of LDM's UNet again, from one without its dots; None for what is none. Blocks are counted with one or two digits, what is in them with
    one."""
    words: list[str] = []
    place = 0
    while place < len(bare):
        found = _WORDS.match(bare, place)
        if found is None:
            return None
        numbers = [group for group in found.groups() if group is not None]
        words += ["label_emb", *numbers] if found[4] is not None else numbers or [found[0]]
        place = found.end()
    return ".".join(words)


def inverted(paths: Mapping[str, str]) -> dict[str, str]:
    """The map the other way round."""
    return {theirs: ours for ours, theirs in paths.items()}


def _resnet(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{name}": f"{theirs}.{other}" for name, other in _UNET_RESNET.items()}


def _vae_resnet(ours: str, theirs: str) -> dict[str, str]:
    return {ours: theirs, f"{ours}.conv_shortcut": f"{theirs}.nin_shortcut"}


def open_clip_paths(layers: int) -> dict[str, str]:
    """transformers module path → OpenCLIP module path, of a text encoder, without what is laid out differently: the joined projections of attention,
    and `text_projection`. mlfoundations/open_clip, `transformer.py`."""
    paths = {
        "embeddings.token_embedding": "token_embedding", "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm": "ln_final",
    }
    for layer in range(layers):
        ours, theirs = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
        paths |= {
            f"{ours}.layer_norm1": f"{theirs}.ln_1", f"{ours}.layer_norm2": f"{theirs}.ln_2", f"{ours}.mlp.fc1": f"{theirs}.mlp.c_fc",
            f"{ours}.mlp.fc2": f"{theirs}.mlp.c_proj", f"{ours}.self_attn.out_proj": f"{theirs}.attn.out_proj",
        }
    return paths
