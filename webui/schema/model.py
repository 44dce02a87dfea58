"""A model file as the catalog knows it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webui.schema.base import Frozen

FileKind = Literal["vae", "lora", "embedding", "hypernetwork", "controlnet", "upscaler"]


class ModelFile(Frozen):
    """A file beside the checkpoints. `name` is its file name without folders and suffix, as prompts and infotexts call it."""

    kind: FileKind
    name: str
    path: str
    size: int
    mtime: float


class Suggestions(Frozen):
    """What a model's file says it is good at: prompts to begin with, and the size and guidance it was made for."""

    prompts: Annotated[tuple[Annotated[str, Field(max_length=500)], ...], Field(max_length=20)] = ()
    width: int | None = Field(default=None, ge=64, le=8192, multiple_of=8)
    height: int | None = Field(default=None, ge=64, le=8192, multiple_of=8)
    cfg_scale: float | None = Field(default=None, ge=0, le=100)


class Checkpoint(Frozen):
    """A file (or folder) under models/Stable-diffusion. `name` is its path there with `/`, the identity used in requests."""

    name: str
    path: str
    size: int
    mtime: float
    family: str | None = None
    """Key of `backend.families`, or None when the file cannot be used; then `error` says why."""

    error: str | None = None
    sha256: str | None = None
    suggests: Suggestions | None = None
    """What the page offers with this model, when its file says so."""

    @property
    def title(self) -> str:
        """What A1111 lists: the name with the short hash once it is known."""
        return f"{self.name} [{self.sha256[:10]}]" if self.sha256 else self.name

    @property
    def stem(self) -> str:
        """File name without folders and extension: the `Model` of the infotext."""
        name = self.name.rsplit("/", 1)[-1]
        return name.rsplit(".", 1)[0] if "." in name else name
