"""What the person said about the machine at start."""

from __future__ import annotations

from typing import Literal

from webui.schema.base import Frozen

MemoryMode = Literal["high", "model offload", "group offload"]
"""Where the parts of a model are while it works: all on the device; one at a time, the others waiting in RAM; layer by layer."""


class DeviceOptions(Frozen):
    """Which device, which precision, which attention; from the command line (A1111's flags of the same names)."""

    device_id: int | None = None
    """CUDA device; None = the first one there is, else the CPU."""

    use_cpu: bool = False
    precision: Literal["auto", "full", "half"] = "auto"
    """`full` = float32 everywhere (also --no-half); `half` = 16 bits also where `auto` would not."""

    full_vae: bool = False
    """--no-half-vae: the VAE in float32."""

    xformers: bool = False
    """xformers' attention instead of torch SDPA, where its kernels work (CUDA)."""

    memory: MemoryMode | Literal["auto"] = "auto"
    """--lowvram, --medvram, --always-high-vram: what the setting `memory_mode` means by `auto`. Without a flag: by free memory."""

    medvram_sdxl: bool = False
    """--medvram-sdxl: `model offload` for SDXL alone."""

    whole_files: bool = False
    """--disable-mmap-load-safetensors: read model files instead of mapping them."""
