"""The content-addressed picture store: a request names its pictures by sha256, so it can be queued, replayed and sent elsewhere as plain JSON."""

from __future__ import annotations

import hashlib
import io
import struct
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from webui.schema.errors import NotFoundError, RequestError, StorageError
from webui.schema.generation import ImageRef
from webui.services.folders import write_atomically

BYTES_LIMIT = 256 * 2**20
PIXELS_LIMIT = 200_000_000
"""A1111's limit for one picture, 200 megapixels."""


ORIENTATION, SIDEWAYS = 0x0112, range(5, 9)
"""EXIF's tag, and its values that change width and height."""

DAMAGED = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error, EOFError, OverflowError, ZeroDivisionError, MemoryError,
    Image.DecompressionBombError,
)
"""What Pillow raises for files that are cut off or made up."""


class ImageStore:
    """Files under `folder/ab/abcd….bin`, kept as they came, byte for byte."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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
        return ref

    def read(self, sha256: str) -> bytes:
        """The bytes. Raises `NotFoundError`."""
        try:
            return self._path(sha256).read_bytes()
        except OSError as error:
            raise NotFoundError(f"There is no stored picture {sha256[:12]}….", hint="Add the picture again.") from error

    def open(self, ref: ImageRef) -> Image.Image:
        """The picture, upright: grey, RGB, or RGBA where it is transparent, 8 bits each; of an animation the first frame. Raises `NotFoundError`
        when it is not here, `RequestError` when it has another size than `ref` says."""
        return _decoded(self.read(ref.sha256), ref)

    def check(self, ref: ImageRef) -> None:
        """Raise what `open` would, without reading the pixels."""
        with _opened(self.read(ref.sha256)) as image:
            _check_size(_upright_size(image), ref)

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


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """Raises `RequestError` for what is no picture, or damaged, or far too large."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bombs: our own limit follows; of odd EXIF: that is nobody's fault here
            with Image.open(io.BytesIO(content)) as image:
                if image.width * image.height > PIXELS_LIMIT:
                    raise RequestError(
                        f"The picture has {image.width}×{image.height} pixels; at most {PIXELS_LIMIT // 1_000_000} megapixels are possible.",
                    )
                yield image
    except RequestError:
        raise
    except DAMAGED as error:
        raise RequestError(f"This is not a picture that can be read: {error}.", hint="PNG, JPEG, WebP, AVIF, GIF, BMP and TIFF work.") from error


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
    turned = image.getexif().get(ORIENTATION, 1) in SIDEWAYS
    return (image.height, image.width) if turned else image.size


def _check_size(size: tuple[int, int], ref: ImageRef) -> None:
    if size != (ref.width, ref.height):
        raise RequestError(f"The stored picture has {size[0]}×{size[1]} pixels, not {ref.width}×{ref.height}.")


def as_pixels(image: Image.Image) -> Image.Image:
    """The first frame, turned as its EXIF says: grey, RGB, or RGBA where something is transparent, 8 bits each. Raises one of `DAMAGED`."""
    image.seek(0)
    if image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image)
    if image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        return image.convert("RGB") if image.getchannel("A").getextrema() == (255, 255) else image
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits: by the upper 8 of 16 bits, as browsers show it; where there is more it is stretched from the darkest to the
    brightest."""
    pixels = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0, neginf=0)
    low, high = float(pixels.min()), float(pixels.max())
    if low >= 0 and high < 2**16 and image.mode.startswith("I"):
        return Image.fromarray((pixels // 256).astype(np.uint8))
    return Image.fromarray(((pixels - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8))
