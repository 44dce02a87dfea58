"""Settings, under A1111's keys where it has them. Each says beside its type how it is labelled, explained and shown; `schema.sections` says where it
stands. The class that a setting is written in says when a change counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from webui.schema.extras_settings import ExtrasSettings, FaceSettings, InterrogateSettings
from webui.schema.img2img_settings import Img2ImgSettings
from webui.schema.model_settings import MemorySettings, ModelSettings
from webui.schema.output_settings import OutputSettings
from webui.schema.page_settings import PageSettings, ServerSettings
from webui.schema.prompt_settings import PromptSettings
from webui.schema.sampling_settings import SamplingSettings
from webui.schema.sdxl_settings import SdxlSettings
from webui.schema.widgets import Checkbox, Slider


class PictureSettings(
    OutputSettings, PromptSettings, SamplingSettings, Img2ImgSettings, SdxlSettings, ModelSettings, ExtrasSettings, FaceSettings,
    InterrogateSettings,
):
    """Can change pixels, names or files: frozen into the job when it is submitted."""


class MachineSettings(MemorySettings):
    """Belong to the machine: read when a job starts."""

    live_previews_enable: Annotated[bool, Checkbox(label="Live previews", info="Show the picture in the making.")] = True
    show_progress_every_n_steps: Annotated[
        int, Field(ge=-1, le=150),
        Slider(label="Steps between previews", info="−1: none before the end.", minimum=-1, maximum=150, step=1),
    ] = 1
    live_preview_refresh_period: Annotated[
        int, Field(ge=50, le=10_000),
        Slider(label="Time between previews", info="At least so many milliseconds.", minimum=50, maximum=10_000, step=50),
    ] = 200
    sd_checkpoints_limit: Annotated[
        int, Field(ge=1, le=10),
        Slider(label="Checkpoints in memory", info="The one used longest ago leaves first.", minimum=1, maximum=10, step=1),
    ] = 1


class Settings(PictureSettings, MachineSettings, ServerSettings, PageSettings):
    """All settings of the server."""

    def snapshot(self, overrides: Mapping[str, object]) -> PictureSettings:
        """What a job carries away: the picture settings with the request's own overrides. Raises `pydantic.ValidationError`."""
        values = {name: getattr(self, name) for name in PictureSettings.model_fields}
        return PictureSettings.model_validate(values | dict(overrides))
