"""Splits a batch over threads. Two threads with half a batch each wait for each other once a step; two threads inside every kernel wait a thousand
times, which is slow as soon as anything else runs on the machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

Gradients = tuple[Tensor | None, ...]


class Workers:
    """At most as many threads as torch's kernels have now; each gets its share of them."""

    def __init__(self, most: int) -> None:
        kernel_threads = torch.get_num_threads()
        self._count = min(most, kernel_threads)
        self.pool = ThreadPoolExecutor(self._count, initializer=torch.set_num_threads, initargs=(kernel_threads // self._count,))

    def differentiate(
        self, compute: Callable[..., tuple[Gradients, Tensor]], tensors: Sequence[Tensor], parameters: Sequence[nn.Parameter],
    ) -> Tensor:  # fmt: skip
        """Calls `compute(*part)` for each thread's part of the tensors (first axis). It gives gradients in the order of `parameters`, whose sums
        become their `.grad`, and a tensor with a row a sample; these are returned together."""
        parts = zip(*(tensor.chunk(self._count) for tensor in tensors), strict=True)
        answers = list(self.pool.map(lambda part: compute(*part), parts))
        for parameter, *gradients in zip(parameters, *(gradients for gradients, _ in answers), strict=True):
            parameter.grad = None if gradients[0] is None else sum(gradients[1:], gradients[0])
        return torch.cat([rows for _, rows in answers])
