"""Results of Extras as files: A1111's folder and names, what the original said of itself kept beside what was done, captions as texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from PIL import Image

from webui.engine.extras.piece import Piece, endings
from webui.schema.errors import RequestError
from webui.schema.settings import PictureSettings
from webui.services.folders import write_atomically
from webui.services.formats import Notes, copy_as_jpg, usable_format
from webui.services.images import decode
from webui.services.infotext.files import read_metadata
from webui.services.infotext.line import quote
from webui.services.picture_files import PictureFiles, in_words
from webui.services.placing import Name, below, split_name

OWN = ("easel", "extras", "postprocessing")
"""Chunks of the original that are not true of the result, or are written anew."""


@dataclass(frozen=True)
class Source:
    """A picture to work on. `kept` is the name that its results get (with suffix), "" = they are numbered."""

    name: str
    kept: str
    read: Callable[[], bytes]
    caption: str = ""
    """What the text file beside it says."""

    def open(self) -> tuple[Image.Image, dict[str, str]]:
        """The picture (RGB or RGBA, upright) and the texts in its file. Raises `WebuiError`."""
        content = self.read()
        chunks = read_metadata(content).chunks  # before the picture: both unpack it, and large ones are not to be there twice
        return read_picture(content), {key: str(text) for key, text in chunks.items() if key not in OWN}


def read_picture(content: bytes, field: str | None = None) -> Image.Image:
    """RGB, or RGBA where something is transparent; turned as its EXIF says. Raises `RequestError`."""
    try:
        image = decode(content)
    except RequestError as error:
        raise RequestError(error.message, field=field, hint=error.hint) from error
    return image if image.mode in ("RGB", "RGBA") else image.convert("RGB")


class ExtrasFiles:
    """Writes results below `outputs`."""

    def __init__(self, outputs: Path) -> None:
        self._outputs = outputs
        self._files = PictureFiles()

    def save_all(
        self, pieces: Sequence[Piece], source: Source, texts: dict[str, str], settings: PictureSettings, target: Path | None,
    ) -> list[tuple[Path, str]]:
        """The files of all pieces of one picture, each with its line, in order. Nothing is ever replaced. Raises `StorageError`."""
        folder = target or below(self._outputs, settings.outdir_samples or settings.outdir_extras_samples)
        made = []
        for piece, ending in zip(pieces, endings(pieces), strict=True):
            line = ", ".join(key if key == value else f"{key}: {quote(value)}" for key, value in piece.notes.items())
            notes = notes_of(line, texts) if settings.enable_pnginfo else Notes()
            try:
                path = self._save(piece, source, ending, folder, notes, settings)
            except OSError as error:
                raise in_words(folder, error) from error
            made.append((path, line))
        return made

    def _save(self, piece: Piece, source: Source, ending: str, folder: Path, notes: Notes, settings: PictureSettings) -> Path:
        form = usable_format(settings.samples_format, piece.image.size)
        stem = split_name(PurePath(source.kept).stem)[1] if settings.use_original_name_batch else ""
        name = Name(f"{stem}{ending}", form, numbered=False) if stem else Name(ending.removeprefix("-"), form)
        path, complete = self._files.write(piece.image, _fitting(notes, form), folder, name, settings)
        if settings.save_txt or not complete:
            write_atomically(path.with_suffix(".txt"), f"{notes.infotext or ''}\n".encode(errors="replace"))
        if settings.export_for_4chan and form != "jpg":
            copy_as_jpg(piece.image, path, _fitting(notes, "jpg"), settings)
        if piece.caption:
            text = merge_captions(piece.caption, source.caption, settings.postprocessing_existing_caption_action)
            write_atomically(path.with_suffix(".txt"), text.encode(errors="replace"))
        return path


def notes_of(line: str, texts: Mapping[str, str]) -> Notes:
    """What is written into a file: the original's texts, and what was done as chunks `postprocessing` and `extras` (A1111's)."""
    rest = {key: text for key, text in texts.items() if key != "parameters" and key.isascii() and 0 < len(key) < 80}
    return Notes(texts.get("parameters"), texts=rest | ({"postprocessing": line, "extras": line} if line else {}))


def merge_captions(caption: str, existing: str, action: str) -> str:
    """The new caption and the one that the original has, as `postprocessing_existing_caption_action` says."""
    if not existing:
        return caption.strip()
    return {"Prepend": f"{existing} {caption}", "Append": f"{caption} {existing}", "Keep": existing}.get(action, caption).strip()


def _fitting(notes: Notes, form: str) -> Notes:
    """Formats without chunks have one text: A1111's line with what was done behind it."""
    done = notes.texts.get("extras")
    if form == "png" or not done:
        return notes
    return Notes(f"{notes.infotext}, {done}" if notes.infotext else done)
