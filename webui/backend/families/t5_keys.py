"""Names of T5's weights: transformers' own, those of files in circulation, llama.cpp's. Knows names and no tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SHARED = ("shared.weight", "encoder.embed_tokens.weight")

_GGML = {
    "attn_q": "layer.0.SelfAttention.q", "attn_k": "layer.0.SelfAttention.k", "attn_v": "layer.0.SelfAttention.v",
    "attn_o": "layer.0.SelfAttention.o", "attn_rel_b": "layer.0.SelfAttention.relative_attention_bias", "attn_norm": "layer.0.layer_norm",
    "ffn_gate": "layer.1.DenseReluDense.wi_0", "ffn_up": "layer.1.DenseReluDense.wi_1", "ffn_down": "layer.1.DenseReluDense.wo",
    "ffn_norm": "layer.1.layer_norm",
}
"""What stands in a block of the encoder: llama.cpp (`gguf-py/gguf/constants.py`, T5ENCODER) → transformers."""

_ENDS = {"token_embd": _SHARED[0].removesuffix(".weight"), "enc.output_norm": "encoder.final_layer_norm"}
_BLOCK = re.compile(r"enc\.blk\.(\d+)\.(\w+)")


def published_name(name: str) -> str:
    """The published name of a weight that llama.cpp calls so; others as they are."""
    module, _, last = name.rpartition(".")
    block = _BLOCK.fullmatch(module)
    if block and block[2] in _GGML:
        return f"encoder.block.{block[1]}.{_GGML[block[2]]}.{last}"
    return f"{_ENDS[module]}.{last}" if module in _ENDS else name


def file_names(keys: Iterable[str], own: Iterable[str]) -> dict[str, str]:
    """For each of the module's `own` names the published one in a file with these `keys`. The table of words has two names there; the module's names
    lack `encoder.`, and a layer whose weights are packed stands one deeper (`t5.Shielded`)."""
    shared = next((name for name in _SHARED if name in keys), _SHARED[0])
    return {name: shared if name == "embed_tokens.weight" else f"encoder.{name.replace('.wo.layer.', '.wo.')}" for name in own}
