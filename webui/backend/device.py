"""The device, its precision and its attention kernel, chosen once at start from what the person said and what the machine can do."""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass

import psutil
import torch

from webui.schema.errors import WebuiError
from webui.schema.machine import DeviceOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """Where modules live and in which precision they compute. `attention` is `sdpa` or `xformers`."""

    device: torch.device
    dtype: torch.dtype
    vae_dtype: torch.dtype
    attention: str

    @property
    def description(self) -> str:
        """In words, for the page and the log: `CPU (Intel Xeon), bfloat16`."""
        kind = self.device.type
        name = torch.cuda.get_device_name(self.device) if kind == "cuda" else torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
        precision = str(self.dtype).removeprefix("torch.")
        vae = "" if self.vae_dtype == self.dtype else f", VAE {str(self.vae_dtype).removeprefix('torch.')}"
        return f"{kind.upper()} ({name}), {precision}{vae}"

    @property
    def memory(self) -> tuple[int, int]:
        """Bytes of memory in all and free for us, of the GPU or else of the machine. What torch has cached counts as free."""
        if self.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.device)
            return total, free + torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        machine = psutil.virtual_memory()
        return machine.total, machine.available

    def free_memory(self) -> None:
        """Give cached device memory back to the system."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def choose_device(options: DeviceOptions) -> Device:
    """CUDA, then Apple's GPU, then the CPU. Raises `WebuiError` when the device asked for does not exist."""
    device = _pick(options)
    dtype = _dtype(device, options.precision)
    vae_dtype = torch.float32 if options.full_vae else dtype
    attention = "xformers" if options.xformers and _xformers_works(device, dtype) else "sdpa"
    return Device(device, dtype, vae_dtype, attention)


def _pick(options: DeviceOptions) -> torch.device:
    if options.use_cpu:
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if options.device_id is not None:
        if options.device_id >= count:
            hint = "Start without --device-id, or run launch.py doctor."
            raise WebuiError(f"There is no CUDA device {options.device_id}; torch sees {count}.", hint=hint)
        return torch.device("cuda", options.device_id)
    if count:
        return torch.device("cuda", 0)
    return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")


def _dtype(device: torch.device, precision: str) -> torch.dtype:
    """16 bits where the hardware computes in them: float16 on CUDA as A1111 has it, bfloat16 on CPUs with instructions for it."""
    if precision == "full":
        return torch.float32
    if device.type == "cuda":
        return torch.float16
    if device.type == "mps":
        return torch.float16 if precision == "half" else torch.float32
    return torch.bfloat16 if precision == "half" or cpu_has_bfloat16() else torch.float32


def cpu_has_bfloat16() -> bool:
    """True when the CPU multiplies matrices in bfloat16 (avx512_bf16 or AMX); elsewhere bfloat16 is emulated and slower than float32."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _xformers_works(device: torch.device, dtype: torch.dtype) -> bool:
    """Run xformers' attention once on a few numbers: an installed package proves nothing, it must fit this torch and this GPU."""
    if device.type != "cuda":
        log.warning("--xformers needs a CUDA GPU; using torch's own attention.")
        return False
    try:
        import xformers.ops  # here: heavy, rarely wanted, may not be installed

        probe = torch.zeros(1, 16, 1, 64, device=device, dtype=dtype)
        xformers.ops.memory_efficient_attention(probe, probe, probe)
    except (ImportError, OSError, RuntimeError, NotImplementedError, ValueError) as error:
        log.warning("xformers does not work here (%s); using torch's own attention.", error)
        return False
    return True
