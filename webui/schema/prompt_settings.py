"""Settings of how a prompt is read and given to the model, under A1111's keys. Part of `PictureSettings`: frozen into the job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webui.schema.base import Frozen
from webui.schema.widgets import Checkbox, Dropdown, Slider


class PromptSettings(Frozen):
    """What A1111 has on its page "Stable Diffusion", and some of "Optimizations" and "Compatibility"."""

    emphasis: Annotated[
        Literal["None", "Ignore", "Original", "No norm"],
        Dropdown(
            label="Emphasis",
            info="Brackets in a prompt. None: read as text. Ignore: removed. Original: weights, then the mean is restored. No norm: weights only.",
        ),
    ] = "Original"
    CLIP_stop_at_last_layers: Annotated[
        int, Field(ge=1, le=12),
        Slider(label="Clip skip", info="Layer of the text encoder that is used: 1 the last, 2 the one before it, …", minimum=1, maximum=12, step=1),
    ] = 1
    comma_padding_backtrack: Annotated[
        int, Field(ge=0, le=74),
        Slider(
            label="Prompt word wrap", info="A phrase of at most so many tokens after a comma is not torn by the end of a chunk; 0 = off.",
            minimum=0, maximum=74, step=1,
        ),
    ] = 20
    enable_prompt_comments: Annotated[bool, Checkbox(label="Comments in prompts", info="A # hides the rest of its line from the model.")] = True
    use_old_scheduling: Annotated[
        bool,
        Checkbox(
            label="Old prompt editing timelines",
            info="Times in [before:after:when] as A1111 before 1.6: 1.0 and more are steps, and the second pass counts like the first.",
        ),
    ] = False
    use_old_hires_fix_width_height: Annotated[
        bool,
        Checkbox(
            label="Old sizes of hires fix",
            info="As A1111 before 1.0: width and height are those of the finished picture, the first pass has about 512² pixels.",
        ),
    ] = False
    pad_cond_uncond: Annotated[
        bool, Checkbox(label="Pad prompts to one length", info="Fill prompt or negative prompt with empty prompts, so that both run in one call.")
    ] = False
    pad_cond_uncond_v0: Annotated[
        bool,
        Checkbox(label="Pad prompts as A1111 before 1.7", info="Repeat or cut the negative prompt instead. Wins over the setting above."),
    ] = False
    batch_cond_uncond: Annotated[
        bool, Checkbox(label="Prompt and negative prompt in one call", info="Faster, needs more memory.")
    ] = True
