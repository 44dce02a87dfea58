"""What the person said about the machine at start."""

from __future__ import annotations

from typing import Literal

from webui.schema.base import Frozen


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
