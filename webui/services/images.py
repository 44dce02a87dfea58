"""The content-addressed picture store: a request names its pictures by sha256, so it can be queued, replayed and sent elsewhere as plain JSON."""

from __future__ import annotations

import hashlib
import io
import time
import warnings
from pathlib import Path

from PIL import Image

from webui.schema.errors import NotFoundError, RequestError, StorageError
from webui.schema.generation import ImageRef
from webui.services.folders import write_atomically

BYTES_LIMIT = 256 * 2**20
PIXELS_LIMIT = 200_000_000
"""A1111's limit for one picture, 200 megapixels."""


class ImageStore:
    """Files under `folder/ab/abcd….bin`, kept as they came, byte for byte."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, content: bytes) -> ImageRef:
        """Keep the bytes of a picture. Raises `RequestError` when they are none (or far too large), `StorageError` when they cannot be written."""
        if len(content) > BYTES_LIMIT:
            raise RequestError(f"The picture has {len(content) / 2**20:.0f} MB; at most {BYTES_LIMIT // 2**20} MB are possible.")
        width, height = _size(content)
        ref = ImageRef(sha256=hashlib.sha256(content).hexdigest(), width=width, height=height)
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
        """The picture as RGB. Raises `NotFoundError` when it is not here, `RequestError` when it has another size than `ref` says."""
        with Image.open(io.BytesIO(self.read(ref.sha256))) as image:
            if image.size != (ref.width, ref.height):
                raise RequestError(f"The stored picture has {image.width}×{image.height} pixels, not {ref.width}×{ref.height}.")
            return image.convert("RGB")

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


def _size(content: bytes) -> tuple[int, int]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit follows
            with Image.open(io.BytesIO(content)) as image:
                width, height = image.size
                if width * height > PIXELS_LIMIT:
                    raise RequestError(f"The picture has {width}×{height} pixels; at most {PIXELS_LIMIT // 1_000_000} megapixels are possible.")
                image.verify()
    except RequestError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RequestError(f"This is not a picture that can be read: {error}.", hint="PNG, JPEG, WebP, AVIF, GIF, BMP and TIFF work.") from error
    return width, height
