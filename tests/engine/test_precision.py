"""Half precision, and the device in words."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from webui.backend import device as devices
from webui.backend.device import choose_device
from webui.backend.parts import ModelChoice
from webui.engine.runtime import Runtime
from webui.engine.steps import decode as decoding
from webui.schema.errors import WebuiError
from webui.schema.generation import Txt2Img
from webui.schema.machine import DeviceOptions

REQUEST = Txt2Img(prompt="a red house", seed=3, steps=4, width=64, height=64)


@pytest.fixture
def half(make_runtime):
    runtime: Runtime = make_runtime(DeviceOptions(use_cpu=True, precision="half"))
    yield runtime
    runtime.close()


def test_bfloat16_gives_the_picture_of_float32_within_its_precision(half: Runtime, generate, pixels) -> None:
    low = pixels(next(half.generate(REQUEST)))
    full = pixels(generate(seed=3)[0])
    difference = np.abs(low - full)
    assert 0 < difference.mean() < 12


def test_bfloat16_batch_equals_singles(half: Runtime, pixels) -> None:
    """In bfloat16, where two batch sizes may take different kernels: 2/255 for 99.9 % of the values."""
    batch = list(half.generate(REQUEST.revise(batch_size=2)))
    for picture in batch:
        single = next(half.generate(REQUEST.revise(seed=picture.seed)))
        assert (np.abs(pixels(picture) - pixels(single)) <= 2).mean() >= 0.999


def test_modules_are_in_the_precision_asked_for(half: Runtime) -> None:
    with half.shop.manager.lease(ModelChoice(half.plan(REQUEST).checkpoint)) as components:
        assert {weight.dtype for module in components.modules.values() for weight in module.parameters()} == {torch.bfloat16}
    assert half.description.startswith("CPU (")
    assert half.description.endswith("bfloat16")


def test_full_vae_keeps_the_vae_in_float32(make_runtime) -> None:
    runtime = make_runtime(DeviceOptions(use_cpu=True, precision="half", full_vae=True))
    picture = next(runtime.generate(REQUEST))
    with runtime.shop.manager.lease(ModelChoice(picture.plan.checkpoint)) as components:
        assert components.modules["vae"].dtype == torch.float32
        assert components.modules["unet"].dtype == torch.bfloat16
    assert "VAE float32" in runtime.description
    runtime.close()


@pytest.mark.parametrize(
    ("able", "dtype"), [({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16), ({}, torch.float32)], ids=str,
)
def test_auto_takes_bfloat16_where_the_cpu_computes_in_it(monkeypatch: pytest.MonkeyPatch, able: dict, dtype: torch.dtype) -> None:
    monkeypatch.setattr(devices.torch.cpu, "get_capabilities", lambda: able)
    assert choose_device(DeviceOptions(use_cpu=True)).dtype == dtype
    assert choose_device(DeviceOptions(use_cpu=True, precision="full")).dtype == torch.float32


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()], ids=repr,
)
def test_too_little_memory_is_said_in_words(generate, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*call: object) -> None:
        raise error

    monkeypatch.setattr(decoding, "decode_picture", fail)
    with pytest.raises(WebuiError, match="not enough memory for 2 × 64 × 64") as caught:
        generate(batch_size=2)
    assert "smaller" in (caught.value.hint or "")


def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(WebuiError, match="no CUDA device 99"):
        choose_device(DeviceOptions(device_id=99))


def test_xformers_falls_back_with_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    assert choose_device(DeviceOptions(use_cpu=True, xformers=True)).attention == "sdpa"
    assert "xformers" in caplog.text
