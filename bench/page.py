"""How fast the page is: start to first answer (against bare Gradio with as many components), opening to typing, click to job id and first
preview, the Models tab with thousands of files.

`python bench/page.py [--quick] [--json FILE]`. Needs Chromium. Each figure is the least of several runs; ratios are measured interleaved.
"""

from __future__ import annotations

import json
import os
import re
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

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.table import Table, run  # noqa: E402 (run as a file from anywhere)

BARE = """
import sys, fastapi, gradio as gr, uvicorn
with gr.Blocks() as blocks:
    for number in range(int(sys.argv[2])):
        gr.Textbox(label=str(number))
app = gr.mount_gradio_app(fastapi.FastAPI(), blocks, path="/", ssr_mode=False)
uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
"""
"""The least a Gradio page can be: the same number of components, no listeners."""

FIRST_PREVIEW = """() => new Promise((resolve, reject) => {
  setTimeout(() => reject(new Error('no preview within 30 s')), 30_000);
  const before = window.easel.answered, start = performance.now(), times = {};
  window.easel.answered = (answer) => { times.id = performance.now() - start; window.easel.answered = before; before(answer); };
  const look = () => {
    const picture = document.querySelector('.stage.live .picture');
    if (times.id && picture && picture.complete && picture.naturalWidth) resolve({ ...times, preview: performance.now() - start });
    else requestAnimationFrame(look);
  };
  document.getElementById('txt2img_generate').click();
  look();
})"""

CARDS = """(count) => new Promise((resolve, reject) => {
  setTimeout(() => reject(new Error('no cards within 30 s')), 30_000);
  const start = performance.now();
  const look = () => {
    const found = document.querySelector('.kind[data-kind=lora] .count');
    if (found && found.textContent.trim() === count && document.querySelector('#models_grid .card')) resolve(performance.now() - start);
    else requestAnimationFrame(look);
  };
  document.querySelector('#tabs [role=tab][data-tab-id=models]').click();
  look();
})"""
"""Milliseconds from the click on the tab to its cards."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def started(command: list[str], port: int) -> Iterator[tuple[float, int, str]]:
    """Run a server; gives the seconds to its first answer, its process id and the page it answered."""
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    page = answer.read().decode()
                break
            except (urllib.error.URLError, ConnectionError):
                if process.poll() is not None or time.perf_counter() - begin > 60:
                    raise RuntimeError(f"the server does not start: {' '.join(command[:3])}") from None
                time.sleep(0.01)
        yield time.perf_counter() - begin, process.pid, page
    finally:
        process.terminate()
        process.wait(60)


def component_count(page: str) -> int:
    """Components in Gradio's configuration of a page."""
    found = re.search(r"window\.gradio_config = (\{.*?\});</script>", page, re.DOTALL)
    if not found:
        raise RuntimeError("the page has no Gradio configuration")
    return len(json.loads(found[1])["components"])


def has_torch(pid: int) -> bool:
    """Whether a process has torch's library mapped (Linux)."""
    maps = Path(f"/proc/{pid}/maps")
    return maps.exists() and "libtorch" in maps.read_text(encoding="utf-8", errors="replace")


def app_command(data: Path, port: int) -> list[str]:
    """The server as a person starts it."""
    return [sys.executable, "app.py", "--port", str(port), "--no-browser", "--data-dir", str(data)]


def measure_start(table: Table, data: Path, repeats: int) -> None:
    """app.py against bare Gradio, in turns."""
    ours: list[float] = []
    bare: list[float] = []
    torch, count = False, 0
    for _ in range(repeats):
        port = free_port()
        with started(app_command(data, port), port) as (seconds, pid, page):
            ours.append(seconds)
            torch = torch or has_torch(pid)
            count = component_count(page)
        port = free_port()
        with started([sys.executable, "-c", BARE, str(port), str(count)], port) as (seconds, _, _):
            bare.append(seconds)
    table.add(f"start to page, over bare Gradio with {count} components", min(ours) - min(bare), 0.6, "s")
    table.add("start to page", min(ours), 3.5, "s")
    table.add("torch in memory before the page answers (0 = no)", float(torch), 0, "")
    table.note(f"least of {repeats}, in turns; bare Gradio {min(bare):.2f} s")


def open_page(browser: Browser, url: str) -> tuple[float, Page]:
    """A new profile opens the page; seconds until the prompt holds what was typed."""
    page = browser.new_context(viewport={"width": 1360, "height": 900}).new_page()
    begin = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.locator("#txt2img_prompt textarea").fill("a house")
    return time.perf_counter() - begin, page


def measure_page(table: Table, data: Path, browser: Browser, repeats: int) -> None:
    """Opening and generating, in Chromium."""
    port = free_port()
    with started(app_command(data, port), port):
        typing, identity, preview = [], [], []
        for _ in range(repeats):
            seconds, page = open_page(browser, f"http://127.0.0.1:{port}/")
            typing.append(seconds)
            page.wait_for_selector("html[data-easel=ready]")
            page.evaluate(FIRST_PREVIEW)  # the first brings the model into memory
            for _ in range(2):
                page.wait_for_selector(".stage:not(.working)", timeout=60_000)
                times = page.evaluate(FIRST_PREVIEW)
                identity.append(times["id"] / 1000)
                preview.append(times["preview"] / 1000)
            page.wait_for_selector(".stage:not(.working)", timeout=60_000)
            page.context.close()
    table.add("page open to typing", min(typing), 1.8, "s")
    table.add("Generate to job id", min(identity), 0.15, "s")
    table.add("Generate to first preview, model in memory", min(preview), 1.0, "s")
    table.note(f"Chromium, new profile each time, tiny model, 512 px; least of {repeats} and {2 * repeats}")


def write_files(folder: Path, count: int) -> None:
    """LoRA files of one small tensor each."""
    folder.mkdir(parents=True)
    key = "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"
    for number in range(count):
        table = {"__metadata__": {"title": f"style {number}"}, key: {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]}}
        text = json.dumps(table).encode()
        (folder / f"style {number:04}.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))


def measure_cards(table: Table, data: Path, browser: Browser, repeats: int) -> None:
    """The Models tab with 5,000 more files, and a start with them."""
    count = 5000
    without, beside = [], []
    port = free_port()
    for _ in range(repeats):
        with started(app_command(data, port), port) as (seconds, _, _):
            without.append(seconds)
    write_files(data / "models" / "Lora" / "many", count)
    drawn = []
    for _ in range(repeats):
        with started(app_command(data, port), port) as (seconds, _, _):
            beside.append(seconds)
            _, page = open_page(browser, f"http://127.0.0.1:{port}/")
            page.wait_for_selector("html[data-easel=ready]")
            drawn.append(page.evaluate(CARDS, str(count)) / 1000)
            page.context.close()
    table.add(f"Models tab: click to cards of {count} files", min(drawn), 1.0, "s")
    table.add(f"start to page with {count} files, over a start without", min(beside) - min(without), 0.3, "s")
    table.note(f"least of {repeats}; the first click after a start")


def find_chromium() -> str:
    """Path of the browser. Raises `RuntimeError` where there is none."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        raise RuntimeError("This needs Chromium: apt-get install chromium, or name one with CHROMIUM=/path.")
    return chromium


def furnish(data: Path) -> None:
    """A tiny model into a data folder."""
    weights = data / "models" / "Stable-diffusion" / "random-tiny.safetensors"
    weights.parent.mkdir(parents=True)
    subprocess.run([sys.executable, "tools/random_checkpoint.py", str(weights)], cwd=ROOT, check=True, capture_output=True)


def measure(table: Table) -> None:
    """Measure everything. Raises `RuntimeError` without Chromium."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        data = Path(folder)
        furnish(data)
        measure_start(table, data, 2 if table.quick else 5)
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu"])
        measure_page(table, data, browser, 1 if table.quick else 3)
        measure_cards(table, data, browser, 1 if table.quick else 3)
        browser.close()


if __name__ == "__main__":
    run("page", measure)
