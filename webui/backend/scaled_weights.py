"""Weights in 8 bits that are multiplied by a number of their own (ComfyUI's "scaled fp8"): `x.weight` with `x.scale_weight` or `x.weight_scale`.

Knows no families. Such tensors are widened one by one as they are read.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from webui.backend.weights import Weights, Wrapped

_SCALES = (".scale_weight", ".weight_scale")


def unscaled(weights: Weights) -> Weights:
    """The same weights with their scales applied; those of other files as they are."""
    names = weights.keys()
    scales = {f"{name.removesuffix(end)}.weight": name for end in _SCALES for name in names if name.endswith(end)}
    return _Unscaled(weights, scales) if scales else weights


class _Unscaled(Wrapped):
    def __init__(self, weights: Weights, scales: Mapping[str, str]) -> None:
        super().__init__(weights)
        self._scales = scales

    def get(self, key: str) -> Tensor:
        value = self._weights.get(key)
        if key not in self._scales or value.dtype.itemsize != 1:
            return value
        scale = self._weights.get(self._scales[key]).float()
        return value.float() * scale.reshape(-1, *[1] * (value.ndim - 1))
