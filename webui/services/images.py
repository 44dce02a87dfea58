"""The content-addressed picture store: a request names its pictures by sha256, so it can be queued, replayed and sent elsewhere as plain JSON."""

from __future__ import annotations

import hashlib
import io
import struct
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from webui.schema.errors import NotFoundError, RequestError, StorageError
from webui.schema.generation import ImageRef
from webui.services.folders import write_atomically

BYTES_LIMIT = 256 * 2**20
MEMORY_LIMIT = 960_000_000
"""Bytes that a picture may take while it is unpacked, its file included. What would take more is refused by its head."""

NEEDS = {"PNG": 8, "BMP": 8, "DIB": 8, "GIF": 8, "TIFF": 8, "JPEG": 8, "MPO": 8, "WEBP": 16, "AVIF": 12, "JXL": 16}
"""The formats that are read, and the bytes that a pixel takes on the way, at the most; `tests/services/test_odd_pictures.py` measures it. Pillow
knows many more, some of which start programs."""

PROGRESSIVE = 12
"""The same for a JPEG that is kept whole until its last scan."""

HOLDING = ("WEBP", "AVIF", "JXL")
"""Formats whose decoder keeps memory for as long as the picture that it made."""

SIZES_KEPT = 10_000
"""So many pictures' sizes are remembered."""

STRIP = 2**22
"""Pixels of a picture of many bits that are looked at together."""

ORIENTATION, SIDEWAYS = 0x0112, range(5, 9)
"""EXIF's tag, and its values that change width and height."""

DAMAGED = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error, EOFError, OverflowError, ZeroDivisionError, MemoryError,
    Image.DecompressionBombError,
)
"""What Pillow raises for files that are cut off or made up."""


class TooLarge(Image.DecompressionBombError):
    """A picture that is not to be unpacked, in words."""


class ImageStore:
    """Files under `folder/ab/abcd….bin`, kept as they came, byte for byte."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sizes: dict[str, tuple[int, int]] = {}
        """Width and height of files that were read to their end: what a name stands for never changes."""

    def put(self, content: bytes) -> ImageRef:
        """Keep the bytes of a picture. Raises `RequestError` when they are none (or far too large), `StorageError` when they cannot be written."""
        ref = ref_of(content)
        path = self._path(ref.sha256)
        try:
            if path.exists():
                path.touch()  # young again: it is in use
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, content)
        except OSError as error:
            raise StorageError(f"The picture could not be stored: {error.strerror or error}.") from error
        self._note(ref.sha256, (ref.width, ref.height))
        return ref

    def read(self, sha256: str) -> bytes:
        """The bytes. Raises `NotFoundError`."""
        try:
            return self._path(sha256).read_bytes()
        except OSError as error:
            raise _gone(sha256) from error

    def open(self, ref: ImageRef) -> Image.Image:
        """The picture, upright: grey, RGB, or RGBA where it is transparent, 8 bits each; of an animation the first frame. Raises `NotFoundError`
        when it is not here, `RequestError` when it has another size than `ref` says."""
        return _decoded(self.read(ref.sha256), ref)

    def check(self, ref: ImageRef) -> None:
        """Raise what `open` would. The pixels are read once at the most: a PNG tells only at its end whether it lies on its side."""
        if not self._path(ref.sha256).is_file():
            raise _gone(ref.sha256)
        size = self._sizes.get(ref.sha256)
        if size is None:
            with _opened(self.read(ref.sha256)) as image:
                size = _upright_size(image)
            self._note(ref.sha256, size)
        _check_size(size, ref)

    def _note(self, sha256: str, size: tuple[int, int]) -> None:
        if len(self._sizes) >= SIZES_KEPT:
            self._sizes.clear()
        self._sizes[sha256] = size

    def collect(self, keep: set[str], older_than: float) -> int:
        """Delete pictures that nobody names and that are older than so many seconds. Returns how many."""
        removed, limit = 0, time.time() - older_than
        for path in self.folder.glob("*/*.bin"):
            if path.stem not in keep and path.stat().st_mtime < limit:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def _path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / f"{sha256}.bin"


def _gone(sha256: str) -> NotFoundError:
    return NotFoundError(f"There is no stored picture {sha256[:12]}….", hint="Add the picture again.")


class HeldPictures:
    """Pictures that a job read from files of the person's: in memory for as long as they are worked on, in front of the store."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._held: dict[str, bytes] = {}

    def take(self, content: bytes) -> ImageRef:
        """Hold the bytes of a picture. Raises `RequestError` when they are none."""
        ref = ref_of(content)
        self._held[ref.sha256] = content
        return ref

    def open(self, ref: ImageRef) -> Image.Image:
        """As `ImageStore.open`."""
        content = self._held.get(ref.sha256)
        return self._store.open(ref) if content is None else _decoded(content, ref)

    def forget(self) -> None:
        """Let go of all that is held."""
        self._held.clear()


def ref_of(content: bytes) -> ImageRef:
    """How a request names this picture. All of it is read, so that a file that is cut off is refused here. Raises `RequestError`."""
    _check_length(content)
    width, height = _size(content)
    return ImageRef(sha256=hashlib.sha256(content).hexdigest(), width=width, height=height)


def _check_length(content: bytes) -> None:
    if len(content) > BYTES_LIMIT:
        raise RequestError(f"The picture has {len(content) / 2**20:.0f} MB; at most {BYTES_LIMIT // 2**20} MB are possible.")


def _decoded(content: bytes, ref: ImageRef) -> Image.Image:
    found = decode(content)
    _check_size(found.size, ref)
    return found


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in NEEDS if name in Image.OPEN)


def open_head(content: bytes) -> Image.Image:
    """A picture of which only the head was read. Raises one of `DAMAGED`."""
    if (size := _webp_size(content)) and (complaint := _complaint(*size, NEEDS["WEBP"], len(content))):
        raise TooLarge(complaint)  # Pillow's decoder takes 8 bytes a pixel before it is asked for any
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bombs: our own limit follows; of odd EXIF: that is nobody's fault here
        return Image.open(io.BytesIO(content), formats=_formats())


def too_large(image: Image.Image, length: int) -> str:
    """Why a picture whose file has `length` bytes is not unpacked; "" when it may be."""
    need = PROGRESSIVE if image.info.get("progressive") else NEEDS[image.format or "PNG"]
    return _complaint(image.width, image.height, need, length)


def _complaint(width: int, height: int, need: int, length: int) -> str:
    if width * height * need + length <= MEMORY_LIMIT:
        return ""
    most = (MEMORY_LIMIT - length) // need / 1e6
    return f"The picture has {width}×{height} pixels; of this kind at most {most:.0f} megapixels are possible."


def _webp_size(content: bytes) -> tuple[int, int] | None:
    """Width and height from the head of a WebP file, https://developers.google.com/speed/webp/docs/riff_container; None for another file."""
    head = content[:30]
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """Raises `RequestError` for what is no picture, or damaged, or far too large."""
    try:
        with open_head(content) as image, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if complaint := too_large(image, len(content)):
                raise RequestError(complaint, hint="Make it smaller.")
            yield image
    except RequestError:
        raise
    except TooLarge as error:
        raise RequestError(str(error), hint="Make it smaller.") from error
    except DAMAGED as error:
        why = "" if isinstance(error, UnidentifiedImageError) else f": {error}"
        raise RequestError(f"This is not a picture that can be read{why}.", hint="PNG, JPEG, WebP, AVIF, GIF, BMP and TIFF work.") from error


def decode(content: bytes) -> Image.Image:
    """A picture from its bytes, as `as_pixels` gives it. Raises `RequestError`."""
    _check_length(content)
    with _opened(content) as image:
        return as_pixels(image)


def _size(content: bytes) -> tuple[int, int]:
    """Width and height as the picture is seen. All of it is read, so that a file that is cut off is refused here and not in a job."""
    with _opened(content) as image:
        image.load()
        return _upright_size(image)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    return (image.height, image.width) if _orientation(image) in SIDEWAYS else image.size


def _orientation(image: Image.Image) -> int:
    """EXIF's number; damaged EXIF says nothing."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except DAMAGED:
        return 1


def _check_size(size: tuple[int, int], ref: ImageRef) -> None:
    if size != (ref.width, ref.height):
        raise RequestError(f"The stored picture has {size[0]}×{size[1]} pixels, not {ref.width}×{ref.height}.")


def as_pixels(image: Image.Image) -> Image.Image:
    """The first frame, turned as its EXIF says: grey, RGB, or RGBA where something is transparent, 8 bits each. What is so already is not copied.
    Raises one of `DAMAGED`."""
    image.seek(0)
    image.load()  # before anything else asks for the pixels, and forgives what is wrong with them
    if _orientation(image) != 1:
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image)
    if image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    transparent = image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255)
    mode = "RGBA" if transparent else "L" if image.mode in ("1", "L") else "RGB"
    if image.mode != mode:
        return image.convert(mode)
    return image.copy() if image.format in HOLDING else image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits: by the upper 8 of 16 bits, as browsers show it; where there is more it is stretched from the darkest to the
    brightest. Strip by strip, because numbers of 8 bytes take much memory."""
    height = max(STRIP // image.width, 1)
    boxes = [(0, top, image.width, min(top + height, image.height)) for top in range(0, image.height, height)]

    def levels(box: tuple[int, int, int, int]) -> np.ndarray:
        pixels = np.asarray(image.crop(box))
        return pixels if sixteen else np.nan_to_num(pixels.astype(np.float64), posinf=0, neginf=0)

    sixteen = image.mode.startswith("I;16")
    low, scale = 0.0, 1 / 256
    if not sixteen:
        least, most = zip(*((float(part.min()), float(part.max())) for part in map(levels, boxes)), strict=True)
        if image.mode != "I" or min(least) < 0 or max(most) >= 2**16:
            low = min(least)
            scale = 255 / (max(most) - low) if max(most) > low else 0.0
    made = Image.new("L", image.size)
    for box in boxes:
        part = levels(box)
        made.paste(Image.fromarray((part >> 8 if sixteen else (part - low) * scale).astype(np.uint8)), box)
    return made
