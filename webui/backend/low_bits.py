"""Linear layers whose weights are stored in 8 or 4 bits and widened while they compute. Written out in torch, so that no package and no kind of GPU
is needed (docs/adr/0008-low-bits.md). Knows no families and no files.

Numbers that belong to a row or a block are kept as bytes beside the weights: whatever is done to a module's dtype leaves bytes alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

Bits = Literal["int8", "nf4"]
BLOCK = 64
"""Numbers that share a scale in NF4."""

CODE = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023,
    1.0,
)
"""What the sixteen values of NF4 stand for: quantiles of a normal distribution (Dettmers et al. 2023, QLoRA, appendix E)."""


class LowBitLinear(nn.Linear):
    """A linear layer with `weight` as bytes and `scales` as the bytes of float32 numbers, a row for each row of the weights."""

    scales: nn.Parameter

    def __init__(self, like: nn.Linear, width: int, scales: int) -> None:
        super().__init__(like.in_features, like.out_features, like.bias is not None)
        self.register_parameter("weight", _bytes(like.out_features, width))
        self.register_parameter("scales", _bytes(like.out_features, scales * 4))

    @abstractmethod
    def pack(self, weight: Tensor) -> dict[str, Tensor]:
        """`weight` and `scales` of these numbers, on their device."""

    @abstractmethod
    def widened(self) -> Tensor:
        """The weights as float32 numbers."""

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Linear`, in the input's dtype."""
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return linear(input, self.widened().to(input.dtype), bias)


class Int8Linear(LowBitLinear):
    """Whole numbers from -127 to 127, and one scale a row."""

    def __init__(self, like: nn.Linear) -> None:
        super().__init__(like, like.in_features, 1)

    def pack(self, weight: Tensor) -> dict[str, Tensor]:
        """See `LowBitLinear`."""
        numbers = weight.float()
        scales = (numbers.abs().amax(1, keepdim=True) / 127).clamp_min(torch.finfo(torch.float32).tiny)
        return {"weight": (numbers / scales).round_().to(torch.int8).view(torch.uint8), "scales": scales.view(torch.uint8)}

    def widened(self) -> Tensor:
        """See `LowBitLinear`."""
        return self.weight.view(torch.int8).float().mul_(self.scales.view(torch.float32))


class Nf4Linear(LowBitLinear):
    """Two numbers in a byte, each one of sixteen values, and one scale for each `block` of a row: bitsandbytes' NF4."""

    def __init__(self, like: nn.Linear, block: int = BLOCK) -> None:
        super().__init__(like, like.in_features // 2, like.in_features // block)

    def pack(self, weight: Tensor) -> dict[str, Tensor]:
        """See `LowBitLinear`."""
        blocks = weight.float().reshape(len(weight), -1, BLOCK)
        scales = blocks.abs().amax(2)
        shares = blocks / scales.clamp_min(torch.finfo(torch.float32).tiny)[..., None]
        code = torch.tensor(CODE, device=weight.device)
        chosen = torch.bucketize(shares, (code[1:] + code[:-1]) / 2, out_int32=True).reshape(len(weight), -1, 2)
        return {"weight": (chosen[..., 0] * 16 + chosen[..., 1]).to(torch.uint8), "scales": scales.view(torch.uint8)}

    def widened(self) -> Tensor:
        """See `LowBitLinear`."""
        return unpack_nf4(self.weight, self.scales.view(torch.float32))


def unpack_nf4(packed: Tensor, scales: Tensor) -> Tensor:
    """(rows, columns / 2) of bytes and (rows, blocks) float32 → (rows, columns) float32."""
    shares = _pairs(packed.device)[packed.int()]
    return (shares.reshape(*scales.shape, -1) * scales[..., None]).reshape(len(packed), -1)


def with_low_bits(module: nn.Module, bits: Bits, names: Collection[str] | None = None, block: int = BLOCK) -> nn.Module:
    """The same module, its linear layers replaced by empty ones that store so few bits. `names`: of just these weights; without it of all within its
    blocks (what is outside is small, and everything goes through it)."""
    for path, layer in [*module.named_modules()]:
        wanted = f"{path}.weight" in names if names is not None else _may_be_stored(path, layer, bits)
        if wanted and isinstance(layer, nn.Linear):
            with layer.weight.device:
                made = Int8Linear(layer) if bits == "int8" else Nf4Linear(layer, block)
            parent, _, own = path.rpartition(".")
            module.get_submodule(parent).register_module(own, made)
    return module


def packed(module: nn.Module, weights: Mapping[str, Tensor], carry: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """The same weights, those of layers that store few bits packed one by one, on the device that `carry` brings each to."""
    found = dict(weights)
    for path, layer in module.named_modules():
        name = f"{path}.weight"
        if isinstance(layer, LowBitLinear) and name in found and found[name].dtype != torch.uint8:
            found |= {f"{path}.{key}": value for key, value in layer.pack(carry(found.pop(name))).items()}
    return found


def numbers_within(module: nn.Module) -> int:
    """Weights of the linear layers that `with_low_bits` replaces."""
    return sum(layer.weight.numel() for path, layer in module.named_modules() if isinstance(layer, nn.Linear) and _may_be_stored(path, layer, "nf4"))


def _may_be_stored(path: str, layer: nn.Module, bits: Bits) -> bool:
    plain = type(layer) is nn.Linear and (bits == "int8" or layer.in_features % BLOCK == 0)
    return plain and "block" in path


def _bytes(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(*shape, dtype=torch.uint8), requires_grad=False)


@lru_cache(maxsize=4)
def _pairs(device: torch.device) -> Tensor:
    """(256, 2): the two values of each byte, the first in its upper half."""
    code = torch.tensor(CODE, device=device)
    return torch.stack([code.repeat_interleave(16), code.repeat(16)], 1)
