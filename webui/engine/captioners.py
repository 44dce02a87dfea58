"""Which captioners there are, where their files and lists belong, and how tags become text. Needs no torch: lists and checks read it."""

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
    files: tuple[tuple[str, ...], ...]
    """One of these sets, as patterns."""

    hint: str


BLIP = Kind(
    "BLIP", ("BLIP",), (("config.json",),),
    "Put the folder of a BLIP captioning model in transformers' layout (config.json, model.safetensors, tokenizer), for example "
    "Salesforce/blip-image-captioning-base, into models/BLIP/.",
)
CLIP = Kind(
    "CLIP", ("clip-interrogator",), (("config.json",),),
    "Put the folder of a CLIP model in transformers' layout (config.json, preprocessor_config.json, model.safetensors, tokenizer), for example "
    "openai/clip-vit-large-patch14, into models/clip-interrogator/.",
)
WD, DANBOORU = ("*.onnx", "selected_tags.csv"), ("*.onnx", "tags.txt")
TAGGER = Kind(
    "Deepbooru", ("deepbooru", "tagger"), (WD, DANBOORU),
    "Put the folder of a WD tagger (model.onnx and selected_tags.csv), for example SmilingWolf/wd-vit-tagger-v3, or of a DeepDanbooru exported as "
    "ONNX with its tags.txt, into models/deepbooru/.",
)
KINDS = {kind.name: kind for kind in (BLIP, CLIP, TAGGER)}
LISTS = "interrogate"
"""A1111's folder of text files whose lines CLIP ranks; in models/ or beside it."""

TOP = re.compile(r"\.top(\d+)$")


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
            if any(all(any(folder.glob(file)) for file in files) for files in kind.files):
                return folder
    raise ModelError(f"There is no {name} model yet.", field=field, hint=kind.hint)


@dataclass(frozen=True)
class RankedList:
    """A text file of entries, one a line, of which the `top` best are told."""

    name: str
    top: int
    path: Path

    def entries(self, limit: int) -> list[str]:
        """The first `limit` lines (0 = all), blank ones left out. Raises `ModelError`."""
        try:
            lines = [line.strip() for line in self.path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{self.path.name} cannot be read as a list.", hint="Save it as UTF-8, one entry a line.") from error
        return [line for line in lines[:limit or None] if line]


def find_lists(models: Path | None, skipped: Sequence[str] = ()) -> list[RankedList]:
    """A1111's categories by name: `artists.txt`, `flavors.top3.txt` (three are told), … but those that are skipped."""
    places = (models / LISTS, models.parent / LISTS) if models else ()
    found = {path.stem: path for place in reversed(places) for path in place.glob("*.txt")}
    return [RankedList(name, int(top[1]) if (top := TOP.search(name)) else 1, found[name]) for name in sorted(found) if name not in skipped]


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


def lacks_clip(models: Path | None, settings: PictureSettings) -> str:
    """What to tell when there are lists to rank and no CLIP that ranks them; else ""."""
    lists = find_lists(models, settings.interrogate_clip_skip_categories)
    try:
        if lists:
            find_captioner(models, CLIP.name)
    except ModelError as error:
        return f"The lists in {LISTS}/ are not used: {error.message} {error.hint}"
    return ""


def join_ranked(sentence: str, ranked: Sequence[Tag], settings: PictureSettings) -> str:
    """A1111's: what fits best behind the sentence, with ranks if wanted."""
    return ", ".join([sentence, *(f"({tag.name}:{tag.score:.3f})" if settings.interrogate_return_ranks else tag.name for tag in ranked)])
