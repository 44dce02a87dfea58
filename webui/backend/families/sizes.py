"""Sizes of a model measured from the shapes of its weights, for files that say nothing of themselves. Knows no torch.

What shapes do not show (groups of the norms, attention heads of SD 1.x, the latents' scale) stays as the family has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from webui.backend.families.places import Place
from webui.backend.families.sd_config import TextConfig, UNetConfig, VaeConfig

Shapes = Mapping[str, tuple[int, ...]]

HEAD = 64
"""Channels of an attention head in every family but SD 1.x."""

_LDM_BLOCK = re.compile(r"input_blocks\.(\d+)\.0\.(op|in_layers\.2)\.weight")
_LDM_LAYER = re.compile(r"input_blocks\.(\d+)\.1\.transformer_blocks\.(\d+)\.norm1\.weight")
_OWN_BLOCK = re.compile(r"down_blocks\.(\d+)\.resnets\.(\d+)\.conv1\.weight")
_OWN_LAYER = re.compile(r"down_blocks\.(\d+)\.attentions\.\d+\.transformer_blocks\.(\d+)\.norm1\.weight")


def measure_unet(shapes: Shapes, place: Place, base: UNetConfig) -> UNetConfig:
    """The UNet that is there."""
    own = _below(shapes, place)
    ldm = place.words != "module"
    levels, layers = (_ldm_levels if ldm else _own_levels)(own)
    channels = tuple(level[0] for level in levels)
    entry, vector = ("input_blocks.0.0.weight", "label_emb.0.0.weight") if ldm else ("conv_in.weight", "add_embedding.linear_1.weight")
    told = own.get(vector, (0, 0))[1]
    seen = 0 if base.described else told if ldm else own.get("class_embedding.linear_1.weight", (0, 0))[1]
    out = own.get("out.2.weight" if ldm else "conv_out.weight", (base.latent_channels,))[0]
    context = next((shape[1] for key, shape in own.items() if key.endswith(".attn2.to_k.weight")), base.context)
    linear = next((len(shape) == 2 for key, shape in own.items() if key.endswith(".proj_in.weight")), base.linear)
    same = isinstance(base.heads, int) or channels == base.channels
    heads = base.heads if same else tuple(max(count // HEAD, 1) for count in channels)
    return base.revise(
        channels=channels, attention=tuple(level[1] for level in levels), layers=layers, heads=heads, context=context, linear=linear,
        latent_channels=out, picture_channels=max(own[entry][1] - out, 0), described=told if base.described else 0,
        classed=seen,
    )


def measure_vae(shapes: Shapes, place: Place, base: VaeConfig) -> VaeConfig:
    """The autoencoder that is there."""
    own = _below(shapes, place)
    block = "encoder.down.{}.block.{}.conv1.weight" if place.words == "ldm" else "encoder.down_blocks.{}.resnets.{}.conv1.weight"
    channels = tuple(own[block.format(level, 0)][0] for level in range(8) if block.format(level, 0) in own)
    layers = sum(block.format(0, layer) in own for layer in range(8))
    latents, quantized = own["decoder.conv_in.weight"][1], "post_quant_conv.weight" in own
    return base.revise(channels=channels, layers=layers, latent_channels=latents, quantized=quantized)


def measure_text(shapes: Shapes, place: Place, base: TextConfig) -> TextConfig:
    """The text encoder that is there."""
    own = _below(shapes, place)
    open_clip = place.words == "open_clip"
    vocabulary, width = own["token_embedding.weight" if open_clip else "embeddings.token_embedding.weight"]
    layer = re.compile(r"transformer\.resblocks\.(\d+)\.ln_1\.weight" if open_clip else r"encoder\.layers\.(\d+)\.layer_norm1\.weight")
    layers = max((int(match[1]) for key in own if (match := layer.fullmatch(key))), default=0) + 1
    inner = own["transformer.resblocks.0.mlp.c_fc.weight" if open_clip else "encoder.layers.0.mlp.fc1.weight"][0]
    projection = _projection(shapes, place) if base.projection else 0
    heads = base.heads if width == base.width else max(width // HEAD, 1)
    return base.revise(vocabulary=vocabulary, width=width, inner=inner, layers=layers, heads=heads, projection=projection)


def _projection(shapes: Shapes, place: Place) -> int:
    """OpenCLIP writes it as (width, projection), transformers as (projection, width), outside the text model."""
    if place.words == "open_clip":
        return shapes.get(f"{place.prefix}text_projection", (0, 0))[1]
    outside = place.prefix.removesuffix("text_model.")
    return shapes.get(f"{outside}text_projection.weight", (0, 0))[0]


def _below(shapes: Shapes, place: Place) -> dict[str, tuple[int, ...]]:
    return {name: shapes[key] for name, key in place.below(shapes).items()}


def _ldm_levels(own: Shapes) -> tuple[list[tuple[int, int]], int]:
    """(channels, transformer layers) of each level, and blocks a level. LDM numbers all blocks in one row; a level ends with a halving."""
    blocks = sorted((int(match[1]), match[2], own[key][0]) for key in own if (match := _LDM_BLOCK.fullmatch(key)))
    depths: dict[int, int] = {}
    for key in own:
        if match := _LDM_LAYER.fullmatch(key):
            depths[int(match[1])] = max(depths.get(int(match[1]), 0), int(match[2]) + 1)
    levels: list[list[tuple[int, int]]] = [[]]
    for number, what, channels in blocks:
        if what == "op":
            levels.append([])
        else:
            levels[-1].append((channels, depths.get(number, 0)))
    return [level[0] for level in levels if level], len(levels[0])


def _own_levels(own: Shapes) -> tuple[list[tuple[int, int]], int]:
    depths: dict[int, int] = {}
    for key in own:
        if match := _OWN_LAYER.fullmatch(key):
            depths[int(match[1])] = max(depths.get(int(match[1]), 0), int(match[2]) + 1)
    found = sorted((int(match[1]), int(match[2]), own[key][0]) for key in own if (match := _OWN_BLOCK.fullmatch(key)))
    return [(channels, depths.get(level, 0)) for level, layer, channels in found if layer == 0], sum(level == 0 for level, *_ in found)
