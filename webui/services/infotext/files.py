"""What a picture file (or a pasted text) says about how it was made: the first of Easel's JSON, A1111's line, other programs' notes, hidden text."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from PIL import Image
from pydantic import ValidationError

from webui.schema.errors import RequestError
from webui.schema.metadata import Metadata, MetadataKind
from webui.schema.request import PictureAdapter, kind_of
from webui.services.formats import EXIF_IFD, MAKER, MAKER_NOTE, UNICODE, USER_COMMENT
from webui.services.images import BYTES_LIMIT, DAMAGED, open_head, too_large
from webui.services.infotext.foreign import Found, load_object, read_comfyui, read_invokeai, read_novelai
from webui.services.infotext.line import build_infotext
from webui.services.infotext.paste import form_values
from webui.services.infotext.reader import parse_infotext, split_infotext
from webui.services.infotext.restore import Known, refit, to_request
from webui.services.infotext.stealth import read_stealth

log = logging.getLogger(__name__)

IMAGE_DESCRIPTION, MAKE, MODEL = 0x010E, 0x010F, 0x0110
TEXT_LIMIT = 4 * 2**20
"""Bytes of a text file that is still looked at."""


def read_metadata(content: bytes, known: Known | None = None) -> Metadata:
    """Everything known about a picture from its bytes, or from those of a text. A file that says nothing, or cannot be read, gives kind `none`
    with a comment. Raises `RequestError` only for a file that is too large."""
    known = known or Known()
    if len(content) > BYTES_LIMIT:
        raise RequestError(f"The file has {len(content) / 2**20:.0f} MB; at most {BYTES_LIMIT // 2**20} MB are possible.")
    try:
        chunks, size, complaint = _chunks(content)
    except Image.UnidentifiedImageError:
        return _with_values(_of_text(content, known), known)
    except DAMAGED as error:
        return Metadata(kind="none", comments=(f"The picture cannot be read: {error}.",))
    found = _of_chunks(chunks, size, known) or Metadata(kind="none", comments=(complaint or "The picture does not say how it was made.",))
    return _with_values(found, known).model_copy(update={"chunks": chunks, "width": size[0], "height": size[1]})


def _with_values(found: Metadata, known: Known) -> Metadata:
    values, comments = form_values(found, known)
    return found.model_copy(update={"values": values, "comments": (*found.comments, *comments)})


def _of_text(content: bytes, known: Known) -> Metadata:
    try:
        text = content[:TEXT_LIMIT].decode("utf-8-sig").replace("\r\n", "\n").strip()
    except UnicodeDecodeError:
        return Metadata(kind="none", comments=("This is neither a picture nor a text.",))
    if not text:
        return Metadata(kind="none", comments=("There is nothing in it.",))
    graph = load_object(text)
    found = _of_chunks({"prompt": text, "invokeai_metadata": text}, None, known) if graph is not None else None
    return found or _of_line(text, known)


def _chunks(content: bytes) -> tuple[dict[str, Any], tuple[int, int], str]:
    """The texts of a picture by the names of PNG chunks, whatever the format, its size, and why only its head was read ("" if it was not so). Raises
    one of `DAMAGED`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a bomb is caught by our own limit, odd EXIF is what we expect here
        with open_head(content) as image:
            chunks = {key: value for key, value in image.info.items() if isinstance(key, str) and isinstance(value, str)}
            if image.format == "GIF" and isinstance(image.info.get("comment"), bytes):
                chunks["parameters"] = image.info["comment"].decode("utf-8", errors="replace")
            complaint = too_large(image, len(content))
            if not complaint or "exif" in image.info:  # else Pillow looks for it behind the pixels
                with _tolerating():
                    chunks |= _exif_texts(image.getexif())
            if not _telling(chunks) and not complaint:
                with _tolerating():
                    image.load()  # chunks behind the pixels
                    chunks |= {key: value for key, value in image.info.items() if isinstance(key, str) and isinstance(value, str)}
                    if not _telling(chunks) and (hidden := read_stealth(image)):
                        chunks |= _hidden_texts(hidden)
            return chunks, image.size, complaint


@contextlib.contextmanager
def _tolerating() -> Iterator[None]:
    """What is damaged behind the head of a file is as if it were not there."""
    try:
        yield
    except DAMAGED as error:
        log.debug("a part of a picture cannot be read: %s", error)


def _telling(chunks: dict[str, Any]) -> bool:
    names = {"easel", "parameters", "prompt", "workflow", "invokeai_metadata", "sd-metadata"}
    return bool(chunks.keys() & names) or chunks.get("Software") == "NovelAI"


def _hidden_texts(text: str) -> dict[str, str]:
    data = load_object(text)
    return {key: value for key, value in data.items() if isinstance(value, str)} if data is not None else {"parameters": text}


def _exif_texts(exif: Image.Exif) -> dict[str, str]:
    """UserComment and Easel's MakerNote; ComfyUI puts its JSON into Make and Model, with a name before it."""
    texts: dict[str, str] = {}
    for tag in (MODEL, MAKE, IMAGE_DESCRIPTION):
        name, _, rest = str(exif.get(tag, "")).partition(":")
        if name.lower() in ("prompt", "workflow"):
            texts[name.lower()] = rest
    ifd = exif.get_ifd(EXIF_IFD)
    if comment := _comment(ifd.get(USER_COMMENT)):
        texts["parameters"] = comment
    note = ifd.get(MAKER_NOTE)
    if isinstance(note, bytes) and note.startswith(MAKER):
        texts["easel"] = note.removeprefix(MAKER).decode("utf-8", errors="replace")
    return texts


def _comment(value: object) -> str:
    """EXIF's UserComment: eight bytes name the encoding. Unicode has no said order; the one with more ASCII in it is right."""
    if isinstance(value, str):
        return value
    if not isinstance(value, bytes):
        return ""
    if value.startswith(UNICODE):
        body = value.removeprefix(UNICODE)
        big = body[0::2].count(0) >= body[1::2].count(0)
        return body.decode("utf-16-be" if big else "utf-16-le", errors="replace").removeprefix("\ufeff").rstrip("\0")
    return value.removeprefix(b"ASCII\0\0\0").removeprefix(bytes(8)).decode("utf-8", errors="replace").rstrip("\0")


def _of_chunks(chunks: dict[str, Any], size: tuple[int, int] | None, known: Known) -> Metadata | None:
    """By order of trust: Easel's own JSON, A1111's line, then the others."""
    line = chunks.get("parameters", "")
    own = _of_easel(chunks.get("easel"), line, known)
    if own:
        return own
    if chunks.get("Software") == "NovelAI":
        found = read_novelai(chunks, size)
        if found:
            return _of_found("novelai", found, known)
    data = load_object(line)
    if line and data is None:
        return _of_line(line, known)
    graph = load_object(chunks.get("prompt")) or (data or {})
    invoke = load_object(chunks.get("invokeai_metadata")) or load_object(chunks.get("sd-metadata")) or {}
    if found := read_comfyui(graph):
        return _of_found("comfyui", found, known)
    if found := read_invokeai(invoke):
        return _of_found("invokeai", found, known)
    if "workflow" in chunks or graph:
        comment = "A ComfyUI workflow without a sampler that could be read: only plain graphs are."
        return Metadata(kind="comfyui", comments=(comment,)) if "workflow" in chunks else None
    return None


def _of_easel(text: object, line: str, known: Known) -> Metadata | None:
    data = load_object(text)
    if data is None or not isinstance(data.get("request"), dict):
        return None
    values = data["request"]
    unknown = sorted(values.keys() - kind_of(values).model_fields)
    try:
        request = PictureAdapter.validate_python({key: value for key, value in values.items() if key not in unknown})
    except ValidationError as error:
        log.info("the request in a picture is not one of this version: %s", error.errors()[0]["msg"])
        return None
    index = data.get("index")
    count = request.batch_count * request.batch_size
    comments = [f"Another version of Easel wrote this; not used: {', '.join(unknown)}."] if unknown else []
    fields = parse_infotext(line, known.styles, known.reading) if line else {}
    request, missing = refit(request, fields, known)
    return Metadata(
        kind="easel", text=line, fields=fields, request=request,
        index=index if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < count else None, comments=(*comments, *missing),
    )


def _of_line(line: str, known: Known) -> Metadata:
    pairs = split_infotext(line)[2]
    version, app = str(pairs.get("Version", "")), str(pairs.get("App", ""))
    kind: MetadataKind = "a1111"
    if app == "SD.Next" or "Pipeline" in pairs:
        kind = "sdnext"
    elif version.startswith("Easel-"):
        kind = "easel"
    elif version.startswith("f") or version == "neo" or any(key.startswith("Module ") for key in pairs):
        kind = "forge"
    fields = parse_infotext(line, known.styles, known.reading)
    texts = {key: fields[key] for key in ("Prompt", "Negative prompt", "Styles array") if fields.get(key)}
    request, comments = to_request(fields if pairs else texts, known)
    return Metadata(kind=kind, text=line, fields=fields, request=request, comments=tuple(comments))


def _of_found(kind: MetadataKind, found: Found, known: Known) -> Metadata:
    prompt, negative, values, comments = found
    line = build_infotext(prompt, negative, values)
    fields = parse_infotext(line, known.styles, known.reading)
    fields["Prompt"], fields["Negative prompt"] = prompt, negative  # a foreign prompt may look like a line of ours
    request, more = to_request(fields, known)
    return Metadata(kind=kind, text=line, fields=fields, request=request, comments=(*comments, *more))
