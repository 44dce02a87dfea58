"""The styles editor: make, change, delete, take back, put into the prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Guarded, Held, visit
from tests.serving import Server

Open = Callable[..., Page]
GOLDEN = {"name": "Golden", "prompt": "{prompt}, golden light", "negative_prompt": "fog"}


@pytest.fixture(autouse=True)
def no_styles(server: Server) -> Iterator[None]:
    """Each test begins and ends without styles."""
    put(server)
    yield
    put(server)


def put(server: Server, *styles: dict[str, str]) -> None:
    """These are the only styles."""
    server.http.put("/api/v1/styles", json=styles).raise_for_status()


def open_editor(page: Page) -> Page:
    """The dialog."""
    page.click("#txt2img_styles_edit_button")
    page.wait_for_selector("#txt2img_edit_style_dialog[open]")
    return page


def choose(page: Page, name: str) -> None:
    """Pick a style in the form."""
    page.click("#txt2img_styles input")
    page.get_by_role("option", name=name).click()
    page.keyboard.press("Escape")


def test_a_style_is_made_changed_deleted_and_taken_back(open_page: Open, server: Server) -> None:
    page = open_editor(open_page())
    expect(page.locator("#txt2img_edit_style_save")).to_be_disabled()
    page.fill("#txt2img_edit_style", "Golden")
    page.fill("#txt2img_edit_style_prompt", GOLDEN["prompt"])
    page.fill("#txt2img_edit_style_neg_prompt", "fog")
    page.click("#txt2img_edit_style_save")
    expect(page.locator(".note")).to_contain_text("is saved")
    assert server.get("styles") == [GOLDEN]
    page.fill("#txt2img_edit_style_neg_prompt", "rain")
    expect(page.locator(".note")).to_contain_text("Not saved yet")
    page.click("#txt2img_edit_style_save")
    expect(page.locator("#txt2img_edit_style_save")).to_be_disabled()
    assert server.get("styles") == [GOLDEN | {"negative_prompt": "rain"}]
    page.click("#txt2img_edit_style_delete")
    expect(page.locator(".note")).to_contain_text("is deleted")
    assert server.get("styles") == []
    page.click("#txt2img_edit_style_undo")
    expect(page.locator("#txt2img_edit_style")).to_have_value("Golden")
    assert server.get("styles") == [GOLDEN | {"negative_prompt": "rain"}]
    page.keyboard.press("Escape")
    choose(page, "Golden")  # the list of the form follows
    assert (server.data / "styles.csv").is_file()


def test_an_edit_of_the_file_by_hand_is_seen_and_kept(open_page: Open, server: Server) -> None:
    page = open_editor(open_page())
    put(server, GOLDEN)
    page.fill("#txt2img_edit_style", "Mine")
    page.fill("#txt2img_edit_style_prompt", "cats")
    page.click("#txt2img_edit_style_save")
    expect(page.locator(".note")).to_contain_text("is saved")
    assert [style["name"] for style in server.get("styles")] == ["Golden", "Mine"]
    page.keyboard.press("Escape")
    open_editor(page)
    page.fill("#txt2img_edit_style", "Golden")
    expect(page.locator("#txt2img_edit_style_prompt")).to_have_value(GOLDEN["prompt"])


def test_the_form_is_copied_into_a_style(open_page: Open) -> None:
    page = open_page()
    page.fill("#txt2img_prompt textarea", "a red house")
    page.fill("#txt2img_neg_prompt textarea", "blur")
    open_editor(page)
    page.click("#txt2img_style_copy")
    expect(page.locator("#txt2img_edit_style_prompt")).to_have_value("a red house")
    expect(page.locator("#txt2img_edit_style_neg_prompt")).to_have_value("blur")


def test_chosen_styles_are_counted_and_put_into_the_prompts(open_page: Open, server: Server) -> None:
    put(server, GOLDEN)
    page = open_page()
    page.fill("#txt2img_prompt textarea", "a house")
    expect(page.locator("#txt2img_token_counter")).to_contain_text("2/75")
    choose(page, "Golden")
    expect(page.locator("#txt2img_token_counter")).to_contain_text("5/75")
    page.click("#txt2img_style_apply")
    expect(page.locator("#txt2img_prompt textarea")).to_have_value("a house, golden light")
    expect(page.locator("#txt2img_neg_prompt textarea")).to_have_value("fog")
    expect(page.locator("#txt2img_styles .token")).to_have_count(0)
    page.click("#txt2img_style_apply")
    expect(page.locator(".toast").last).to_contain_text("Choose a style first")


def test_the_error_of_the_server_is_shown_and_nothing_is_lost(open_page: Open, guarded: Guarded) -> None:
    guarded.tolerated = ("422",)
    page = open_editor(open_page())
    page.fill("#txt2img_edit_style", "Big")
    page.fill("#txt2img_edit_style_prompt", "x" * 20_001)
    page.click("#txt2img_edit_style_save")
    expect(page.locator(".note")).to_contain_text("20000")
    assert len(page.input_value("#txt2img_edit_style_prompt")) == 20_001


def test_what_is_written_while_the_server_answers_stays(guarded: Guarded, server: Server) -> None:
    put(server, GOLDEN)
    page = visit(guarded.context().new_page(), server)
    page.fill("#txt2img_prompt textarea", "a house")
    choose(page, "Golden")
    held = Held(page, "**/api/v1/styles/apply")
    page.click("#txt2img_style_apply")
    held.wait()
    page.fill("#txt2img_prompt textarea", "a house at night")
    held.let_go()
    expect(page.locator("#txt2img_prompt textarea")).to_have_value("a house at night, golden light")
    held = Held(page, "**/api/v1/styles", method="GET")
    page.click("#txt2img_styles_edit_button")
    held.wait()
    open_editor(page)  # pressed again
    page.fill("#txt2img_edit_style", "Mine")
    page.fill("#txt2img_edit_style_prompt", "cats")
    held.let_go()
    expect(page.locator("#txt2img_edit_style")).to_have_value("Mine")
    held = Held(page, "**/api/v1/styles", method="PUT")
    page.click("#txt2img_edit_style_save")
    held.wait()
    page.fill("#txt2img_edit_style_prompt", "cats and dogs")
    held.let_go()
    page.fill("#txt2img_edit_style", "Golden")  # shows its style only where nothing is lost
    expect(page.locator("#txt2img_edit_style_prompt")).to_have_value("cats and dogs")
    page.keyboard.press("Escape")
    page.wait_for_load_state("networkidle")
    held = Held(page, "**/gradio_api/run/predict*")
    page.evaluate("document.querySelector('#txt2img_relist_styles').click()")
    held.wait()
    put(server, GOLDEN, GOLDEN | {"name": "Third"})
    page.evaluate("document.querySelector('#txt2img_relist_styles').click()")
    held.let_go()
    page.wait_for_load_state("networkidle")
    choose(page, "Third")
