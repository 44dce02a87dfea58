"""The depth map's place in the img2img tab: there with a checkpoint that looks at depth, filled by file and by drop, kept over a reload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Guarded
from tests.browser.test_canvas import DROP, Open, open_canvas, png
from tests.serving import Server
from tools.random_checkpoint import KINDS, write_checkpoint


@pytest.fixture
def deep(server: Server) -> Iterator[Server]:
    """The server, with a depth model, too."""
    made = write_checkpoint(server.data / "models" / "Stable-diffusion" / "a-depth.safetensors", KINDS["tiny"]["sd2-depth"], 5)
    server.post("checkpoints/refresh")
    yield server
    made.unlink()
    server.post("checkpoints/refresh")


def choose(page: Page, name: str) -> None:
    """Take a checkpoint."""
    page.click("#setting_sd_model_checkpoint input")
    page.locator("#setting_sd_model_checkpoint [role=option]", has_text=name).click()


def test_a_depth_map_is_asked_for_given_and_kept(guarded: Guarded, deep: Server, open_page: Open, tiny_checkpoint: Path) -> None:
    guarded.tolerated = ("422",)
    page = open_canvas(open_page(), "img2img")
    place, image = page.locator("#img2img_depth_place"), page.locator("#img2img_depth_place img")
    choose(page, "a-depth")
    expect(place).to_be_visible()
    page.click("#img2img_generate")
    expect(place.locator(".field-error")).to_contain_text("models/depth")
    page.set_input_files("#img2img_depth_file", {"name": "map.png", "mimeType": "image/png", "buffer": png(32, 32, "#404040")})
    expect(image).to_be_visible()
    expect(place.locator(".field-error")).to_have_count(0)
    first = image.get_attribute("src")
    page.evaluate(DROP, ["#img2img_depth_place .dropzone", list(png(16, 16, "#a0a0a0"))])
    expect(image).not_to_have_attribute("src", first or "")
    page.reload()
    page.wait_for_selector("html[data-easel=ready]")
    expect(image).to_be_visible()
    for name, value in (("width", 64), ("height", 64), ("steps", 2)):
        page.fill(f"#img2img_{name} input[type=number]", str(value))
    page.fill("#img2img_prompt textarea", "a house with depth")
    page.click("#img2img_generate")
    expect(page.locator("#html_info_img2img pre")).to_contain_text("a house with depth", timeout=60_000)
    expect(page.locator("#html_info_img2img pre")).to_contain_text("Model: a-depth")
    place.get_by_role("button", name="Take the depth map away").click()
    expect(image).to_be_hidden()
    choose(page, tiny_checkpoint.stem)
    expect(place).to_be_hidden()
