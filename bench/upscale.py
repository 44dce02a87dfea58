"""A tiled upscale of 1024² to 4096² with a small network in ESRGAN's layout: memory of the whole process at its peak, and what the tiles change."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.table import Table, run
from tests.backend.image_networks import save_esrgan
from webui.backend.device import Device
from webui.backend.image_models import ImageModels
from webui.engine.enlarging import Enlarger, run_model
from webui.engine.tiles import Tiling
from webui.schema.sampling import UpscalerSpec
from webui.schema.settings import PictureSettings

SIDE, QUICK = 1024, 512


def soft_noise(side: int) -> Image.Image:
    """A picture with something everywhere."""
    small = np.random.default_rng(0).integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def measure(table: Table) -> None:
    """The peak first: it is that of the process so far."""
    device = Device(torch.device("cpu"), torch.float32, torch.float32, "sdpa")
    with tempfile.TemporaryDirectory() as folder:
        path = save_esrgan(Path(folder) / "net.safetensors", filters=32, blocks=3)
        models = ImageModels(device)
        side = QUICK if table.quick else SIDE
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.process_time()
        image = Enlarger(models).grow(UpscalerSpec(name="net", file=str(path)), soft_noise(side), 4, PictureSettings())
        assert image.size == (4 * side, 4 * side)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        table.note(f"{side}², {time.process_time() - started:.0f} s of CPU time; {before / 2**20:.2f} GB before")
        table.add(f"peak memory of the process, {side}² → {4 * side}²", peak / 2**20, 1.5, "GB")
        small = soft_noise(360)
        whole, tiled = (np.asarray(run_model(models.get(path), small, tiling)).astype(int) for tiling in (Tiling(0, 0), Tiling(192, 8)))
        table.add("largest difference of tiled and untiled, 360²", float(np.abs(whole - tiled).max()), 1.0, "of 255")


if __name__ == "__main__":
    run("upscale", measure)
