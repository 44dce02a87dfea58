"""How fast the canvas is: the frames of a stroke on large pictures, what a hundred strokes weigh on their way, Generate to job id with them.

`python bench/canvas.py [--quick] [--json FILE]`. Needs Chromium. A frame's time is that of its drawing (`inspect().frames` of `web/canvas.js`).
"""

from __future__ import annotations

import sys
import tempfile
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.page import app_command, find_chromium, free_port, furnish, open_page, started  # noqa: E402 (run as a file from anywhere)
from bench.table import Table, run  # noqa: E402

INSPECT = "import(`/${easelPage.web}/canvas.js`).then((canvas) => canvas.inspect())"
CLICK = """(tab) => new Promise((resolve) => {
  const before = window.easel.answered, start = performance.now();
  window.easel.answered = (answer) => { window.easel.answered = before; resolve(performance.now() - start); };
  document.getElementById(`${tab}_generate`).click();
})"""


def open_canvas(page: Page, side: int, folder: Path) -> Page:
    """Inpaint on a noisy square picture."""
    path = folder / f"{side}.png"
    noise = Image.effect_noise((side, side), 30)
    Image.merge("RGB", (noise, Image.radial_gradient("L").resize((side, side)), noise)).save(path, compress_level=1)
    page.wait_for_selector("html[data-easel=ready]")
    page.click("#tab_img2img-button")
    page.wait_for_selector("#img2img_image[data-ready]")
    page.set_input_files("#img2img_image_file", path)
    while page.evaluate(INSPECT)["width"] != side:
        page.wait_for_timeout(50)
    page.click("#img2img_inpaint_tab")
    page.locator("#img2img_image").scroll_into_view_if_needed()
    return page


def knob(page: Page, name: str, value: int) -> None:
    """Type into one of the brush's boxes."""
    page.fill(f".knob [data-of={name}][type=number]", str(value))


def stroke(page: Page, number: int, moves: int) -> list[float]:
    """Draw a line across the sheet; gives the milliseconds of its frames."""
    seen = page.evaluate(INSPECT)
    across, down = seen["width"] * seen["scale"], seen["height"] * seen["scale"]
    height = seen["top"] + down * (0.05 + 0.9 * (number * 37 % 100) / 100)
    page.mouse.move(seen["left"] + across * 0.1, height)
    page.mouse.down()
    page.mouse.move(seen["left"] + across * 0.9, height + down * 0.05, steps=moves)
    page.mouse.up()
    return page.evaluate(INSPECT)["frames"]


def measure_strokes(table: Table, browser: Browser, url: str, folder: Path) -> None:
    """Frames of a hard and of a soft stroke at two sizes."""
    for side in (2048, 4096):
        _, page = open_page(browser, url)
        open_canvas(page, side, folder)
        knob(page, "size", side // 20)
        frames: list[float] = []
        for softness in (0, 80):
            knob(page, "softness", softness)
            for number in range(1 if table.quick else 4):
                frames += stroke(page, number, 60)
        frames.sort()
        table.add(f"a frame of a stroke on {side}², nineteen of twenty", frames[len(frames) * 19 // 20], 16, "ms")
        table.note(f"the middle one {frames[len(frames) // 2]:.1f} ms, the longest of {len(frames)} {frames[-1]:.1f} ms; hard and soft")
        page.context.close()


def measure_upload(table: Table, browser: Browser, url: str, folder: Path) -> None:
    """A hundred strokes on 2048², the last quarter soft, then Generate."""
    _, page = open_page(browser, url)
    open_canvas(page, 2048, folder)
    for field, value in (("width", 64), ("height", 64), ("steps", 1)):
        page.fill(f"#img2img_{field} input[type=number]", str(value))
    knob(page, "size", 30)
    page.locator("#img2img_image").scroll_into_view_if_needed()
    for number in range(100):
        if number in (0, 75):
            knob(page, "softness", 0 if number == 0 else 60)
        stroke(page, number, 4)
    page.wait_for_timeout(3000)  # up meanwhile, as when a person looks at it
    first = page.evaluate(CLICK, "img2img") / 1000
    mask = page.evaluate("import(`/${easelPage.web}/forms.js`).then((forms) => forms.now('img2img'))")["mask"]["sha256"]
    with urllib.request.urlopen(f"{url}api/v1/images/{mask}") as answer:
        table.add("100 strokes on 2048²: the mask's upload", len(answer.read()) / 1000, 300, "kB")
    table.add("Generate to job id with them", first, 0.3, "s")
    again = []
    for number in range(3):
        stroke(page, number, 4)
        page.wait_for_timeout(3000)
        again.append(page.evaluate(CLICK, "img2img") / 1000)
    table.add("the same after one more stroke, least of 3", min(again), 0.3, "s")
    page.click("#tab_txt2img-button")
    page.wait_for_timeout(3000)
    table.note(f"in the same page txt2img, which has nothing to send: {min(page.evaluate(CLICK, 'txt2img') for _ in range(3)) / 1000:.2f} s")
    page.context.close()


def measure(table: Table) -> None:
    """Measure everything. Raises `RuntimeError` without Chromium."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder, port = Path(name), free_port()
        furnish(folder)
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu"])
        with started(app_command(folder, port), port):
            url = f"http://127.0.0.1:{port}/"
            measure_strokes(table, browser, url, folder)
            measure_upload(table, browser, url, folder)
        browser.close()


if __name__ == "__main__":
    run("canvas", measure)
