"""On a CUDA device: the same pictures as on the CPU, in 16 bits too, and the memory given back. Run by `launch.py test --all` where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.backend.conftest import Hashes
from webui.backend.catalog import Catalog
from webui.engine.runtime import Runtime
from webui.engine.tables import register_tables
from webui.engine.tools import RunTools
from webui.plugins.registry import Registries
from webui.schema.generation import Txt2Img
from webui.schema.machine import DeviceOptions
from webui.schema.settings import PictureSettings

pytestmark = pytest.mark.gpu

REQUEST = Txt2Img(prompt="a red house", width=128, height=96, steps=6, sampler="Euler a", seed=11, batch_size=2)


@pytest.fixture(autouse=True)
def there_is_a_device() -> None:
    """Without one these tests would compare the CPU with itself."""
    assert torch.cuda.is_available(), "tests/gpu need a CUDA device; leave them out with -m 'not gpu'"


def pictures(checkpoint: Path, options: DeviceOptions) -> list[Image.Image]:
    """The request on the device that the options say."""
    registries = Registries()
    register_tables(registries)
    runtime = Runtime(options, Catalog([checkpoint.parent], Hashes()), registries)
    try:
        return [picture.image for picture in runtime.generate(REQUEST, RunTools(settings=PictureSettings(randn_source="CPU")))]
    finally:
        runtime.close()


def near(first: Image.Image, second: Image.Image, levels: int) -> float:
    """Share of channel values that differ by at most so many levels of 255."""
    difference = np.abs(np.asarray(first, dtype=np.int16) - np.asarray(second, dtype=np.int16))
    return float((difference <= levels).mean())


def test_float32_on_the_device_is_the_picture_of_the_cpu(tiny_checkpoint: Path) -> None:
    gpu = pictures(tiny_checkpoint, DeviceOptions(precision="full"))
    cpu = pictures(tiny_checkpoint, DeviceOptions(precision="full", use_cpu=True))
    assert all(near(one, other, 2) >= 0.999 for one, other in zip(gpu, cpu, strict=True))


def test_half_precision_is_the_default_and_close(tiny_checkpoint: Path) -> None:
    half = pictures(tiny_checkpoint, DeviceOptions())
    full = pictures(tiny_checkpoint, DeviceOptions(precision="full"))
    assert all(near(one, other, 24) >= 0.95 for one, other in zip(half, full, strict=True))


def test_same_seed_same_bytes(tiny_checkpoint: Path) -> None:
    first, second = (pictures(tiny_checkpoint, DeviceOptions()) for _ in range(2))
    assert [image.tobytes() for image in first] == [image.tobytes() for image in second]


def test_the_memory_is_given_back(tiny_checkpoint: Path) -> None:
    pictures(tiny_checkpoint, DeviceOptions())
    before = torch.cuda.memory_allocated()
    for _ in range(5):
        pictures(tiny_checkpoint, DeviceOptions())
    assert torch.cuda.memory_allocated() <= before + 2**20


def test_xformers_by_choice_gives_the_same_picture(tiny_checkpoint: Path) -> None:
    chosen = pictures(tiny_checkpoint, DeviceOptions(xformers=True))
    plain = pictures(tiny_checkpoint, DeviceOptions())
    assert all(near(one, other, 24) >= 0.95 for one, other in zip(chosen, plain, strict=True))
