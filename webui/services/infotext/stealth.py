"""Text hidden in the lowest bit of a picture's pixels, as NovelAI and Forge write it ("stealth png info"). Pixels in, text out."""

from __future__ import annotations

import zlib

import numpy as np
from PIL import Image

SIGNATURES = {
    b"stealth_pnginfo": ("A", False), b"stealth_pngcomp": ("A", True), b"stealth_rgbinfo": ("RGB", False), b"stealth_rgbcomp": ("RGB", True),
}  # fmt: skip
"""Signature → the channels it stands in, and whether gzip follows."""

SIGNATURE_BYTES = 15
TEXT_LIMIT = 8 * 2**20
"""Bytes of unpacked text; a packed bomb ends here."""


def read_stealth(image: Image.Image) -> str | None:
    """The hidden text, or None. Bits run down the columns, from left to right: signature, length in bits (32 bits), text or gzip. Raises `OSError`
    when the pixels cannot be read."""
    channels = ("RGB", "A") if image.mode == "RGBA" else ("RGB",) if image.mode == "RGB" else ()
    for channel in channels:
        plane = image.getchannel("A") if channel == "A" else image
        head = _bytes(plane, SIGNATURE_BYTES + 4)
        known = SIGNATURES.get(head[:SIGNATURE_BYTES])
        if known is None or known[0] != channel or len(head) < SIGNATURE_BYTES + 4:
            continue
        length = min(int.from_bytes(head[SIGNATURE_BYTES:], "big") // 8, TEXT_LIMIT)
        content = _bytes(plane, SIGNATURE_BYTES + 4 + length)[SIGNATURE_BYTES + 4:]
        return _unpack(content) if known[1] else content[:TEXT_LIMIT].decode("utf-8", errors="replace")
    return None


def _bytes(plane: Image.Image, count: int) -> bytes:
    """The first `count` bytes in the lowest bits of a picture of one channel, or of the first three. Only the columns that hold them are read."""
    channels = min(len(plane.getbands()), 3)
    columns = min(-(-count * 8 // (plane.height * channels)), plane.width)
    pixels = np.asarray(plane.crop((0, 0, columns, plane.height))).reshape(plane.height, columns, -1)[..., :channels]
    return np.packbits((pixels & 1).transpose(1, 0, 2).reshape(-1)).tobytes()[:count]


def _unpack(content: bytes) -> str | None:
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content, TEXT_LIMIT).decode("utf-8", errors="replace")
    except zlib.error:
        return None
