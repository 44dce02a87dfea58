"""Settings, under A1111's keys where it has them. Two kinds: `PictureSettings` can change pixels, names or files and are frozen into the job when it
is submitted; `MachineSettings` belong to the machine and are read when the job starts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webui.schema.base import Frozen
from webui.schema.sampling_settings import SamplingSettings

PictureFormat = Literal["png", "jpg", "jpeg", "webp", "avif", "jxl"]
"""jxl only where Pillow's plug-in for it is installed."""

Pattern = Annotated[str, Field(max_length=1000)]
"""A file name pattern, see `services.names`."""


class PictureSettings(SamplingSettings):
    """Part of the job."""

    samples_save: bool = True
    """Save every finished picture to the outputs folder."""

    save_incomplete_images: bool = True
    """Keep the partial picture when a job is interrupted or skipped (A1111 throws it away unless asked)."""

    save_to_dirs: bool = True
    """Put pictures into a folder per day."""

    enable_pnginfo: bool = True
    """Write A1111's infotext into the file: PNG chunk `parameters`, EXIF UserComment of the other formats."""

    easel_request_in_png: bool = True
    """Write the full request as JSON into the file (PNG chunk `easel`, EXIF MakerNote of the other formats): what Replay reads first."""

    add_model_hash_to_info: bool = True
    add_model_name_to_info: bool = True
    add_version_to_infotext: bool = True
    add_user_name_to_info: bool = False
    """Write who is signed in into the infotext."""

    save_txt: bool = False
    """Write the infotext into a `.txt` beside each picture as well."""

    samples_format: PictureFormat = "png"
    grid_format: PictureFormat = "png"
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 80
    """Of JPEG and AVIF, and of WebP and JPEG XL unless they are lossless."""

    webp_lossless: bool = False
    """WebP and JPEG XL keep every pixel."""

    export_for_4chan: bool = True
    """Save a JPG copy of a picture whose file is larger than `img_downscale_threshold`, or a side of it than `target_side_length`."""

    img_downscale_threshold: Annotated[float, Field(gt=0, le=10_000)] = 4.0
    """Megabytes."""

    target_side_length: Annotated[int, Field(ge=64, le=65_000)] = 4000
    """Pixels; the JPG copy is made no larger."""

    save_images_add_number: bool = True
    """Begin file names with a number; without a pattern they always do."""

    save_images_replace_action: Literal["Replace", "Add number suffix"] = "Replace"
    """What happens without numbers when there is a file of this name."""

    samples_filename_pattern: Pattern = ""
    """Empty: `[seed]` with folders (`save_to_dirs`), `[seed]-[prompt_spaces]` without."""

    directories_filename_pattern: Pattern = "[date]"
    directories_max_prompt_words: Annotated[int, Field(ge=1, le=20)] = 8
    filenames_max_length: Annotated[int, Field(ge=1, le=200)] = 128
    """Characters that one token of a pattern may give (A1111's flag --filenames-max-length)."""

    grid_save: bool = True
    """Save a grid of the pictures of a run."""

    grid_only_if_multiple: bool = True
    grid_save_to_dirs: bool = True
    grid_extended_filename: bool = False
    """Put the file name pattern into the names of grids too."""

    grid_prevent_empty_spots: bool = False
    n_rows: Annotated[int, Field(ge=-1, le=16)] = -1
    """Rows of the grid: −1 about as many as columns, 0 as many as pictures in a batch."""

    img_max_size_mp: Annotated[int, Field(ge=1, le=1000)] = 200
    """Megapixels; a larger grid is not made."""

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

    use_old_hires_fix_width_height: bool = False
    """Hires fix as A1111 before 1.0: width and height are those of the finished picture, the first pass has about 512² pixels."""

    save_images_before_highres_fix: bool = False
    """Save the picture of the first pass too, as `…-before-highres-fix`."""

    outdir_txt2img_samples: str = "txt2img-images"
    """Folder below the outputs folder."""

    outdir_txt2img_grids: str = "txt2img-grids"
    """Folder below the outputs folder."""


class MachineSettings(Frozen):
    """Not part of the job."""

    live_previews_enable: bool = True
    show_progress_every_n_steps: Annotated[int, Field(ge=-1, le=150)] = 1
    """Steps between previews; -1 shows none before the end."""

    live_preview_refresh_period: Annotated[int, Field(ge=50, le=10_000)] = 200
    """Least milliseconds between two previews."""

    infotext_styles: Literal["Ignore", "Apply", "Discard", "Apply if any"] = "Apply if any"
    """What becomes of styles found in a pasted line: left in the prompts, or taken out of them and chosen (Apply), forgotten (Discard)."""

    infotext_skip_pasting: tuple[str, ...] = ()
    """Keys of a pasted line that are not read."""

    auto_backcompat: bool = True
    """Add the switches of older versions of A1111 to a line that one of them wrote."""

    checkpoints_in_memory: Annotated[int, Field(ge=1, le=10)] = 1
    grid_zip_filename_pattern: Pattern = ""
    """Name of a zip; empty: `[datetime]_[model_name]_[seed]-[seed_last]`."""

    outdir_save: str = "log/images"
    """Where the Save button copies to, below the data folder."""


class Settings(PictureSettings, MachineSettings):
    """All settings of the server."""

    def snapshot(self, overrides: dict[str, object]) -> PictureSettings:
        """What a job carries away: the picture settings with the request's own overrides. Raises `pydantic.ValidationError`."""
        values = {name: getattr(self, name) for name in PictureSettings.model_fields}
        return PictureSettings.model_validate(values | overrides)
