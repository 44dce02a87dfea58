"""What a model is good with: kept from the form, put back into it, taken back, forgotten. And the VAE among the quicksettings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import set_small
from tests.serving import Server
from tools.random_checkpoint import random_tensor
from tools.random_dit import write_file

Open = Callable[..., Page]
STEPS = "#txt2img_steps input[type=number]"


@pytest.fixture(autouse=True)
def nothing_kept(server: Server) -> Iterator[None]:
    """Each test begins and ends so."""
    forget(server)
    yield
    forget(server)
    server.http.patch("/api/v1/settings", json={"quicksettings_list": ["sd_model_checkpoint"], "sd_vae": "Automatic"})


def forget(server: Server) -> None:
    body = {"checkpoint": server.get("checkpoints")[0]["name"], "values": None}
    server.http.put("/api/v1/checkpoints/preferences", json=body).raise_for_status()


def set_steps(page: Page, number: str) -> None:
    page.fill(STEPS, number)
    page.keyboard.press("Tab")


def test_kept_used_taken_back_forgotten(open_page: Open, server: Server) -> None:
    page = open_page()
    expect(page.locator("#easel_model_defaults")).to_have_attribute("aria-label", "This model's defaults")
    page.click("#easel_model_defaults")
    expect(page.locator("#easel_paste")).to_contain_text("Nothing is kept for this model yet")
    expect(page.locator("#easel_forget_defaults")).to_have_count(0)
    page.keyboard.press("Escape")
    set_steps(page, "7")
    page.click("#easel_model_defaults")
    page.click("#easel_keep_defaults")
    expect(page.locator("#easel_paste")).to_have_count(0)
    expect(page.locator("#easel_model_defaults.has-defaults")).to_be_visible()
    assert server.get("checkpoints")[0]["suggests"]["steps"] == 7
    set_steps(page, "9")
    page.click("#easel_model_defaults")
    expect(page.locator("#easel_paste .paste-rows li")).to_have_count(1)
    expect(page.locator("#easel_paste .paste-rows")).to_contain_text("9→7")
    page.click("#easel_paste footer .primary")
    expect(page.locator(STEPS)).to_have_value("7")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(STEPS)).to_have_value("9")
    page.click("#easel_model_defaults")
    page.click("#easel_forget_defaults")
    expect(page.locator("#easel_model_defaults.has-defaults")).to_have_count(0)
    assert server.get("checkpoints")[0]["suggests"] is None


def test_the_estimate_is_on_the_page(open_page: Open, server: Server) -> None:
    """What the run needs stands there as long as it runs."""
    page = set_small(open_page(), steps=150)
    page.fill("#txt2img_batch_count input[type=number]", "100")
    page.click("#txt2img_generate")
    expect(page.locator("#txt2img_gallery .progress-text")).to_contain_text("needs about")
    page.click("#txt2img_interrupt")
    assert server.wait(server.jobs()[0]["id"])["job"]["status"] == "interrupted"


def test_the_vae_can_stand_at_the_top(open_page: Open, server: Server) -> None:
    server.http.patch("/api/v1/settings", json={"quicksettings_list": ["sd_model_checkpoint", "sd_vae"]}).raise_for_status()
    page = open_page()
    picker = page.locator("#setting_sd_vae select")
    expect(picker).to_have_value("Automatic")
    with page.expect_response(lambda answer: answer.request.method == "PATCH"):
        picker.select_option("None")
    assert server.get("settings")["sd_vae"] == "None"


def test_distilled_cfg_is_there_for_models_that_are_told_it(open_page: Open, server: Server) -> None:
    made = write_file(server.data / "models" / "Stable-diffusion" / "zflux.safetensors", "flux-dev", 3, random_tensor)
    server.post("checkpoints/refresh")
    try:
        page = open_page()
        slider = page.locator("#txt2img_distilled_cfg_scale")
        expect(slider).to_be_hidden()
        page.locator("#setting_sd_model_checkpoint input").first.click()
        page.get_by_role("option", name="zflux.safetensors").first.click()
        expect(slider).to_be_visible()
        page.click("#easel_model_defaults")
        expect(page.locator("#easel_paste .paste-rows")).to_contain_text("Simple")
        page.click("#easel_paste footer .primary")
        expect(page.locator("#txt2img_cfg_scale input[type=number]")).to_have_value("1")
    finally:
        made.unlink()
        (made.parent / "tokenizer.json").unlink()
        server.post("checkpoints/refresh")
