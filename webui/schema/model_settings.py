"""Settings of models and their memory, under A1111's keys where it has them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webui.schema.base import Frozen
from webui.schema.widgets import Checkbox, Dropdown, Number

OWN_VAE = "None"
"""Value of `sd_vae`: the one in the checkpoint. `Automatic` takes a file that belongs to the checkpoint before it; anything else is a file's name."""


class ModelSettings(Frozen):
    """What a model is put together from. Part of `PictureSettings`: frozen into the job."""

    sd_vae: Annotated[
        str, Field(max_length=500),
        Dropdown(
            label="VAE", source="vaes",
            info="Automatic: a file named like the checkpoint, beside it or in models/VAE, else the checkpoint's own. None: the checkpoint's own.",
        ),
    ] = "Automatic"
    sd_vae_overrides_per_model_preferences: Annotated[
        bool,
        Checkbox(
            label="The VAE chosen counts more than a model's own", info="Off: a model for which a VAE is kept uses that one, whatever is chosen.",
        ),
    ] = True
    auto_vae_precision: Annotated[
        bool,
        Checkbox(label="Widen a VAE that gives NaN", info="Decode again in bfloat16, then in 32 bits, instead of failing. It stays so."),
    ] = True
    fp8_storage: Annotated[
        Literal["Disable", "Enable for SDXL", "Enable"],
        Dropdown(label="FP8 weights", info="Keep the UNet's weights in 8 bits, computing in 16: half the memory, slightly other pictures."),
    ] = "Disable"
    low_bit_storage: Annotated[
        Literal["Disable", "int8", "nf4"],
        Dropdown(
            label="Linear layers in few bits",
            info="Keep the weights within the denoiser's blocks in 8 bits (int8) or 4 (nf4), computing in 16. nf4: a quarter of the memory, visibly "
            "other pictures, slower. Counts before FP8 weights.",
        ),
    ] = "Disable"


class MemorySettings(Frozen):
    """How models are loaded and kept. Read when a job starts."""

    memory_mode: Annotated[
        Literal["auto", "high", "model offload", "group offload"],
        Dropdown(
            label="Graphics memory",
            info="auto: by what is free. high: everything stays in it. model offload: one part at a time. group offload: layer by layer, slow.",
        ),
    ] = "auto"
    vae_tiling: Annotated[
        Literal["auto", "always", "never"],
        Dropdown(label="VAE in tiles", info="Large pictures are decoded piece by piece, in less memory; seams are blended. auto: when it must be."),
    ] = "auto"
    models_ram_gb: Annotated[
        float, Field(ge=0, le=4096), Number(label="RAM for models, GB", info="Parts used longest ago leave first; 0: three quarters of all there is.")
    ] = 0.0
    models_vram_gb: Annotated[
        float, Field(ge=0, le=4096),
        Number(label="Graphics memory for models, GB", info="The same on the GPU; what a run needs beyond it is moved about."),
    ] = 0.0
    disable_mmap_load_safetensors: Annotated[
        bool, Checkbox(label="Read model files whole", info="Instead of mapping them: faster on some network disks, and needs more memory.")
    ] = False
