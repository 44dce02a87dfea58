"""Settings, under A1111's keys where it has them. Two kinds: `PictureSettings` can change pixels, names or files and are frozen into the job when it
is submitted; `MachineSettings` belong to the machine and are read when the job starts."""

from __future__ import annotations

from typing import Annotated, Literal

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

    emphasis: Literal["None", "Ignore", "Original", "No norm"] = "Original"
    """What brackets in a prompt do; see `engine.emphasis`."""

    CLIP_stop_at_last_layers: Annotated[int, Field(ge=1, le=12)] = 1
    """Clip skip: the text encoder's last layer is 1, the one before it 2, …"""

    comma_padding_backtrack: Annotated[int, Field(ge=0, le=74)] = 20
    """A phrase of at most so many tokens after a comma is not torn by the end of a chunk; 0 = off."""

    use_old_scheduling: bool = False
    """Times in [before:after:when] as A1111 before 1.6 read them: 1.0 and more are steps, and the second pass counts like the first."""

    enable_prompt_comments: bool = True
    """A # hides the rest of its line from the model."""

    pad_cond_uncond: bool = False
    """Make prompt and negative prompt equally long with empty prompts, so that they run in one call."""

    pad_cond_uncond_v0: bool = False
    """The same as A1111 before 1.7 did it: repeat or cut the negative prompt. Wins over `pad_cond_uncond`."""

    batch_cond_uncond: bool = True
    """Run prompt and negative prompt in one call of the model: faster, more memory."""

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
