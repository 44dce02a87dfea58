"""A model file as the catalog knows it."""

from __future__ import annotations

from typing import Literal

from webui.schema.base import Frozen

FileKind = Literal["vae", "lora", "embedding", "hypernetwork"]


class ModelFile(Frozen):
    """A file beside the checkpoints. `name` is its file name without folders and suffix, as prompts and infotexts call it."""

    kind: FileKind
    name: str
    path: str
    size: int
    mtime: float


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

    @property
    def title(self) -> str:
        """What A1111 lists: the name with the short hash once it is known."""
        return f"{self.name} [{self.sha256[:10]}]" if self.sha256 else self.name

    @property
    def stem(self) -> str:
        """File name without folders and extension: the `Model` of the infotext."""
        name = self.name.rsplit("/", 1)[-1]
        return name.rsplit(".", 1)[0] if "." in name else name
