"""Makes the pictures of README and docs: `python tools/screenshots.py [--data-dir DIR] [--steps N] [--only extras]`. Starts a server of its own,
generates, photographs.

Without --data-dir a throw-away folder with the demo model is used. Needs Chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
PROMPT = "a big red mushroom on green hills"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 1.5}


@contextmanager
def served(data: Path) -> Iterator[str]:
    """A server on `data`; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "app.py", "--port", str(port), "--no-browser", "--data-dir", str(data)], cwd=ROOT)
    try:
        limit = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/ping", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                if process.poll() is not None or time.monotonic() > limit:
                    raise RuntimeError("the server does not start") from None
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(60)


def open_page(browser: Browser, url: str, **options: object) -> Page:
    """The page in a new profile, ready."""
    settings = {"viewport": {"width": 1440, "height": 960}, "locale": "en-US", "device_scale_factor": 1} | options
    page = browser.new_context(**settings).new_page()  # pyright: ignore[reportArgumentType]
    page.set_default_timeout(120_000)
    page.goto(url)
    page.wait_for_selector("html[data-easel=ready]")
    return page


def photograph(page: Page, name: str, whole: bool = False) -> None:
    """Save what the page shows as a small PNG (256 colours)."""
    page.wait_for_timeout(500)
    path = IMAGES / name
    page.screenshot(path=path, full_page=whole)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256)
    small.save(path, optimize=True)


def take(browser: Browser, url: str, steps: int) -> None:
    """Generate a batch, then photograph the page light, dark with the queue open, and as a phone shows it."""
    page = open_page(browser, url)
    page.fill("#txt2img_prompt textarea", PROMPT)
    page.fill("#txt2img_steps input[type=number]", str(steps))
    page.fill("#txt2img_batch_count input[type=number]", "4")
    page.click("#txt2img_generate")
    page.wait_for_function("document.querySelectorAll('.thumb:not(.live)').length === 4 && !document.querySelector('.stage.working')")
    photograph(page, "txt2img.png", whole=True)
    phone = open_page(browser, url, **PHONE)
    phone.wait_for_selector(".stage .picture")
    photograph(phone, "phone.png")

    for prompt in ("a white boat by the sea", "a purple balloon by day", "a yellow star in the night sky"):
        page.fill("#txt2img_prompt textarea", prompt)
        page.click("#txt2img_generate")
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector(".stage.live")
    page.click("#easel_queue")
    page.wait_for_function("document.querySelectorAll('.job.waiting').length >= 2")
    photograph(page, "queue-dark.png")


def take_extras(browser: Browser, url: str) -> None:
    """Enlarge a picture of this repository on the Extras tab and photograph it."""
    page = open_page(browser, url)
    page.click("#tabs [role=tab][data-tab-id=extras]")
    page.wait_for_selector("#extras_upscaler_1")
    page.set_input_files("#extras_file", ROOT / "docs" / "demo-model" / "world.jpg")
    page.wait_for_selector("#extras_image img:not([hidden])")
    page.select_option("#extras_upscaler_1 select", "Lanczos")
    page.fill("#extras_upscaling_resize input[type=number]", "2")
    page.click("#extras_generate")
    page.wait_for_selector("#extras_gallery .facts:has-text('→ 2072×1032')")
    page.wait_for_selector("#extras_interrupt:disabled")
    page.wait_for_timeout(1500)
    photograph(page, "extras.png")


def take_canvas(browser: Browser, url: str) -> None:
    """Send the finished picture to Inpaint, paint a mask, and photograph the canvas with the frame of "Only masked"."""
    page = open_page(browser, url)
    page.click("#txt2img_send_to_inpaint")
    page.wait_for_selector("#img2img_image[data-ready]")
    page.check("#img2img_inpaint_full_res input")
    canvas = page.locator("#img2img_canvas")
    canvas.scroll_into_view_if_needed()
    box = page.locator("#img2img_image").bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    for step in range(1, 15):
        page.mouse.move(middle[0] - 60 + step * 8, middle[1] + 20 * (step % 2))
    page.mouse.up()
    page.mouse.move(middle[0] + 90, middle[1] + 60)
    page.wait_for_timeout(500)
    path = IMAGES / "canvas.png"
    canvas.screenshot(path=path)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256)
    small.save(path, optimize=True)


def main() -> int:
    """Make all pictures. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="data folder with a model worth showing")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", choices=("page", "extras"), help="only the pictures of the page, or of the Extras tab")
    options = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        print("tools/screenshots.py needs Chromium: apt-get install chromium, or name one with CHROMIUM=/path.", file=sys.stderr)
        return 1
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        data = options.data_dir or Path(folder)
        if options.data_dir is None:
            (data / "models").mkdir()
            shutil.copytree(ROOT / "models" / "Stable-diffusion", data / "models" / "Stable-diffusion")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        with served(data) as url:
            if options.only != "extras":
                take(browser, url, options.steps)
                take_canvas(browser, url)
            if options.only != "page":
                take_extras(browser, url)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
