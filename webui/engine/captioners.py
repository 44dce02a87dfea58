"""Which captioners there are, where their files belong, and how tags become text. Needs no torch: lists and checks read it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from webui.schema.errors import ModelError
from webui.schema.settings import PictureSettings

SPECIAL = re.compile(r"([\\()])")
"""What prompts give a meaning to."""


@dataclass(frozen=True)
class Kind:
    """A kind of captioner: its name, folders below models/, the files in each of its own folders, and where to get them."""

    name: str
    folders: tuple[str, ...]
    files: tuple[str, ...]
    hint: str


BLIP = Kind(
    "BLIP", ("BLIP",), ("config.json",),
    "Put the folder of a BLIP captioning model in transformers' layout (config.json, model.safetensors, tokenizer), for example "
    "Salesforce/blip-image-captioning-base, into models/BLIP/.",
)
TAGGER = Kind(
    "Deepbooru", ("deepbooru", "tagger"), ("model.onnx", "selected_tags.csv"),
    "Put the folder of a WD tagger (model.onnx and selected_tags.csv), for example SmilingWolf/wd-vit-tagger-v3, into models/deepbooru/.",
)
KINDS = {kind.name: kind for kind in (BLIP, TAGGER)}


@dataclass(frozen=True)
class Tag:
    """A tag with its score, 0 … 1."""

    name: str
    score: float


def find_captioner(models: Path | None, name: str, field: str | None = None) -> Path:
    """The folder of a captioner of this kind, the first by name; its files may also lie in the kind's folder itself. Raises `ModelError`."""
    kind = KINDS[name]
    for place in (models / folder for folder in kind.folders) if models else ():
        for folder in (place, *sorted(item for item in place.glob("*") if item.is_dir())):
            if all((folder / file).is_file() for file in kind.files):
                return folder
    raise ModelError(f"There is no {name} model yet.", field=field, hint=kind.hint)


def join_tags(tags: Sequence[Tag], settings: PictureSettings) -> str:
    """Tags as A1111 writes them: those above the threshold, sorted by name or score, with blanks, escaped, with ranks if wanted."""
    unwanted = {name.strip().replace(" ", "_") for name in settings.deepbooru_filter_tags.split(",") if name.strip()}
    chosen = [tag for tag in tags if tag.score >= settings.interrogate_deepbooru_score_threshold and tag.name.replace(" ", "_") not in unwanted]
    chosen.sort(key=(lambda tag: tag.name) if settings.deepbooru_sort_alpha else (lambda tag: -tag.score))
    texts = []
    for tag in chosen:
        text = tag.name.replace("_", " ") if settings.deepbooru_use_spaces else tag.name
        if settings.deepbooru_escape:
            text = SPECIAL.sub(r"\\\1", text)
        texts.append(f"({text}:{tag.score:.3f})" if settings.interrogate_return_ranks else text)
    return ", ".join(texts)
