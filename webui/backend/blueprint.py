"""Modules without memory: names, shapes and dtypes on the meta device, for weights that come from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

_FIRST_NUMBERS = frozenset({
    init.uniform_, init.normal_, init.constant_, init.kaiming_uniform_, Tensor.uniform_, Tensor.normal_, Tensor.fill_, Tensor.zero_,
})


class _Undrawn(TorchFunctionMode):
    """A tensor that has no memory gets no first numbers: torch takes half of the time of building to draw them into nothing."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FIRST_NUMBERS:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)


@contextmanager
def blueprint() -> Iterator[None]:
    """What is built under it is on the meta device, but for what names another."""
    with torch.device("meta"), _Undrawn():
        yield
