"""The process that `test_odd_pictures` watches: every file of a folder through the three doors that pictures come in by.

A line on standard output is what became of one: its name, and for img2img, Extras and PNG Info "ok" or the words of the refusal. Files whose name
begins with `small` are judged by a lower limit of memory, the second argument: so much is tried in little time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from webui.schema.errors import WebuiError
from webui.services import images
from webui.services.extras_files import Source
from webui.services.images import ImageStore
from webui.services.infotext.files import read_metadata
from webui.services.picture_folders import bytes_of


def img2img(store: ImageStore, path: Path) -> None:
    """Uploaded, named by a request, opened by the engine."""
    ref = store.put(bytes_of(path))
    store.check(ref)
    image = store.open(ref)
    assert image.size == (ref.width, ref.height) and image.mode in ("L", "RGB", "RGBA")
    image.crop((0, 0, 1, 1)).load()


def extras(path: Path) -> None:
    """Opened with its texts."""
    image, texts = Source(path.name, path.name, lambda: bytes_of(path)).open()
    assert image.mode in ("RGB", "RGBA") and all(isinstance(text, str) for text in texts.values())


def png_info(path: Path) -> None:
    """What it says of itself; it must say something to the person in any case."""
    found = read_metadata(bytes_of(path))
    assert found.kind != "none" or found.comments


def tried(door: Callable[[], None]) -> str:
    """What a door says."""
    try:
        door()
    except WebuiError as error:
        return error.message
    return "ok"


def main(folder: Path, low: int) -> None:
    """All files, in order, each when the test says so."""
    high = images.MEMORY_LIMIT
    store = ImageStore(folder.parent / "store")
    Image.init()
    print("ready", flush=True)
    for path in sorted(folder.iterdir()):
        sys.stdin.readline()
        images.MEMORY_LIMIT = low if path.name.startswith("small") else high
        doors: tuple[Callable[[], None], ...] = (lambda: img2img(store, path), lambda: extras(path), lambda: png_info(path))  # noqa: B023
        print(json.dumps([path.name, *map(tried, doors)]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
