"""Settings, under A1111's keys where it has them. Two kinds: `PictureSettings` can change pixels, names or files and are frozen into the job when it
is submitted; `MachineSettings` belong to the machine and are read when the job starts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from webui.schema.base import Frozen
from webui.schema.sampling_settings import SamplingSettings


class PictureSettings(SamplingSettings):
    """Part of the job."""

    samples_save: bool = True
    """Save every finished picture to the outputs folder."""

    save_incomplete_images: bool = True
    """Keep the partial picture when a job is interrupted or skipped (A1111 throws it away unless asked)."""

    save_to_dirs: bool = True
    """Put pictures into a folder per day."""

    enable_pnginfo: bool = True
    """Write A1111's infotext into the PNG chunk `parameters`."""

    easel_request_in_png: bool = True
    """Write the full request as JSON into the PNG chunk `easel`: what Replay reads first."""

    outdir_txt2img_samples: str = "txt2img-images"
    """Folder below the outputs folder."""


class MachineSettings(Frozen):
    """Not part of the job."""

    live_previews_enable: bool = True
    show_progress_every_n_steps: Annotated[int, Field(ge=-1, le=150)] = 1
    """Steps between previews; -1 shows none before the end."""

    live_preview_refresh_period: Annotated[int, Field(ge=50, le=10_000)] = 200
    """Least milliseconds between two previews."""

    checkpoints_in_memory: Annotated[int, Field(ge=1, le=10)] = 1
    outdir_save: str = "log/images"
    """Where the Save button copies to, below the data folder."""


class Settings(PictureSettings, MachineSettings):
    """All settings of the server."""

    def snapshot(self, overrides: dict[str, object]) -> PictureSettings:
        """What a job carries away: the picture settings with the request's own overrides. Raises `pydantic.ValidationError`."""
        values = {name: getattr(self, name) for name in PictureSettings.model_fields}
        return PictureSettings.model_validate(values | overrides)
