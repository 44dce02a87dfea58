"""Tensors from a mapped file to where they compute. Knows no models."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK = 32 * 2**20
"""Bytes of one of the two pinned buffers."""

PIECE = 2**16
"""Numbers that a thread casts at once: a quarter of a megabyte between the two."""

Carry = Callable[[Tensor, torch.dtype], Tensor]
"""A tensor on the CPU → on the device, in this dtype."""


def carrier(device: torch.device) -> Carry:
    """How tensors get to this device. On the CPU one that has the dtype already is taken as it is, still mapped; others are cast, one at a time."""
    if device.type == "cuda":
        return Uploader(device)
    return lambda tensor, dtype: cast(tensor, dtype).to(device)


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`tensor.to(dtype)`, the same bits. torch turns float16 into bfloat16 and back number by number; by way of float32, in pieces that stay in the
    processor's cache, it costs less than half of that."""
    if {tensor.dtype, dtype} != {torch.float16, torch.bfloat16} or tensor.numel() < PIECE or not tensor.is_contiguous():
        return tensor.to(dtype)
    made = torch.empty_like(tensor, dtype=dtype)
    length = PIECE * torch.get_num_threads()
    wide = torch.empty(min(length, tensor.numel()), dtype=torch.float32)
    for piece, target in zip(tensor.reshape(-1).split(length), made.reshape(-1).split(length), strict=True):
        between = wide[: len(piece)]
        target.copy_(between.copy_(piece))
    return made


class Uploader:
    """Through two pinned buffers in turn: while one is on its way to the GPU, the next is filled from the file. The cast is the GPU's work."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers = [(torch.empty(BLOCK, dtype=torch.uint8, pin_memory=True), torch.cuda.Event()) for _ in range(2)]

    def __call__(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """The tensor on the device, complete for everything that is queued on the current stream after it."""
        there = torch.empty(tensor.shape, dtype=tensor.dtype, device=self._device)
        source, target = tensor.contiguous().reshape(-1).view(torch.uint8), there.reshape(-1).view(torch.uint8)
        for start in range(0, len(source), BLOCK):
            piece = source[start : start + BLOCK]
            buffer, sent = self._buffers[0]
            self._buffers.reverse()
            sent.synchronize()  # at once the first time: an event that was never recorded is done
            buffer[: len(piece)].copy_(piece)
            target[start : start + BLOCK].copy_(buffer[: len(piece)], non_blocking=True)
            sent.record()
        return there.to(dtype)
