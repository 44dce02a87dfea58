"""Loading, switching and memory of full-size SD 1.5 files, beside diffusers' own loader in the same run. Linux: private memory is read from /proc.

The files (2.1 GB each, some minutes) are kept in the folder EASEL_BENCH_MODELS if it is set, else made anew; `--quick` takes a small model and
leaves absolute bars out.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm, load_single_file_checkpoint
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors import safe_open
from transformers import CLIPTextModel

from bench.table import Table, run
from tools.random_checkpoint import write_checkpoint
from webui.backend.device import Device
from webui.backend.families.sd_config import SdConfig, TextConfig, UNetConfig, VaeConfig
from webui.backend.families.sd_modules import build_modules
from webui.backend.headers import read_header
from webui.backend.manager import ModelManager
from webui.backend.parts import ModelChoice
from webui.schema.model import Checkpoint

SMALL = SdConfig(
    unet=UNetConfig(channels=(128, 256, 512, 512)), vae=VaeConfig(channels=(64, 64, 128, 128)), text_encoder=TextConfig(layers=4),
)
GB = 1e9
FOLDER = "EASEL_BENCH_MODELS"
"""Environment variable: a folder where the large files are kept from run to run."""


class Peak:
    """The largest private (anonymous) memory of this process while the `with` lasts, in bytes, sampled every 2 ms."""

    def __enter__(self) -> Peak:
        self.bytes, self._stop = private(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self.bytes = max(self.bytes, private())


def private() -> int:
    """Bytes of memory that belong to this process alone and are in no file."""
    return _status("RssAnon")


def _status(field: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f"{field}:"))


def checkpoint_of(path: Path) -> Checkpoint:
    """The file as the catalog would have it."""
    stat = path.stat()
    return Checkpoint(name=path.name, path=str(path), size=stat.st_size, mtime=stat.st_mtime, family="sd1")


def vary(path: Path, target: Path, number: int) -> Path:
    """A copy whose every larger weight begins with another number, so that nothing is shared with the original by content."""
    if not target.exists():
        shutil.copy(path, target)
        header = read_header(path)
        with safe_open(path, framework="pt") as source:
            first = {key: source.get_tensor(key).flatten()[0].item() for key, shape in header.shapes.items() if len(shape) > 1}
        with target.open("r+b") as file:
            length = int.from_bytes(file.read(8), "little")
            table = json.loads(file.read(length))
            for key, value in first.items():
                file.seek(8 + length + table[key]["data_offsets"][0])
                file.write(torch.tensor([value + number / 16], dtype=torch.float16).numpy().tobytes())
    return target


def ours(path: Path, dtype: torch.dtype) -> object:
    """The components of a file by our manager."""
    manager = ModelManager(Device(torch.device("cpu"), dtype, dtype, "sdpa"))
    with manager.lease(ModelChoice(checkpoint_of(path))) as components:
        return manager, components


def bare(path: Path, dtype: torch.dtype, configs: Path) -> object:
    """The same three modules by diffusers' single-file loader."""
    terms = {"config": str(configs), "torch_dtype": dtype, "local_files_only": True}
    unet = UNet2DConditionModel.from_single_file(str(path), subfolder="unet", **terms)
    vae = AutoencoderKL.from_single_file(str(path), subfolder="vae", **terms)
    text = create_diffusers_clip_model_from_ldm(
        CLIPTextModel, checkpoint=load_single_file_checkpoint(str(path)), subfolder="text_encoder", **terms,
    )
    return unet, vae, text


def write_configs(folder: Path, config: SdConfig) -> Path:
    """What diffusers wants to know of the modules."""
    modules = build_modules(config)
    for name in ("unet", "vae", "text_encoder"):
        getattr(modules, name).save_config(folder / name) if name != "text_encoder" else modules.text_encoder.config.save_pretrained(folder / name)
    return folder


def measure_load(table: Table, path: Path, configs: Path, dtype: torch.dtype, repeats: int) -> None:
    """Both loaders in turns; the least time of each, the peak of ours."""
    least, peak = {"ours": float("inf"), "bare": float("inf")}, 0
    ways: dict[str, Callable[[], object]] = {"bare": lambda: bare(path, dtype, configs), "ours": lambda: ours(path, dtype)}
    for _ in range(repeats + 1):  # the first round reads the file into the page cache
        for name, load in ways.items():
            gc.collect()
            with Peak() as seen:
                started = time.perf_counter()
                model = load()
                least[name] = min(least[name], time.perf_counter() - started)
            peak = max(peak, seen.bytes) if name == "ours" else peak
            del model
    same = dtype == torch.float16
    words = "in the file's dtype" if same else f"cast to {str(dtype).removeprefix('torch.')}"
    table.add(f"load {words} / diffusers' loader", least["ours"] / least["bare"], 1.15 if same else 1.0, "x")
    if not table.quick:
        if same:
            table.add(f"load {words}", least["ours"], 0.5, "s")
        table.add(f"load {words}: private memory of the process at its peak", peak / GB, 0.6 if same else 2.6, "GB")
    table.note(f"{path.stat().st_size / GB:.2f} GB, page cache warm, least of {repeats}: ours {least['ours']:.2f} s, diffusers {least['bare']:.2f} s")


def measure_switches(table: Table, paths: list[Path]) -> None:
    """Back to a mapped checkpoint; then twenty switches with a cast, one model in memory at a time."""
    mapped = ModelManager(Device(torch.device("cpu"), torch.float16, torch.float16, "sdpa"))
    choices = [ModelChoice(checkpoint_of(path)) for path in paths]
    took = 0.0
    for choice in (*choices, choices[0]):
        started = time.perf_counter()
        with mapped.lease(choice):
            took = time.perf_counter() - started
    table.add("back to a checkpoint used before", took, 0.3, "s")
    mapped.evict()
    cast, resident = ModelManager(Device(torch.device("cpu"), torch.bfloat16, torch.bfloat16, "sdpa")), []
    for turn in range(20):
        with cast.lease(choices[turn % 3]):
            pass
        gc.collect()
        resident.append(_status("VmRSS"))
    table.add("20 switches among three: resident after the 20th / after the 3rd", resident[19] / resident[2], 1.02, "x")


@contextmanager
def files(table: Table) -> Iterator[tuple[SdConfig, list[Path]]]:
    """Three checkpoints of different weights."""
    config = SMALL if table.quick else SdConfig()
    kept = os.environ.get(FOLDER)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(kept) if kept and not table.quick else Path(temporary)
        first = folder / "full.safetensors"
        if not first.exists():
            write_checkpoint(first, config)
        yield config, [first, *(vary(first, folder / f"full-{number}.safetensors", number) for number in (1, 2))]


def measure(table: Table) -> None:
    """All rows."""
    with files(table) as (config, paths), tempfile.TemporaryDirectory() as folder:
        configs = write_configs(Path(folder), config)
        for dtype in (torch.float16, torch.bfloat16):
            measure_load(table, paths[0], configs, dtype, 2 if table.quick else 5)
        measure_switches(table, paths)


if __name__ == "__main__":
    run("models", measure)
