"""Settings of Stable Diffusion XL and of the refiner, under A1111's keys. Part of `PictureSettings`: frozen into the job."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from webui.schema.base import Frozen
from webui.schema.widgets import Checkbox, Number

Score = Annotated[float, Field(ge=0, le=10)]
Pixels = Annotated[int, Field(ge=0, le=8192)]


class SdxlSettings(Frozen):
    """What A1111 has on its page "Stable Diffusion XL", and what it says of the refiner elsewhere."""

    sdxl_crop_top: Annotated[
        Pixels, Number(label="Crop from the top", info="What SDXL is told was cut off the picture; 0 = nothing, a centred motif.", precision=0)
    ] = 0
    sdxl_crop_left: Annotated[Pixels, Number(label="Crop from the left", info="As from the top.", precision=0)] = 0
    sdxl_refiner_low_aesthetic_score: Annotated[
        Score, Number(label="Low aesthetic score", info="What the refiner is told of the negative prompt, 0 to 10.")
    ] = 2.5
    sdxl_refiner_high_aesthetic_score: Annotated[
        Score, Number(label="High aesthetic score", info="What the refiner is told of the prompt, 0 to 10.")
    ] = 6.0
    sdxl_clip_l_skip: Annotated[
        bool, Checkbox(label="Clip skip in SDXL", info="Clip skip counts for SDXL's first text encoder as well. It changes pictures.")
    ] = False
