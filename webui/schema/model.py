"""A model file as the catalog knows it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webui.schema.base import Frozen

Layout = Literal["ldm", "diffusers", "unet"]
"""One file with everything, a folder of modules, or the denoiser alone."""

Prediction = Literal["epsilon", "v", "flow", "edm"]
"""What a denoiser was trained to put out; `edm` is Karras' own parameterisation (Playground 2.5, CosXL)."""

PIPELINE = "pipeline"
"""Family of diffusers folders that are run by their own pipeline; the variant is its class."""

ENLARGES = "StableDiffusionUpscalePipeline"
"""The variant of those that enlarge pictures."""

SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf")
"""Of files that may be checkpoints."""

FileKind = Literal["vae", "lora", "embedding", "hypernetwork", "controlnet", "upscaler", "text_encoder", "face_restorer", "face_detector"]


class ModelFile(Frozen):
    """A file beside the checkpoints. `name` is its file name without folders and suffix, as prompts and infotexts call it."""

    kind: FileKind
    name: str
    path: str
    size: int
    mtime: float


class Suggestions(Frozen):
    """What a model is good with, as its file says or as a person keeps it: prompts to begin with, size, guidance, sampler, clip skip, VAE."""

    prompts: Annotated[tuple[Annotated[str, Field(max_length=500)], ...], Field(max_length=20)] = ()
    width: int | None = Field(default=None, ge=64, le=8192, multiple_of=8)
    height: int | None = Field(default=None, ge=64, le=8192, multiple_of=8)
    cfg_scale: float | None = Field(default=None, ge=0, le=100)
    distilled_cfg_scale: float | None = Field(default=None, ge=0, le=100)
    steps: int | None = Field(default=None, ge=1, le=1000)
    sampler: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    scheduler: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    clip_skip: int | None = Field(default=None, ge=1, le=12)
    vae: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """Value of the setting `sd_vae`."""


class Checkpoint(Frozen):
    """A file (or folder) under models/Stable-diffusion. `name` is its path there with `/`, the identity used in requests."""

    name: str
    path: str
    size: int
    mtime: float
    family: str | None = None
    """What it is (`sd1`, `sdxl`, `flux`, …), or None when it is no checkpoint or cannot be read; then `error` says why."""

    error: str | None = None
    """Why it cannot be used, also when its family is known."""

    variant: str = "base"
    layout: Layout = "ldm"
    prediction: Prediction | None = None
    """None when neither the weights nor their notes say."""

    zero_snr: bool = False
    """Trained to zero terminal signal-to-noise ratio."""

    parts: tuple[str, ...] = ()
    """What is inside, under diffusers' names."""

    dtype: str = ""
    """What most of the denoiser's weights are stored in: `F16`, `BF16`, `F8_E4M3`, `Q4_K`, …"""

    ema: bool = False
    """Whether there is a second, averaged copy of the denoiser."""

    sha256: str | None = None
    suggests: Suggestions | None = None
    """What the page offers with this model, when its file says so or somebody keeps it."""

    kept: bool = False
    """Whether some of it is kept by a person."""

    @property
    def is_flow(self) -> bool:
        """Whether it predicts the flow from noise to picture (SD 3, Flux): then few samplers and sizes differ."""
        return self.prediction == "flow"

    @property
    def is_distilled(self) -> bool:
        """Whether guidance is built in, and the model is told how strong it is to be."""
        return self.family == "flux" and self.variant in ("dev", "fill")

    @property
    def title(self) -> str:
        """What A1111 lists: the name with the short hash once it is known."""
        return f"{self.name} [{self.sha256[:10]}]" if self.sha256 else self.name

    @property
    def short_title(self) -> str:
        """What an infotext calls a further checkpoint: the stem, with the short hash once it is known."""
        return f"{self.stem} [{self.sha256[:10]}]" if self.sha256 else self.stem

    @property
    def bare_name(self) -> str:
        """The name without its extension, with its folders."""
        return f"{self.name.removesuffix(self.name.rsplit('/', 1)[-1])}{self.stem}"

    @property
    def stem(self) -> str:
        """File name without folders and extension: the `Model` of the infotext."""
        name = self.name.rsplit("/", 1)[-1]
        index = name.removesuffix(".index.json")
        return index.rsplit(".", 1)[0] if index.lower().endswith(SUFFIXES) else name
