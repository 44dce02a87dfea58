"""Loading, switching, memory and recognition of model files, beside diffusers' own loader.

    python bench/models.py [--quick] [--json FILE]

The files (SD 1.5: three of 2.1 GB; SDXL: 6.9 GB, deleted afterwards) are made anew, those of SD 1.5 are kept in the folder EASEL_BENCH_MODELS if it
is set. `--quick` takes small models and leaves absolute bars of large ones out. Linux: private memory is read from /proc.
"""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from safetensors import safe_open

from bench.model_load import Peak, checkpoint_of, manager_for, private, status
from bench.table import Table, run
from tools.random_checkpoint import KINDS, write_checkpoint, write_pickle
from webui.backend.catalog import Catalog
from webui.backend.components import Frame, ModuleCall
from webui.backend.device import choose_device
from webui.backend.families.ldm import to_ldm_weights
from webui.backend.families.sd_config import PRESETS, SdConfig, TextConfig, UNetConfig, VaeConfig
from webui.backend.families.sd_modules import build_modules
from webui.backend.headers import read_header
from webui.backend.parts import ModelChoice
from webui.schema.machine import DeviceOptions

SMALL = SdConfig(
    unet=UNetConfig(channels=(128, 256, 512, 512)), vae=VaeConfig(channels=(64, 64, 128, 128)), text_encoder=TextConfig(layers=4),
)
NARROW = SdConfig(
    unet=UNetConfig(channels=(32, 64, 128, 128), context=32), vae=VaeConfig(channels=(32, 32, 32, 32)),
    text_encoder=TextConfig(width=32, inner=64, heads=2),
)
"""As many tensors as SD 1.5 has, and none of them large."""

GB = 1e9
FOLDER = "EASEL_BENCH_MODELS"
"""Environment variable: a folder where the large files are kept from run to run."""


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


def write_configs(folder: Path, config: SdConfig) -> Path:
    """What diffusers wants to know of the modules."""
    modules = build_modules(config)
    modules.unet.save_config(folder / "unet")
    modules.vae.save_config(folder / "vae")
    assert modules.text_encoder is not None
    modules.text_encoder.config.save_pretrained(folder / "text_encoder")
    return folder


def in_a_process(script: str, *words: object) -> dict[str, float]:
    """One loader measured by itself; see `model_load`."""
    command = [sys.executable, str(Path(__file__).with_name(f"{script}.py")), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_load(table: Table, path: Path, configs: Path, dtype: str, repeats: int) -> None:
    """Both loaders, compared by CPU seconds, which other processes on the machine touch little."""
    theirs, own = in_a_process("diffusers_load", path, dtype, repeats, configs), in_a_process("model_load", path, dtype, repeats)
    same = dtype == "float16"
    words = "in the file's dtype" if same else f"cast to {dtype}"
    table.add(f"load {words} / diffusers' loader", own["cpu"] / theirs["cpu"], 1.15 if same else 1.0, "x")
    if not table.quick:
        if same:
            table.add(f"load {words}: CPU seconds", own["cpu"], 0.5, "s")
        table.add(f"load {words}: private memory of the process at its peak", own["peak"] / GB, 0.6 if same else 2.6, "GB")
    said = [f"{who} {one['cpu']:.2f} CPU s ({one['wall']:.2f} s), {one['peak'] / GB:.2f} GB at its peak, {one['before'] / GB:.2f} before"
            for who, one in (("ours", own), ("diffusers", theirs))]
    table.note(f"{path.stat().st_size / GB:.2f} GB, page cache warm, least of {repeats}: {'; '.join(said)}")


def measure_switches(table: Table, paths: list[Path]) -> None:
    """Back to a mapped checkpoint; then twenty switches with a cast, one model in memory at a time."""
    mapped = manager_for(torch.float16)
    choices = [ModelChoice(checkpoint_of(path)) for path in paths]
    took = spent = 0.0
    for choice in (*choices, choices[0]):
        started, worked = time.perf_counter(), time.process_time()
        with mapped.lease(choice):
            took, spent = time.perf_counter() - started, time.process_time() - worked
    table.add("back to a checkpoint used before: CPU seconds", spent, 0.3, "s")
    table.note(f"{took:.3f} s of wall time")
    mapped.evict()
    cast, resident = manager_for(torch.bfloat16), []
    for turn in range(20):
        with cast.lease(choices[turn % 3]):
            pass
        gc.collect()
        resident.append(status("VmRSS"))
    table.add("20 switches among three: resident after the 20th / after the 3rd", resident[19] / resident[2], 1.02, "x")


@torch.inference_mode()
def measure_sdxl(table: Table, folder: Path) -> None:
    """A file of SDXL's size: loaded as this CPU computes it, one step of both halves of guidance at 256 pixels, and the picture."""
    config = KINDS["tiny"]["sdxl"] if table.quick else PRESETS["sdxl"]
    path = folder / "sdxl.safetensors"
    write_checkpoint(path, config, stated=table.quick)
    size, dtype = path.stat().st_size, choose_device(DeviceOptions(use_cpu=True)).dtype
    try:
        manager, started, worked = manager_for(dtype), time.perf_counter(), time.process_time()
        with Peak() as seen, manager.lease(ModelChoice(checkpoint_of(path))) as components:
            loaded = time.process_time() - worked - seen.cpu()
            tokens = torch.full((2, 77), 49407)
            encoded = components.join([encoder.encode(tokens, None) for encoder in components.text_encoders])
            assert encoded.pooled is not None
            rows = [components.describe(vector, Frame(256, 256)) for vector in encoded.pooled]
            added = {name: torch.stack([row[name] for row in rows]).to(dtype) for name in rows[0]}
            x = torch.randn(2, components.latent_channels, 32, 32, generator=torch.Generator().manual_seed(0)).to(dtype)
            answer = components.denoise(ModuleCall(x, torch.tensor([999.0, 999.0]), encoded.states.to(dtype), added=added))
            picture = components.autoencoder.decode(answer[:1].float())
            assert picture.shape == (1, 3, 256, 256) and bool(picture.isfinite().all())
        took = time.perf_counter() - started
        table.add("SDXL-size file, one step at 256 px: private memory at its peak", seen.bytes / GB, 12.0, "GB")
        table.note(f"{size / GB:.2f} GB as {dtype}: load {loaded:.1f} CPU s, all of it {took:.1f} s")
        del components, manager
    finally:
        path.unlink()


def write_headers(folder: Path, count: int, *, own: bool) -> None:
    """Files of SD 1.5 and SDXL (three in ten) without data: only headers take room. `own`: no two agree in their tensors."""
    folder.mkdir()
    for kind, share in (("sd1", 0.7), ("sdxl", 0.3)):
        shapes = {name: tuple(value.shape) for name, value in to_ldm_weights(build_modules(PRESETS[kind])).items()}
        for number in range(round(count * share)):
            entries: dict[str, object] = {"__metadata__": {"format": "pt", "title": f"{kind} {number}"}}
            offset = 0
            for name, shape in (shapes | ({f"own.{number}": (1,)} if own else {})).items():
                size = 2 * math.prod(shape)
                entries[name] = {"dtype": "F16", "shape": shape, "data_offsets": (offset, offset + size)}
                offset += size
            text = json.dumps(entries, separators=(",", ":")).encode()
            with (folder / f"{kind}-{number:04}.safetensors").open("wb") as file:
                file.write(struct.pack("<Q", len(text)) + text)
                file.truncate(8 + len(text) + offset)


class _NoHashes:
    """Implements `catalog.HashStore`."""

    def get(self, path: str, mtime: float, size: int) -> str | None:
        return None

    def put(self, path: str, mtime: float, size: int, sha256: str) -> None:
        del path, mtime, size, sha256


def recognise(folder: Path, index: Path) -> tuple[float, float]:
    """CPU and wall seconds for the whole list."""
    started, worked = time.perf_counter(), time.thread_time()
    entries = Catalog([folder], _NoHashes(), index).checkpoints()
    spent = time.thread_time() - worked, time.perf_counter() - started
    assert entries and all(entry.family in ("sd1", "sdxl") for entry in entries)
    return spent


def measure_recognition(table: Table, folder: Path) -> None:
    """Lists of 1,000 files, read for the first time and from the index; then a pickle by itself."""
    count = 100 if table.quick else 1000
    write_headers(folder / "alike", count, own=False)
    write_headers(folder / "unlike", count // 10, own=True)
    cold = recognise(folder / "alike", folder / "index.json")
    again = min(recognise(folder / "alike", folder / "index.json") for _ in range(3))
    unlike = recognise(folder / "unlike", folder / "other.json")
    table.add(f"recognise {count} files for the first time: CPU seconds", cold[0], 2.0 * count / 1000, "s")
    table.add(f"the same {count} from the index: CPU seconds", again[0], 0.2 * count / 1000 + 0.02, "s")
    table.add("recognise one file that no other agrees with: CPU seconds", unlike[0] / (count // 10), 0.02, "s")
    pickle = write_pickle(folder / "pickle.ckpt", NARROW)
    spent = []
    for _ in range(10):
        worked = time.thread_time()
        checkpoint_of(pickle)
        spent.append(time.thread_time() - worked)
    table.add("recognise a .ckpt: CPU seconds", min(spent), 0.02, "s")
    table.note(f"wall: {cold[1]:.2f} s for the first time, {again[1]:.2f} s from the index")


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
    """All rows; memory first, while this process has little."""
    table.note(f"private memory of this process before: {private() / GB:.2f} GB")
    with tempfile.TemporaryDirectory() as folder:
        measure_recognition(table, Path(folder))
        with files(table) as (config, paths):
            configs = write_configs(Path(folder), config)
            for dtype in ("float16", "bfloat16"):
                measure_load(table, paths[0], configs, dtype, 2 if table.quick else 5)
            measure_switches(table, paths)
        measure_sdxl(table, Path(folder))


if __name__ == "__main__":
    run("models", measure)
