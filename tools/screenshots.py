"""Makes the pictures of README and docs: `python tools/screenshots.py [--data-dir DIR] [--steps N] [--only canvas]`. Starts a server of its own,
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

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


def photograph(shown: Page | Locator, name: str, whole: bool = False) -> None:
    """Save what the page or a part of it shows as a small PNG (256 colours)."""
    time.sleep(0.5)
    path = IMAGES / name
    if isinstance(shown, Page):
        shown.screenshot(path=path, full_page=whole)
    else:
        shown.screenshot(path=path)
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
    page = open_page(browser, url, viewport={"width": 1440, "height": 900})
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


def take_canvas(browser: Browser, url: str, steps: int) -> None:
    """Inpaint a finished picture: mask the mushroom's cap and make it blue; photograph the tab, then the canvas with the frame of "Only masked"."""
    page = open_page(browser, url, viewport={"width": 1440, "height": 1180})
    page.fill("#txt2img_prompt textarea", PROMPT)
    page.fill("#txt2img_seed input", "7")
    page.click("#txt2img_generate")
    page.wait_for_selector("#html_info_txt2img pre:has-text('Seed: 7,')")
    page.click("#txt2img_send_to_inpaint")
    page.wait_for_selector("#img2img_image[data-ready]")
    page.fill("#img2img_prompt textarea", "a big blue mushroom on green hills")
    page.fill("#img2img_steps input[type=number]", str(steps))
    page.fill("#img2img_seed input", "7")
    page.click("#img2img_detect_image_size_btn")
    page.fill(".knob [data-of=size][type=number]", "40")
    paint(page, ((22, 120), (36, 92), (60, 72), (82, 66), (108, 72), (126, 92), (136, 120), (82, 120), (28, 120), (52, 96), (104, 96)))
    page.click("#img2img_generate")
    page.wait_for_selector("#html_info_img2img pre:has-text('blue')")
    page.locator(".toast button").last.click()
    page.evaluate("scrollTo(0, 0)")
    photograph(page, "img2img.png")
    page.check("#img2img_inpaint_full_res input")
    page.click("#canvas_clear_mask")
    paint(page, ((98, 104), (108, 110)))
    photograph(page.locator("#img2img_canvas"), "canvas.png")


def paint(page: Page, spots: Sequence[tuple[int, int]]) -> None:
    """Draw through points of the sheet."""
    page.locator("#img2img_image").scroll_into_view_if_needed()
    seen = page.evaluate("import(`/${easelPage.web}/canvas.js`).then((canvas) => canvas.inspect())")
    first, *others = [(seen["left"] + x * seen["scale"], seen["top"] + y * seen["scale"]) for x, y in spots]
    page.mouse.move(*first)
    page.mouse.down()
    for spot in others:
        page.mouse.move(*spot, steps=5)
    page.mouse.up()


def main() -> int:
    """Make all pictures. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="data folder with a model worth showing")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", choices=("page", "canvas", "extras"), help="only the pictures of txt2img and the queue, of img2img, or of Extras")
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
            if options.only in (None, "page"):
                take(browser, url, options.steps)
            if options.only in (None, "canvas"):
                take_canvas(browser, url, options.steps)
            if options.only in (None, "extras"):
                take_extras(browser, url)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
