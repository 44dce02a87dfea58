"""Modules on the meta device: as torch builds them there, without the first numbers that nobody reads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tools.random_checkpoint import KINDS
from tools.random_dit import SIZES, Tiny
from webui.backend.blueprint import blueprint
from webui.backend.families.dit_modules import build_transformer
from webui.backend.families.sd_modules import builders
from webui.backend.families.t5 import build_t5

BUILDS: dict[str, Callable[[], nn.Module]] = {
    **builders(KINDS["tiny"]["sdxl"]), "sd3": lambda: build_transformer("sd3", SIZES["sd3-medium-3.5"]),
    "flux": lambda: build_transformer("flux", SIZES["flux-dev"]), "t5": lambda: build_t5(Tiny("flux-dev").t5_config),
}


class Draws(TorchDispatchMode):
    """Counts how often random numbers are asked for."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += any(word in func.name() for word in ("uniform", "normal_"))
        return func(*args, **kwargs or {})


def built(under: AbstractContextManager[object], build: Callable[[], nn.Module]) -> tuple[list[tuple[object, ...]], int]:
    """Every weight and buffer of the module, and how many were drawn."""
    with under, Draws() as draws:
        module = build()
    tensors = (*module.named_parameters(), *module.named_buffers())
    return [(name, one.shape, one.dtype, one.device, one.requires_grad) for name, one in tensors], draws.count


@pytest.mark.parametrize("name", BUILDS)
def test_a_module_is_the_same_and_nothing_is_drawn(name: str) -> None:
    (wanted, drawn), (found, undrawn) = built(torch.device("meta"), BUILDS[name]), built(blueprint(), BUILDS[name])
    assert found == wanted
    assert drawn > 10 and undrawn == 0


def test_what_names_its_device_has_its_numbers() -> None:
    with blueprint():
        layer, filled = nn.Linear(8, 8, device="cpu"), torch.zeros(3, device="cpu").fill_(2)
    assert layer.weight.std() > 0 and (filled == 2).all()
