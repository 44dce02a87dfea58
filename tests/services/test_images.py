"""Odd pictures on their way into the store: kept upright and whole, or refused in words. Never a crash."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from webui.schema.errors import NotFoundError, RequestError
from webui.schema.generation import ImageRef
from webui.services import images
from webui.services.images import ImageStore, decode, open_head, ref_of

Content = Callable[[random.Random], bytes]


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    """The picture as a file."""
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def noise(luck: random.Random, mode: str, size: tuple[int, int] | None = None) -> Image.Image:
    """A picture of random pixels."""
    width, height = size or (luck.randint(1, 40), luck.randint(1, 40))
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.frombuffer(luck.randbytes(width * height * bands), np.uint8).reshape(height, width, bands)
    return Image.frombytes(mode, (width, height), pixels.tobytes())


def sixteen(luck: random.Random) -> bytes:
    """Grey of 16 bits."""
    return saved(Image.fromarray(np.frombuffer(luck.randbytes(2 * 20 * 10), np.uint16).reshape(10, 20)), "PNG")


def turned(luck: random.Random) -> bytes:
    """A photograph whose EXIF says how to hold it."""
    exif = Image.Exif()
    exif[0x0112] = luck.randint(1, 8)
    return saved(noise(luck, "RGB"), "JPEG", exif=exif)


def animated(luck: random.Random) -> bytes:
    """Several frames."""
    frames = [noise(luck, "RGB", (12, 9)) for _ in range(3)]
    return saved(frames[0], luck.choice(["GIF", "PNG", "WEBP"]), save_all=True, append_images=frames[1:])


def palette(luck: random.Random) -> bytes:
    """Few colours, one of them perhaps transparent."""
    image = noise(luck, "RGB").quantize(8)
    return saved(image, "PNG", **({"transparency": 3} if luck.random() < 0.5 else {}))


def bomb(luck: random.Random) -> bytes:
    """A file of a few bytes that says it has very many pixels."""
    side = luck.choice([20_000, 60_000, 2_000_000])
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))  # noqa: E731
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def cut_off(luck: random.Random) -> bytes:
    """The beginning of a file."""
    content = saved(noise(luck, "RGB", (64, 64)), luck.choice(["PNG", "JPEG", "WEBP", "BMP", "TIFF"]))
    return content[: luck.randint(1, len(content) - 20)]


def scrambled(luck: random.Random) -> bytes:
    """A file with some bytes changed."""
    content = bytearray(saved(noise(luck, "RGB", (30, 30)), luck.choice(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])))
    for _ in range(luck.randint(1, 30)):
        content[luck.randrange(len(content))] = luck.randrange(256)
    return bytes(content)


KINDS: dict[str, Content] = {
    "one pixel": lambda luck: saved(noise(luck, "RGB", (1, 1)), "PNG"),
    "a line": lambda luck: saved(noise(luck, "RGB", luck.choice([(1, 5000), (5000, 1)])), "PNG"),
    "16 bits": sixteen,
    "cmyk": lambda luck: saved(noise(luck, "CMYK"), "JPEG"),
    "palette": palette,
    "alpha": lambda luck: saved(noise(luck, luck.choice(["RGBA", "LA"])), "PNG"),
    "black and white": lambda luck: saved(noise(luck, "L").convert("1"), "PNG"),
    "float": lambda luck: saved(Image.fromarray(np.random.default_rng(luck.randrange(99)).normal(size=(9, 7)).astype(np.float32)), "TIFF"),
    "animated": animated,
    "turned": turned,
    "cut off": cut_off,
    "scrambled": scrambled,
    "bomb": bomb,
    "no picture": lambda luck: luck.randbytes(luck.randint(0, 200)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_odd_pictures_are_kept_or_refused_in_words(tmp_path: Path, kind: str) -> None:
    store, luck, kept = ImageStore(tmp_path), random.Random(kind), 0
    refused: list[str] = []
    for _ in range(36):
        try:
            ref = store.put(KINDS[kind](luck))
        except RequestError as error:
            refused.append(error.message)
            continue
        kept += 1
        store.check(ref)
        image = store.open(ref)
        assert image.size == (ref.width, ref.height) and image.mode in ("L", "RGB", "RGBA")
    assert all(refused) and kept + len(refused) == 36
    if kind not in ("cut off", "scrambled"):
        assert kept == (0 if kind in ("bomb", "no picture") else 36), refused[:3]


def test_a_photograph_lies_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (60, 20), "white")
    ImageDraw.Draw(image).rectangle((0, 0, 20, 20), fill="red")
    exif = Image.Exif()
    exif[0x0112] = 6  # its right side is up
    store = ImageStore(tmp_path)
    ref = store.put(saved(image, "JPEG", exif=exif, quality=95))
    assert (ref.width, ref.height) == (20, 60)
    red, green, _ = store.open(ref).getpixel((10, 5))
    assert red > 200 and green < 60


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    levels = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    assert list(np.asarray(store.open(store.put(saved(Image.fromarray(levels), "PNG"))))[0]) == [0, 0, 1, 128, 255]


def test_transparency_is_kept_and_opacity_is_not(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    assert store.open(store.put(saved(Image.new("RGBA", (4, 4), (1, 2, 3, 255)), "PNG"))).mode == "RGB"
    assert store.open(store.put(saved(Image.new("RGBA", (4, 4), (1, 2, 3, 9)), "PNG"))).mode == "RGBA"


def test_a_picture_of_another_size_than_named_is_refused(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    ref = store.put(saved(Image.new("RGB", (4, 4)), "PNG"))
    for use in (store.check, store.open):
        with pytest.raises(RequestError):
            use(ref.revise(width=5))
        with pytest.raises(NotFoundError):
            use(ImageRef(sha256="0" * 64, width=4, height=4))


def test_a_picture_is_not_read_again_to_be_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(content: bytes) -> Image.Image:
        raise AssertionError("read again")

    store = ImageStore(tmp_path)
    lying = Image.Exif()
    lying[0x0112] = 6
    content = io.BytesIO()
    Image.new("RGB", (6, 4)).save(content, "PNG", exif=lying)
    ref = store.put(content.getvalue())
    late = ImageStore(tmp_path)  # a server that was started anew
    late.check(ref)
    monkeypatch.setattr("webui.services.images.open_head", fail)
    for each in (store, late):
        each.check(ref)
        with pytest.raises(RequestError):
            each.check(ref.revise(width=6, height=4))
    next(tmp_path.rglob("*.bin")).unlink()
    with pytest.raises(NotFoundError):
        store.check(ref)


def test_the_same_picture_may_come_several_times_at_once(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        for shade in range(24):
            content = saved(Image.new("L", (8, 8), shade), "PNG")
            refs = list(pool.map(store.put, [content] * 8))
            assert len({ref.sha256 for ref in refs}) == 1 and store.read(refs[0].sha256) == content
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 50}, {"quality": 50, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}])
def test_the_size_of_a_webp_is_known_before_it_is_opened(monkeypatch: pytest.MonkeyPatch, options: dict[str, object]) -> None:
    content = saved(Image.new("RGB", (300, 200)), "WEBP", **options)
    assert open_head(content).size == (300, 200)
    monkeypatch.setattr(images, "MEMORY_LIMIT", 300 * 200 * 16)  # and the file comes on top
    monkeypatch.setattr(Image, "open", lambda *args, **more: pytest.fail("it was opened"))
    with pytest.raises(RequestError, match="300×200"):
        decode(content)


def test_only_pictures_of_the_kinds_that_are_read_are_opened() -> None:
    for form in ("EPS", "ICO", "PPM", "PDF"):
        with pytest.raises(RequestError, match="not a picture that can be read"):
            decode(saved(Image.new("RGB", (16, 16)), form))


def test_a_photograph_with_damaged_exif_is_read() -> None:
    assert decode(saved(Image.new("RGB", (16, 8)), "JPEG", exif=b"Exif\0\0nonsense")).size == (16, 8)


def test_pixels_that_are_damaged_are_refused_at_every_door() -> None:
    content = bytearray(saved(noise(random.Random(1), "RGB", (30, 30)), "PNG"))
    content[len(content) // 2:len(content) // 2 + 40] = bytes(40)
    for door in (decode, ref_of):
        with pytest.raises(RequestError):
            door(bytes(content))
