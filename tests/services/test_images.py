"""The picture store under several hands."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from webui.services.images import ImageStore


def png(shade: int) -> bytes:
    """A small picture."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


def test_the_same_picture_may_come_several_times_at_once(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        for shade in range(24):
            refs = list(pool.map(store.put, [png(shade)] * 8))
            assert len({ref.sha256 for ref in refs}) == 1 and store.read(refs[0].sha256) == png(shade)
    assert not list(tmp_path.rglob("*.tmp"))
