"""On a CUDA device: weights get there whole, every way of fitting gives the same picture, and running out of memory is survived."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.backend.conftest import Hashes
from webui.backend import transfer
from webui.backend.catalog import Catalog
from webui.backend.parts import ModelChoice, Residence
from webui.backend.transfer import carrier
from webui.engine.runtime import Runtime
from webui.engine.steps import decode as decoding
from webui.engine.tables import register_tables
from webui.engine.tools import RunTools
from webui.plugins.registry import Registries
from webui.schema.generation import Txt2Img
from webui.schema.machine import DeviceOptions
from webui.schema.settings import MachineSettings, PictureSettings

pytestmark = pytest.mark.gpu

REQUEST = Txt2Img(prompt="a red house", width=128, height=96, steps=4, sampler="Euler a", seed=11)


@pytest.fixture(autouse=True)
def there_is_a_device() -> None:
    """Without one these tests would compare the CPU with itself."""
    assert torch.cuda.is_available(), "tests/gpu need a CUDA device; leave them out with -m 'not gpu'"


@pytest.fixture
def runtime(tiny_checkpoint: Path) -> Iterator[Runtime]:
    """On the device, in 16 bits."""
    registries = Registries()
    register_tables(registries)
    made = Runtime(DeviceOptions(), Catalog([tiny_checkpoint.parent], Hashes()), registries)
    yield made
    made.close()


def pixels(runtime: Runtime, **machine: object) -> np.ndarray:
    """The request's picture with these machine settings."""
    tools = RunTools(machine=MachineSettings.model_validate(machine), settings=PictureSettings(randn_source="CPU"))
    (picture,) = runtime.generate(REQUEST, tools)
    return np.asarray(picture.image).astype(np.int16)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_weights_arrive_whole(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    monkeypatch.setattr(transfer, "BLOCK", 1000)  # many pieces, and a last one that is not full
    carry = carrier(torch.device("cuda"))
    for shape in ((), (3,), (7, 11), (64, 64, 3, 3), (0,)):
        weight = torch.randn(shape).half()
        assert torch.equal(carry(weight, dtype).cpu(), weight.to(dtype))


@pytest.mark.parametrize("mode", ["model offload", "group offload"])
def test_every_way_gives_the_same_picture(runtime: Runtime, mode: str) -> None:
    assert np.abs(pixels(runtime) - pixels(runtime, memory_mode=mode)).max() <= 2


def test_one_part_at_a_time_is_there(runtime: Runtime) -> None:
    pixels(runtime, memory_mode="model offload")
    with runtime.shop.manager.lease(ModelChoice(runtime.plan(REQUEST).checkpoint), residence=Residence("model offload")) as components:
        places = {name: next(module.parameters()).device.type for name, module in components.modules.items()}
    assert list(places.values()).count("cuda") == 1


def test_8_bit_weights_take_half_the_memory(runtime: Runtime) -> None:
    choice = ModelChoice(runtime.plan(REQUEST).checkpoint)
    manager = runtime.shop.manager
    with manager.lease(choice):
        full = torch.cuda.memory_allocated()
    manager.evict()
    with manager.lease(choice, residence=Residence(storage="fp8")):
        assert torch.cuda.memory_allocated() < full


def test_out_of_memory_goes_on_in_another_way(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, decode, failed, said = pixels(runtime), decoding.decode_picture, [], []

    def once(*given: object) -> torch.Tensor:
        if not failed:
            failed.append(1)
            torch.empty(2**50, dtype=torch.uint8, device="cuda")  # a real one
        return decode(*given)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(decoding, "decode_picture", once)
    tools = RunTools(settings=PictureSettings(randn_source="CPU"), tell=said.append)
    (picture,) = runtime.generate(REQUEST, tools)
    assert len(said) == 1
    assert np.abs(np.asarray(picture.image).astype(np.int16) - wanted).max() <= 2
