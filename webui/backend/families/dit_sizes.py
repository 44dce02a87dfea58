"""Sizes of SD 3's and Flux's transformers and of T5, measured from the shapes of their weights: what diffusers and transformers build them from.

Knows no torch. What shapes do not show is as published: heads of 64 in SD 3 without norms in its attention, the axes of Flux's places.
"""

from __future__ import annotations

import math
import re
from typing import Any

from webui.backend.families.dit_keys import Shapes
from webui.backend.families.places import Place

SD3_HEAD = 64


def measure_transformer(family: str, shapes: Shapes, place: Place) -> dict[str, Any]:
    """Arguments of `SD3Transformer2DModel` or `FluxTransformer2DModel`. Raises `KeyError`, `IndexError`, `ZeroDivisionError` for nonsense."""
    own = {key[len(place.prefix) :]: shape for key, shape in shapes.items() if key.startswith(place.prefix)}
    return (_sd3 if family == "sd3" else _flux)(own, place.words == "module")


def measure_t5(shapes: Shapes, place: Place) -> dict[str, Any]:
    """Arguments of `T5Config`. Raises `KeyError`, `IndexError`, `ZeroDivisionError` for nonsense."""
    own = {name: shapes[key] for name, key in place.below(shapes).items()}
    vocabulary, width = own["shared.weight"] if "shared.weight" in own else own["encoder.embed_tokens.weight"]
    attention = "encoder.block.0.layer.0.SelfAttention"
    buckets, heads = own[f"{attention}.relative_attention_bias.weight"]
    return {
        "vocab_size": vocabulary, "d_model": width, "d_kv": own[f"{attention}.q.weight"][0] // heads, "num_heads": heads,
        "d_ff": own["encoder.block.0.layer.1.DenseReluDense.wi_0.weight"][0], "num_layers": _count(own, r"encoder\.block\.(\d+)\."),
        "relative_attention_num_buckets": buckets, "feed_forward_proj": "gated-gelu",
    }


def t5_width_at(shapes: Shapes, place: Place) -> int:
    """Width of the T5 that is there, 0 for another that shares its names (umT5 has a bias of its own in every block)."""
    own = place.below(shapes)
    if "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight" in own:
        return 0
    table = own.get("shared.weight") or own.get("encoder.embed_tokens.weight")
    shape = shapes[table] if table else ()
    return shape[1] if len(shape) == 2 else 0


def flux_axes(head: int) -> tuple[int, int, int]:
    """How many of a head's numbers tell the picture's number, the row, the column: published 16, 56 and 56 of 128."""
    side = (head - head // 8) // 2
    return head - 2 * side, side, side


def _sd3(own: Shapes, module: bool) -> dict[str, Any]:
    if module:
        block, patch, places = "transformer_blocks", "pos_embed.proj.weight", "pos_embed.pos_embed"
        pooled, out, norm, dual = "time_text_embed.text_embedder.linear_1.weight", "proj_out.weight", "attn.norm_q.weight", "attn2.to_q.weight"
    else:
        block, patch, places = "joint_blocks", "x_embedder.proj.weight", "pos_embed"
        pooled, out, norm, dual = "y_embedder.mlp.0.weight", "final_layer.linear.weight", "x_block.attn.ln_q.weight", "x_block.attn2.qkv.weight"
    width, channels, side, _ = own[patch]
    normed = own.get(f"{block}.0.{norm}")
    head, layers = normed[0] if normed else SD3_HEAD, _count(own, rf"{block}\.(\d+)\.")
    return {
        "sample_size": 128, "patch_size": side, "in_channels": channels, "out_channels": own[out][0] // side**2, "num_layers": layers,
        "attention_head_dim": head, "num_attention_heads": width // head, "joint_attention_dim": own["context_embedder.weight"][1],
        "caption_projection_dim": own["context_embedder.weight"][0], "pooled_projection_dim": own[pooled][1],
        "pos_embed_max_size": math.isqrt(own[places][1]), "qk_norm": "rms_norm" if normed else None,
        "dual_attention_layers": tuple(number for number in range(layers) if f"{block}.{number}.{dual}" in own),
    }


def _flux(own: Shapes, module: bool) -> dict[str, Any]:
    if module:
        names = ("x_embedder", "context_embedder", "time_text_embed.text_embedder.linear_1", "time_text_embed.guidance_embedder.linear_1", "proj_out")
        norm, double, single = "transformer_blocks.0.attn.norm_q.weight", "transformer_blocks", "single_transformer_blocks"
    else:
        names = ("img_in", "txt_in", "vector_in.in_layer", "guidance_in.in_layer", "final_layer.linear")
        norm, double, single = "double_blocks.0.img_attn.norm.query_norm.scale", "double_blocks", "single_blocks"
    picture, text, vector, guidance, out = (f"{name}.weight" for name in names)
    width, channels = own[picture]
    head = own[norm][0]
    return {
        "patch_size": 1, "in_channels": channels, "out_channels": own[out][0], "num_layers": _count(own, rf"{double}\.(\d+)\."),
        "num_single_layers": _count(own, rf"{single}\.(\d+)\."), "attention_head_dim": head, "num_attention_heads": width // head,
        "joint_attention_dim": own[text][1], "pooled_projection_dim": own[vector][1], "guidance_embeds": guidance in own,
        "axes_dims_rope": flux_axes(head),
    }


def _count(own: Shapes, pattern: str) -> int:
    """Blocks of this kind."""
    block = re.compile(pattern)
    return max((int(match[1]) for key in own if (match := block.match(key))), default=-1) + 1
