"""Modules whose linear layers keep ggml's blocks and unpack them while they compute (GGUF). The layers are diffusers'; needs the package gguf.

Knows no families: which weights are quantised, and how, the caller says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from webui.backend.formats.gguf import TYPES
from webui.backend.low_bits import LowBitLinear
from webui.backend.weights import DTYPES

_NUMBERS = {name: (number, block, size) for number, (name, block, size) in TYPES.items()}


def quantised_kinds(dtypes: Mapping[str, str]) -> dict[str, str]:
    """Those of a header's tensors that are no plain numbers, with ggml's name for what they are."""
    return {name: kind for name, kind in dtypes.items() if kind not in DTYPES}


def with_quantised(build: Callable[[], nn.Module], kinds: Mapping[str, str]) -> Callable[[], nn.Module]:
    """The same module with linear layers for blocks where `kinds` names their weights (by its own names). Other layers stay as they are; their
    weights are to be unpacked beforehand."""

    def made() -> nn.Module:
        module = build()
        for name in kinds:
            path, _, last = name.rpartition(".")
            layer = module.get_submodule(path) if last == "weight" else None
            if isinstance(layer, nn.Linear):
                parent, _, own = path.rpartition(".")
                module.get_submodule(parent).register_module(own, _layer(layer, kinds[name]))
        return module

    return made


def set_compute_dtype(module: nn.Module, dtype: torch.dtype) -> None:
    """What the unpacked weights are multiplied in."""
    layers: list[Any] = [layer for layer in module.modules() if is_quantised(layer)]
    for layer in layers:
        layer.compute_dtype = dtype


def is_quantised(layer: nn.Module) -> bool:
    """Whether this very layer holds its weights in few bits, as ggml's blocks or as `low_bits` does."""
    return isinstance(layer, LowBitLinear) or hasattr(getattr(layer, "weight", None), "quant_type")


def unpacked(weights: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Quantised weights for layers that hold none as plain numbers of the layer's shape; others as they are."""
    return {
        name: _unpack(value).reshape(expected[name].shape) if hasattr(value, "quant_type") and expected[name].dtype != torch.uint8 else value
        for name, value in weights.items() if name in expected
    }


def _layer(linear: nn.Linear, kind: str) -> nn.Module:
    from diffusers.quantizers.gguf.utils import SUPPORTED_GGUF_QUANT_TYPES, GGUFLinear, GGUFParameter

    number, block, size = _NUMBERS[kind]
    known: Any = next((item for item in SUPPORTED_GGUF_QUANT_TYPES if int(item) == number), None)
    if known is None:
        return linear  # reading the file says so in words
    layer = GGUFLinear(linear.in_features, linear.out_features, linear.bias is not None)
    held = torch.empty(linear.out_features, linear.in_features // block * size, dtype=torch.uint8, device=linear.weight.device)
    layer.weight = GGUFParameter(held, quant_type=known)  # pyright: ignore[reportCallIssue]
    return layer


def _unpack(value: Tensor) -> Tensor:
    from diffusers.quantizers.gguf.utils import dequantize_gguf_tensor

    return dequantize_gguf_tensor(value)
