"""The files that the parts of a checkpoint come from: its own, those of a checkpoint that it names, and those in the folders for such parts.

Knows headers and no tensors; what a part looks like, the family says.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from webui.backend.families.places import Place
from webui.backend.headers import Header, read_header
from webui.backend.nf4_file import State, read_states, real_header
from webui.backend.parts import ModelChoice, Source, source_of
from webui.backend.support import PART_NAMES
from webui.schema.errors import ModelError, RequestError
from webui.schema.model import Checkpoint, ModelFile

log = logging.getLogger(__name__)

BASE_KEY = "easel.base"
"""Metadata key by which a file without all parts names the checkpoint (name or hash) that has the others."""

Shapes = Mapping[str, tuple[int, ...]]
Find = Callable[[Shapes, bool], Place | None]
"""Where a part is in a file with these tensors, None when it lacks it. The second argument is False for a file of unknown belonging: there a part of
other sizes does not count either."""


@dataclass(frozen=True)
class PartFile:
    """A file that has parts."""

    name: str
    source: Source
    header: Header
    states: Mapping[str, State] = field(default_factory=dict)
    """Which of its weights bitsandbytes stored in four bits. The header's shapes are those of the numbers that they stand for."""


def own_files(choice: ModelChoice) -> list[PartFile]:
    """The checkpoint, and the one that it names for what it lacks. Raises `ModelError` when one cannot be read, is not here or is no single file."""
    own = open_file(choice.checkpoint)
    base = base_of(own, choice)
    if base is None:
        return [own]
    if base.layout == "diffusers":
        raise ModelError(f"{choice.checkpoint.name} names {base.name} for its other parts, which is not a single file.", field="checkpoint")
    return [own, open_file(base)]


def base_of(own: PartFile, choice: ModelChoice) -> Checkpoint | None:
    """The checkpoint that the file names for what it lacks. Raises `ModelError` when it is not here, not alone in its name, or of another family."""
    name = own.header.metadata.get(BASE_KEY)
    if not name or choice.shelf is None:
        return None
    try:
        base = choice.shelf.checkpoint(name)
    except RequestError as error:
        what = f"{choice.checkpoint.name} names another checkpoint for its other parts. {error.message}"
        raise ModelError(what, field="checkpoint", hint="Rename all but one of them.") from error
    if base is None:
        raise ModelError(
            f"{choice.checkpoint.name} is only a part of a model, and the checkpoint it belongs to, “{name[:120]}”, is not here.", field="checkpoint",
            hint="Put that checkpoint into models/Stable-diffusion.",
        )
    if base.family != choice.checkpoint.family:
        raise ModelError(f"{choice.checkpoint.name} names {base.name} for its other parts, which is not of its family.", field="checkpoint")
    return base


def open_file(file: Checkpoint | ModelFile) -> PartFile:
    """Its header. Raises `ModelError`."""
    path = Path(file.path)
    header = read_header(path)
    states = read_states(path, header)
    return PartFile(file.name, source_of(file), real_header(header, states) if states else header, states)


def seek(name: str, files: list[PartFile], choice: ModelChoice, find: Find) -> tuple[PartFile, Place]:
    """The file that has the part: the checkpoint, the one it names, else the one that fits in the folder for such parts. Raises `ModelError` when
    there is none."""
    found = seek_optional(name, files, choice, find)
    if found is not None:
        return found
    lacks = f"{choice.checkpoint.name} has no {PART_NAMES[name]}"
    if name in ("unet", "transformer"):
        raise ModelError(f"{lacks}.", field="checkpoint", hint="It is not a checkpoint; choose another one.")
    folder = "models/VAE" if name == "vae" else "models/text_encoder"
    raise ModelError(f"{lacks}, and there is none that fits.", field="checkpoint", hint=f"Put one into {folder}.")


def seek_optional(name: str, files: list[PartFile], choice: ModelChoice, find: Find) -> tuple[PartFile, Place] | None:
    """The same, or None. Raises `ModelError` when several VAEs could be meant."""
    for file in files:
        place = find(file.header.shapes, True)
        if place is not None:
            return file, place
    if name in ("unet", "transformer"):
        return None
    fitting = [found for file in _shelved(name, choice) if (found := _fits(file, find)) is not None]
    if name == "vae" and len(fitting) > 1:
        names = ", ".join(Path(file.source.path).name for file, _ in fitting[:4])
        what = f"{choice.checkpoint.name} has no {PART_NAMES[name]}, and several could be meant: {names}."
        raise ModelError(what, field="checkpoint", hint="Choose the VAE.")
    for file, place in fitting[:1]:
        log.info("%s: the %s is %s", choice.checkpoint.name, PART_NAMES[name], file.source.path)
        return file, place
    return None


def _shelved(name: str, choice: ModelChoice) -> list[ModelFile]:
    return choice.shelf.files("vae" if name == "vae" else "text_encoder") if choice.shelf is not None else []


def _fits(file: ModelFile, find: Find) -> tuple[PartFile, Place] | None:
    """A separate file, if it holds such a part. One that cannot be read is not it."""
    try:
        opened = open_file(file)
    except ModelError as error:
        log.info("%s is passed over: %s", file.name, error.message)
        return None
    place = find(opened.header.shapes, False)
    return None if place is None else (opened, place)
