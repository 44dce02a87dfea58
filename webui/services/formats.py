"""A picture to a file of some format, with its infotext and request inside, and the names of both places. Knows no folders and no jobs."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from webui.schema.settings import PictureSettings

log = logging.getLogger(__name__)

EXIF_IFD, USER_COMMENT, MAKER_NOTE = 0x8769, 0x9286, 0x927C
UNICODE = b"UNICODE\0"
"""What EXIF puts before a comment in UTF-16."""

MAKER = b"Easel\0"
EXIF_LIMIT = 65_000
"""Bytes of EXIF in a JPEG: its segment has a 16-bit length."""

PILLOW = {"jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP", "avif": "AVIF", "jxl": "JXL", "png": "PNG"}
SIDES = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 65_535}
"""Longest side in pixels that a format can hold."""


@dataclass(frozen=True)
class Notes:
    """What is written into the file beside the pixels; None = not written."""

    infotext: str | None = None
    easel: str | None = None


def usable_format(wanted: str, size: tuple[int, int]) -> str:
    """The format to use: PNG when the wanted one cannot hold the size, or is not known to Pillow here (JPEG XL without its plug-in)."""
    pillow = PILLOW[wanted]
    Image.init()
    if pillow not in Image.SAVE or max(size) > SIDES.get(pillow, max(size)):
        log.warning("a picture of %d×%d cannot be saved as %s here; it becomes a PNG", *size, wanted)
        return "png"
    return wanted


def write_picture(image: Image.Image, file: IO[bytes], form: str, notes: Notes, settings: PictureSettings) -> bool:
    """Write the picture. Returns False when the infotext did not fit (a JPEG takes 64 kB), so that the caller can put it elsewhere."""
    if form == "png":
        info = PngInfo()
        if notes.infotext is not None:
            info.add_text("parameters", notes.infotext)
        if notes.easel is not None:
            info.add_text("easel", notes.easel)
        image.save(file, "PNG", pnginfo=info)
        return True
    pillow = PILLOW[form]
    options: dict[str, Any] = {"quality": settings.jpeg_quality}
    if pillow in ("WEBP", "JXL"):
        options["lossless"] = settings.webp_lossless
    exif, complete = make_exif(notes, EXIF_LIMIT if pillow == "JPEG" else None)
    if exif:
        options["exif"] = exif
    image.convert("RGB").save(file, pillow, **options)
    return complete


def make_exif(notes: Notes, limit: int | None) -> tuple[bytes, bool]:
    """EXIF with the infotext as UserComment and the request as MakerNote; the request, then the infotext goes when it is longer than `limit`.
    Returns the bytes (empty without any) and whether the infotext is in them."""
    for chosen in (notes, Notes(notes.infotext)):
        exif = Image.Exif()
        ifd = exif.get_ifd(EXIF_IFD)
        if chosen.infotext is not None:
            ifd[USER_COMMENT] = UNICODE + chosen.infotext.encode("utf-16-be", errors="replace")
        if chosen.easel is not None:
            ifd[MAKER_NOTE] = MAKER + chosen.easel.encode()
        content = exif.tobytes() if ifd else b""
        if limit is None or len(content) <= limit:
            return content, True
    return b"", notes.infotext is None


def copy_as_jpg(image: Image.Image, path: Path, notes: Notes, settings: PictureSettings) -> Path | None:
    """A1111's JPG copy of a large picture, beside it, sides at most `target_side_length`. None when the picture is not large. Raises `OSError`."""
    side = settings.target_side_length
    oversize = max(image.size) > side
    if not oversize and path.stat().st_size <= settings.img_downscale_threshold * 1024 * 1024:
        return None
    if oversize:
        scale = side / max(image.size)
        image = image.resize((max(round(image.width * scale), 1), max(round(image.height * scale), 1)), Image.Resampling.LANCZOS)
    target = path.with_suffix(".jpg")
    temporary = path.with_name(f".{os.getpid()}-{time.monotonic_ns()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write_picture(image, file, "jpg", notes, settings)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target
