"""Names of the transformers' weights: Stability AI's for SD 3 (`sd3-ref/mmdit.py`) and Black Forest Labs' for Flux (`flux/model.py`) on one side,
diffusers' modules on the other. Knows shapes and no tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping

from webui.backend.families.ldm import Laid
from webui.backend.families.ldm_keys import rename

Shapes = Mapping[str, tuple[int, ...]]

_EMBEDDERS = {
    "sd3": {
        "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0", "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
        "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0", "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
        "pos_embed.proj": "x_embedder.proj", "pos_embed.pos_embed": "pos_embed", "context_embedder": "context_embedder",
    },
    "flux": {
        "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer", "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
        "time_text_embed.text_embedder.linear_1": "vector_in.in_layer", "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
        "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer", "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
        "x_embedder": "img_in", "context_embedder": "txt_in",
    },
}
_ENDS = {"proj_out": "final_layer.linear", "norm_out.linear": "final_layer.adaLN_modulation.1"}
_BLOCKS = {
    "sd3": {
        "attn.to_out.0": "x_block.attn.proj", "attn.to_add_out": "context_block.attn.proj", "attn.norm_q": "x_block.attn.ln_q",
        "attn.norm_k": "x_block.attn.ln_k", "attn.norm_added_q": "context_block.attn.ln_q", "attn.norm_added_k": "context_block.attn.ln_k",
        "attn2.to_out.0": "x_block.attn2.proj", "attn2.norm_q": "x_block.attn2.ln_q", "attn2.norm_k": "x_block.attn2.ln_k",
        "norm1.linear": "x_block.adaLN_modulation.1", "norm1_context.linear": "context_block.adaLN_modulation.1",
        "ff.net.0.proj": "x_block.mlp.fc1", "ff.net.2": "x_block.mlp.fc2",
        "ff_context.net.0.proj": "context_block.mlp.fc1", "ff_context.net.2": "context_block.mlp.fc2",
    },
    "flux": {
        "attn.to_out.0": "img_attn.proj", "attn.to_add_out": "txt_attn.proj", "attn.norm_q.weight": "img_attn.norm.query_norm.scale",
        "attn.norm_k.weight": "img_attn.norm.key_norm.scale", "attn.norm_added_q.weight": "txt_attn.norm.query_norm.scale",
        "attn.norm_added_k.weight": "txt_attn.norm.key_norm.scale", "norm1.linear": "img_mod.lin", "norm1_context.linear": "txt_mod.lin",
        "ff.net.0.proj": "img_mlp.0", "ff.net.2": "img_mlp.2", "ff_context.net.0.proj": "txt_mlp.0", "ff_context.net.2": "txt_mlp.2",
    },
    "single": {
        "attn.norm_q.weight": "norm.query_norm.scale", "attn.norm_k.weight": "norm.key_norm.scale", "norm.linear": "modulation.lin",
        "proj_out": "linear2",
    },
}
_JOINED = {
    "sd3": {
        "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
        "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
        "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    },
    "flux": {
        "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"), "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    },
    "single": {"linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")},
}
"""One linear layer there, several here."""

_BLOCK = re.compile(r"((?:single_)?transformer_blocks)\.(\d+)\.")


def transformer_layout(family: str, shapes: Shapes) -> dict[str, Laid]:
    """Published name → how it is laid out, for a transformer of diffusers' with these shapes."""
    paths = _EMBEDDERS[family] | _ENDS
    joined: dict[str, tuple[str, ...]] = {}
    for ours, number in sorted({(match[1], int(match[2])) for key in shapes if (match := _BLOCK.match(key))}):
        single = ours.startswith("single")
        theirs = f"single_blocks.{number}" if single else f"{'joint' if family == 'sd3' else 'double'}_blocks.{number}"
        kind = "single" if single else family
        paths |= {f"{ours}.{number}.{name}": f"{theirs}.{other}" for name, other in _BLOCKS[kind].items()}
        joined |= {f"{theirs}.{name}": tuple(f"{ours}.{number}.{one}" for one in ones) for name, ones in _JOINED[kind].items()}
    swapped = _swapped(family, shapes)
    found = {
        theirs: Laid((ours,), "swapped" if ours.startswith(swapped) else "same") for ours, theirs in rename(shapes, paths).items()
    }
    for theirs, ones in joined.items():
        for last in ("weight", "bias"):
            keys = tuple(f"{one}.{last}" for one in ones)
            if keys[0] in shapes:
                found[f"{theirs}.{last}"] = Laid(keys, sizes=tuple(shapes[key][0] for key in keys))
    return found


def _swapped(family: str, shapes: Shapes) -> tuple[str, ...]:
    """Norms whose shift stands before the scale: the last one, and in SD 3 that of the texts in the last block."""
    if family == "flux":
        return ("norm_out.linear.",)
    last = max(int(match[2]) for key in shapes if (match := _BLOCK.match(key)))
    return ("norm_out.linear.", f"transformer_blocks.{last}.norm1_context.linear.")
