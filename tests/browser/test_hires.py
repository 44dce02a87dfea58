"""Hires fix on the page: switched on, told, run, kept; and ✨ on a finished picture."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import Guarded, Held, finished, open_panel, set_small, settle, until, visit
from tests.serving import Server

Open = Callable[..., Page]
INFO = "#html_info_txt2img pre"
WAIT = 20_000
"""Milliseconds for a picture on a busy machine."""


def set_number(page: Page, element: str, value: str) -> None:
    """Type a number and leave the box."""
    page.fill(f"#{element} input[type=number]", value)
    page.press(f"#{element} input[type=number]", "Tab")


def test_the_heading_says_what_comes_out_and_the_switch_opens_it(open_page: Open) -> None:
    page = set_small(open_page())
    sizes = page.locator("#txt2img_hr_finalres")
    expect(page.locator("#txt2img_hr_upscaler")).to_have_count(0)
    page.check("#txt2img_hr-checkbox input")
    expect(sizes).to_have_text("64×64 → 128×128")
    expect(page.locator("#txt2img_hr_upscaler")).to_be_visible()
    set_number(page, "txt2img_hr_scale", "1.5")
    expect(sizes).to_have_text("64×64 → 96×96")
    set_number(page, "txt2img_hr_resize_x", "160")
    expect(sizes).to_have_text("64×64 → 160×160")
    page.uncheck("#txt2img_hr-checkbox input")
    expect(sizes).to_have_text("")
    expect(page.locator("#txt2img_hr_upscaler")).to_be_visible()  # ✨ uses what stands there


def test_an_answer_that_comes_late_does_not_unsay_the_heading(guarded: Guarded, server: Server) -> None:
    page = visit(guarded.context().new_page(), server)
    page.wait_for_load_state("networkidle")
    held = Held(page, "**/gradio_api/run/predict*", '"data":[false,64,')
    page.fill("#txt2img_width input[type=number]", "64")
    held.wait()
    page.check("#txt2img_hr-checkbox input")
    page.wait_for_timeout(500)  # what the switch asks could be answered by now
    held.let_go()
    expect(page.locator("#txt2img_hr_finalres")).to_have_text("64×512 → 128×1024")


def test_the_picture_that_was_looked_at_is_enlarged(guarded: Guarded, server: Server) -> None:
    page = visit(guarded.context().new_page(), server)
    server.submit(prompt="two of them", steps=1, batch_count=2)
    finished(page, 2)
    page.wait_for_load_state("networkidle")
    thumbs, asked = page.locator(".thumb[data-picture]"), []
    thumbs.first.click()
    page.route("**/api/v1/pictures/*/hires", lambda route: (asked.append(route.request.url), route.fulfill(status=201, json={"id": "x"})))
    held = Held(page, "**/gradio_api/run/predict*")
    page.click("#txt2img_upscale")
    held.wait()
    thumbs.nth(1).click()
    held.let_go()
    until(page, lambda: bool(asked))
    assert asked[0].endswith(f"/pictures/{thumbs.first.get_attribute('data-picture')}/hires")


def test_a_run_of_two_passes_and_its_draft(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), "a house in two passes")
    page.check("#txt2img_hr-checkbox input")
    settle(page, "txt2img_hr")
    set_number(page, "txt2img_hires_steps", "2")
    set_number(page, "txt2img_denoising_strength", "0.5")
    open_panel(page, "txt2img_hires_fix_more")
    page.fill("#hires_prompt textarea", "a large house")
    page.click("#txt2img_generate")
    expect(page.locator(INFO)).to_contain_text("Denoising strength: 0.5, Hires prompt: a large house, Hires upscale: 2", timeout=WAIT)
    expect(page.locator(INFO)).to_contain_text("Hires steps: 2, Hires upscaler: Latent")
    page.wait_for_function("document.querySelector('.stage .picture')?.naturalWidth === 128")
    visit(page, server)
    expect(page.locator("#txt2img_hr-checkbox input")).to_be_checked()
    expect(page.locator("#txt2img_hr_finalres")).to_have_text("64×64 → 128×128")
    open_panel(page, "txt2img_hr")
    expect(page.locator("#txt2img_denoising_strength input[type=number]")).to_have_value("0.5")
    open_panel(page, "txt2img_hires_fix_more")
    expect(page.locator("#hires_prompt textarea")).to_have_value("a large house")


def test_the_sparkle_enlarges_the_picture_shown_with_its_own_seed(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), "sparkle me")
    page.click("#txt2img_generate")
    expect(page.locator(INFO)).to_contain_text("sparkle me", timeout=WAIT)
    small = server.get(f"jobs/{server.jobs()[0]['id']}")["pictures"][0]
    before = page.locator(".thumb[data-picture]:not(.live)").count()
    page.fill("#txt2img_prompt textarea", "something else by now")
    open_panel(page, "txt2img_hr")
    set_number(page, "txt2img_hr_scale", "1.5")
    page.click("#txt2img_upscale")
    finished(page, max(before, 1) + 1)
    expect(page.locator(INFO)).to_contain_text("Hires upscale: 1.5", timeout=WAIT)
    expect(page.locator(INFO)).to_contain_text(f"Seed: {small['seed']}")
    expect(page.locator(INFO)).to_contain_text("sparkle me")
    page.wait_for_function("document.querySelector('.stage .picture')?.naturalWidth === 96")
    found = server.get(f"jobs/{server.jobs()[0]['id']}")
    assert found["request"]["firstpass_image"]["width"] == 64
    assert not page.is_checked("#txt2img_hr-checkbox input")


def test_what_is_wrong_is_said_at_its_field(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), "impossible")
    page.check("#txt2img_hr-checkbox input")
    settle(page, "txt2img_hr")
    set_number(page, "txt2img_denoising_strength", "0")
    jobs = len(server.jobs())
    page.click("#txt2img_generate")
    expect(page.locator("#txt2img_denoising_strength .field-error")).to_contain_text("too little")
    assert len(server.jobs()) == jobs
