"""What a person can ask for. One class feeds the form, the HTTP API, PNG metadata, X/Y/Z axes (an axis is any field path), presets and docs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, StringConstraints

from webui.schema.base import Frozen
from webui.schema.style import Style, StyleName
from webui.schema.widgets import Checkbox, Dropdown, Number, Overrides, Slider, TextBox

PROMPT_LIMIT = 20_000
"""Characters in a prompt. Far beyond what any model reads (about 250 chunks of 75 tokens), small enough to never stall the text encoder."""

SEED_LIMIT = 2**53 - 1
"""Largest seed: what JSON and a browser carry without loss."""

SIDE_LIMIT = 8192
"""Pixels of a side, in either pass."""


def readable(text: str) -> str:
    """A prompt as it is. Raises `ValueError` when it is too long or cannot be read."""
    if len(text) > PROMPT_LIMIT:
        raise ValueError(f"The text has {len(text):,} characters; at most {PROMPT_LIMIT:,} are possible. Shorten it.")
    if "\x00" in text:
        raise ValueError("The text contains a NUL character. Remove it.")
    return text


PromptText = Annotated[str, AfterValidator(readable)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ImageRef(Frozen):
    """A picture in the content-addressed store. A request holds pictures only like this, so it is self-contained JSON."""

    sha256: Sha256
    width: int = Field(ge=1)
    height: int = Field(ge=1)


class GenerationRequest(Frozen):
    """What every kind of picture job has in common. Defaults are A1111's."""

    prompt: Annotated[PromptText, TextBox(label="prompt", lines=3, placeholder="prompt_placeholder", elem="prompt")] = ""
    negative_prompt: Annotated[
        PromptText, TextBox(label="negative_prompt", lines=3, placeholder="negative_prompt_placeholder", elem="neg_prompt")
    ] = ""
    styles: Annotated[
        tuple[StyleName, ...], Field(max_length=100), Dropdown(label="styles", source="styles", elem="styles", multiple=True)
    ] = ()
    """Names of styles, applied to both prompts in this order before anything else."""

    style_texts: Annotated[tuple[Style, ...], Field(max_length=100)] = ()
    """What the styles said when the job was submitted, put in by the server: a job does not change when the styles file does."""

    checkpoint: Annotated[str, Dropdown(label="checkpoint", source="checkpoints")] = ""
    """Name of a file under models/Stable-diffusion; empty = the server's default, put in when the job is submitted."""

    sampler: Annotated[str, Dropdown(label="sampler", source="samplers", elem="sampling")] = "DPM++ 2M"
    scheduler: Annotated[str, Dropdown(label="scheduler", source="schedulers", elem="scheduler")] = "Automatic"
    steps: Annotated[int, Field(ge=1, le=1000), Slider(label="steps", minimum=1, maximum=150, step=1, elem="steps")] = 20
    width: Annotated[int, Field(ge=64, le=8192, multiple_of=8), Slider(label="width", minimum=64, maximum=2048, step=8, elem="width")] = 512
    height: Annotated[int, Field(ge=64, le=8192, multiple_of=8), Slider(label="height", minimum=64, maximum=2048, step=8, elem="height")] = 512
    batch_count: Annotated[int, Field(ge=1, le=10_000), Slider(label="batch_count", minimum=1, maximum=100, step=1, elem="batch_count")] = 1
    batch_size: Annotated[int, Field(ge=1, le=64), Slider(label="batch_size", minimum=1, maximum=8, step=1, elem="batch_size")] = 1
    cfg_scale: Annotated[float, Field(ge=0, le=100), Slider(label="cfg_scale", minimum=1, maximum=30, step=0.5, elem="cfg_scale")] = 7.0
    cfg_rescale: Annotated[
        float, Field(ge=0, le=1), Slider(label="cfg_rescale", info="cfg_rescale_info", minimum=0, maximum=1, step=0.05, elem="cfg_rescale")
    ] = 0.0
    """phi of Lin et al. 2023, https://arxiv.org/abs/2305.08891, section 3.4: against pictures burnt by a high CFG scale; 0 = off."""

    distilled_cfg_scale: Annotated[
        float, Field(ge=0, le=100),
        Slider(label="distilled_cfg_scale", info="distilled_cfg_scale_info", minimum=0, maximum=30, step=0.1, elem="distilled_cfg_scale"),
    ] = 3.5
    """How strongly a model with built-in guidance (Flux dev) is to follow the prompt: it is told so, instead of being guided. Forge's name and
    default; others do not hear of it."""

    seed: Annotated[int, Field(ge=-1, le=SEED_LIMIT), Number(label="seed", precision=0, elem="seed")] = -1
    subseed: Annotated[int, Field(ge=-1, le=SEED_LIMIT), Number(label="subseed", precision=0, elem="subseed")] = -1
    """Seed of the variation; -1 = random. Used when `subseed_strength` is not 0."""

    subseed_strength: Annotated[
        float, Field(ge=0, le=1), Slider(label="subseed_strength", minimum=0, maximum=1, step=0.01, elem="subseed_strength")
    ] = 0.0
    seed_resize_from_w: Annotated[
        int, Field(ge=0, le=8192), Slider(label="seed_resize_from_w", minimum=0, maximum=2048, step=8, elem="seed_resize_from_w")
    ] = 0
    """Width at which the seed gave the composition that is to be kept; both 0 = this one."""

    seed_resize_from_h: Annotated[
        int, Field(ge=0, le=8192), Slider(label="seed_resize_from_h", minimum=0, maximum=2048, step=8, elem="seed_resize_from_h")
    ] = 0
    restore_faces: bool | None = None
    """Whether faces are restored; None = as the setting `face_restoration` says."""

    script: Annotated[str, Dropdown(label="script", source="scripts", elem="script_list")] = ""
    """Id of the script that runs this request; empty = the engine itself."""

    ext: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    """What extensions and scripts add, by their id; validated by the `Params` they registered."""

    settings: Annotated[dict[str, JsonValue], Overrides(label="override_settings", elem="override_settings_values")] = Field(default_factory=dict)
    """Overrides of settings for this job only, by settings key."""

    @property
    def overrides(self) -> dict[str, JsonValue]:
        """`settings`, with the field that stands for one of them."""
        return dict(self.settings) | ({} if self.restore_faces is None else {"face_restoration": self.restore_faces})

    def without_script(self) -> Self:
        """The request as the engine itself runs it: without the script that asked, and what that script was told."""
        return self.model_copy(update={"script": "", "ext": {key: values for key, values in self.ext.items() if key != self.script}})

    def single(self, index: int) -> Self:
        """The picture `index` of a run by itself: the seed, or with a variation its seed, is counted on as in `engine.plan`. How many pictures to
        make stays as it is."""
        count = "subseed" if self.subseed_strength else "seed"
        seed = getattr(self, count)
        return self.without_script().model_copy(update={count: seed + index if seed >= 0 else seed})

    def images(self) -> dict[str, ImageRef]:
        """The stored pictures that this request names, by field."""
        return {name: value for name in type(self).model_fields if isinstance(value := getattr(self, name), ImageRef)}


class Hires(Frozen):
    """The second pass of "Hires. fix": the picture is enlarged and worked over. Names and defaults are A1111's; `hr_cfg` and
    `hr_distilled_cfg` are Forge's names."""

    enable_hr: Annotated[bool, Checkbox(label="hires_fix", elem="hr-checkbox")] = False
    hr_upscaler: Annotated[str, Dropdown(label="hr_upscaler", source="upscalers", elem="hr_upscaler")] = "Latent"
    hr_second_pass_steps: Annotated[
        int, Field(ge=0, le=1000), Slider(label="hr_steps", minimum=0, maximum=150, step=1, elem="hires_steps")
    ] = 0
    """Steps really done in the second pass; 0 = as many as in the first."""

    denoising_strength: Annotated[
        float, Field(ge=0, le=1), Slider(label="denoising_strength", minimum=0, maximum=1, step=0.01, elem="denoising_strength")
    ] = 0.7
    """How much of the enlarged picture is replaced."""

    hr_scale: Annotated[float, Field(ge=1, le=16), Slider(label="hr_scale", minimum=1, maximum=4, step=0.05, elem="hr_scale")] = 2.0
    hr_resize_x: Annotated[int, Field(ge=0, le=SIDE_LIMIT), Slider(label="hr_resize_x", minimum=0, maximum=2048, step=8, elem="hr_resize_x")] = 0
    """Width to enlarge to; with only one of both given the other follows, with both what sticks out is cut. Both 0 = `hr_scale` counts."""

    hr_resize_y: Annotated[int, Field(ge=0, le=SIDE_LIMIT), Slider(label="hr_resize_y", minimum=0, maximum=2048, step=8, elem="hr_resize_y")] = 0
    hr_checkpoint_name: Annotated[str, Dropdown(label="hr_checkpoint", source="hires_checkpoints", elem="hr_checkpoint")] = ""
    """Checkpoint of the second pass; empty = that of the first."""

    hr_sampler: Annotated[str, Dropdown(label="hr_sampler", source="hires_samplers", elem="hr_sampler")] = ""
    """Empty = the one of the first pass; so with `hr_scheduler`."""

    hr_scheduler: Annotated[str, Dropdown(label="hr_scheduler", source="hires_schedulers", elem="hr_scheduler")] = ""
    hr_prompt: Annotated[PromptText, TextBox(label="hr_prompt", lines=2, placeholder="hr_prompt_placeholder", elem="hires_prompt")] = ""
    """Empty = the prompt; so with `hr_negative_prompt`."""

    hr_negative_prompt: Annotated[
        PromptText, TextBox(label="hr_negative_prompt", lines=2, placeholder="hr_prompt_placeholder", elem="hires_neg_prompt")
    ] = ""
    hr_cfg: Annotated[float, Field(ge=0, le=100), Slider(label="hr_cfg", minimum=0, maximum=30, step=0.5, elem="hr_cfg")] = 0.0
    """CFG scale of the second pass; 0 = that of the first."""

    hr_distilled_cfg: Annotated[
        float, Field(ge=0, le=100), Slider(label="hr_distilled_cfg", minimum=0, maximum=30, step=0.1, elem="hr_distilled_cfg")
    ] = 0.0
    """What a model with built-in guidance is told in the second pass; 0 = as in the first."""


class Refiner(Frozen):
    """Another checkpoint that takes over before a pass is done. Names and defaults are A1111's."""

    enable_refiner: Annotated[bool, Checkbox(label="refiner", elem="enable-checkbox")] = False
    refiner_checkpoint: Annotated[str, Dropdown(label="refiner_checkpoint", info="refiner_info", source="refiners", elem="checkpoint")] = ""
    refiner_switch_at: Annotated[
        float, Field(ge=0.01, le=1),
        Slider(label="refiner_switch_at", minimum=0.01, maximum=1, step=0.01, elem="switch_at"),
    ] = 0.8
    """Share of the way from noise to picture, by the model's timesteps, after which it does."""


class Txt2Img(GenerationRequest, Hires, Refiner):
    """Pictures from a prompt."""

    kind: Literal["txt2img"] = "txt2img"
    firstpass_image: ImageRef | None = None
    """A finished picture that stands for the first pass, so that only the second is run (the button ✨); `width` and `height` are its size."""


class HashCheckpoint(Frozen):
    """Compute the sha256 of a checkpoint, for the metadata of its pictures. Reads the whole file, so it has a lane of its own."""

    kind: Literal["hash"] = "hash"
    checkpoint: str = Field(min_length=1)
