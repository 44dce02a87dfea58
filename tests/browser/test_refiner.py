"""The refiner on the page: switched on, asked for a checkpoint, run, told."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import set_small

Open = Callable[..., Page]
INFO = "#html_info_txt2img pre"
WAIT = 20_000


def test_the_refiner_wants_a_checkpoint_and_takes_over(open_page: Open) -> None:
    page = set_small(open_page(), "a refined house")
    expect(page.locator("#txt2img_checkpoint")).to_have_count(0)
    page.check("#txt2img_enable-checkbox input")
    expect(page.locator("#txt2img_checkpoint")).to_be_visible()
    page.click("#txt2img_generate")
    expect(page.locator(".field-error")).to_contain_text("no checkpoint is chosen", timeout=WAIT)
    page.locator("#txt2img_checkpoint input").fill("tiny")
    page.keyboard.press("Enter")
    page.fill("#txt2img_switch_at input[type=number]", "0.5")
    page.press("#txt2img_switch_at input[type=number]", "Tab")
    page.click("#txt2img_generate")
    expect(page.locator(INFO)).to_contain_text("a refined house", timeout=WAIT)
    expect(page.locator(INFO)).to_contain_text("Refiner: tiny")
    expect(page.locator(INFO)).to_contain_text("Refiner switch at: 0.5")
