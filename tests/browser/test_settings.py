"""The Settings tab, quicksettings, form defaults, hidden samplers: as a person uses them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Guarded, Held, set_small, visit
from tests.serving import ROOT, Server

Open = Callable[..., Page]


@pytest.fixture(autouse=True)
def as_it_was(server: Server) -> Iterator[None]:
    """Every test begins and ends with default settings and no form defaults."""
    forget(server)
    yield
    forget(server)


def forget(server: Server) -> None:
    """Back to the defaults of everything a test here changes."""
    defaults = {entry["key"]: entry["default"] for section in server.get("settings/schema") for entry in section["settings"]}
    server.http.patch("/api/v1/settings", json=defaults).raise_for_status()
    server.http.delete("/api/v1/defaults").raise_for_status()


def open_settings(page: Page, section: str = "") -> Page:
    """The tab, drawn."""
    tab = page.locator("#tabs [role=tab][data-tab-id=settings]")
    if tab.count():
        tab.click()
    else:  # a phone has no room for it: Gradio puts what is left into a menu
        page.locator("#tabs .overflow-menu > button").first.click()
        page.locator("#tabs .overflow-dropdown button").last.click()
    page.wait_for_selector("#settings_rows .setting")
    if section:
        page.click(f"[data-section={section}]")
    return page


def change(server: Server, **values: object) -> None:
    """Change settings past the page."""
    server.http.patch("/api/v1/settings", json=values).raise_for_status()


def reload(page: Page) -> Page:
    """Load the page again and wait until it is live."""
    page.reload()
    page.wait_for_selector("html[data-easel=ready]")
    return page


def offered(page: Page, field: str) -> list[str]:
    """What a dropdown of the form lists."""
    page.click(f"#{field} input")
    expect(page.get_by_role("option").first).to_be_visible()
    found = page.get_by_role("option").all_inner_texts()
    page.keyboard.press("Escape")
    return [text.replace("✓", "").strip() for text in found]


def test_every_setting_is_on_the_tab_with_help_and_default(open_page: Open, server: Server) -> None:
    page = open_settings(open_page())
    for section in server.get("settings/schema"):
        page.click(f"[data-section={section['id']}]")
        expect(page.locator("#settings_rows h2")).to_have_text(section["title"])
        assert page.locator("#settings_rows .setting").evaluate_all("rows => rows.map(row => row.dataset.key)") == [
            entry["key"] for entry in section["settings"]
        ]
    row = page.locator("#setting_gallery_height")
    expect(row).to_contain_text("Default: (empty)")
    expect(row).to_contain_text("counts after a reload of the page")


def test_search_looks_at_label_key_and_help(open_page: Open) -> None:
    page = open_settings(open_page())
    rows = page.locator("#settings_rows .setting")
    for text, key in (("quality of jpeg", "jpeg_quality"), ("s_min_uncond_all", "s_min_uncond_all"), ("31337", "eta_noise_seed_delta")):
        page.fill("#settings_search", text)
        expect(rows).to_have_count(1)
        expect(rows).to_have_attribute("data-key", key)
    page.fill("#settings_search", "no such words")
    expect(page.locator("#settings_rows")).to_contain_text("No setting has these words")


def test_apply_saves_and_only_changed_shows_it(open_page: Open, server: Server) -> None:
    page = open_settings(open_page())
    expect(page.locator("#settings_submit")).to_be_disabled()
    page.uncheck("#setting_samples_save input")
    page.fill("#setting_jpeg_quality input[type=number]", "66")
    expect(page.locator("#settings_submit")).to_have_text("Apply 2 changed")
    page.click("#settings_submit")
    expect(page.locator(".toast")).to_contain_text("Settings saved")
    found = server.get("settings")
    assert found["samples_save"] is False and found["jpeg_quality"] == 66
    assert json.loads((server.data / "config.json").read_text()) == {"samples_save": False, "jpeg_quality": 66}
    page.check("#settings_only_changed")
    assert page.locator("#settings_rows .setting").evaluate_all("rows => rows.map(row => row.dataset.key)") == ["samples_save", "jpeg_quality"]
    page.get_by_role("tab", name="txt2img").click()
    open_settings(page)  # the tab is as it was left
    expect(page.locator("#settings_rows .setting")).to_have_count(2)
    page.locator("#setting_jpeg_quality .reset").click()
    page.click("#settings_submit")
    expect(page.locator("#settings_submit")).to_be_disabled()  # it is saved
    expect(page.locator("#settings_rows .setting")).to_have_count(1)
    assert server.get("settings")["jpeg_quality"] == 80


def test_a_wrong_value_is_named_at_its_field_and_nothing_is_lost(open_page: Open, server: Server, guarded: Guarded) -> None:
    guarded.tolerated = ("422",)
    page = open_settings(open_page())
    page.uncheck("#setting_save_incomplete_images input")
    page.fill("#setting_jpeg_quality input[type=number]", "500")
    page.click("[data-section=ui]")
    page.click("#settings_submit")
    expect(page.locator("#setting_jpeg_quality .field-error")).to_contain_text("less than or equal to 100")
    expect(page.locator("#setting_jpeg_quality input[type=number]")).to_be_focused()
    assert page.input_value("#setting_jpeg_quality input[type=number]") == "500"
    assert server.get("settings")["save_incomplete_images"] is True
    page.fill("#setting_jpeg_quality input[type=number]", "50")
    expect(page.locator(".field-error")).to_have_count(0)
    open_settings(reload(page))  # what is not applied yet survives
    expect(page.locator("#settings_submit")).to_have_text("Apply 2 changed")
    assert page.input_value("#setting_jpeg_quality input[type=number]") == "50"
    page.click("#settings_discard")
    expect(page.locator("#setting_save_incomplete_images input")).to_be_checked()


def test_hidden_samplers_leave_only_the_list(open_page: Open, server: Server) -> None:
    page = open_page()
    assert "Euler" in offered(page, "txt2img_sampling")
    open_settings(page, "sampler-params")
    page.select_option("#setting_hide_samplers select", "Euler")
    page.select_option("#setting_hide_samplers select", "DPM++ 2M")
    page.select_option("#setting_hide_schedulers select", "Karras")
    page.click("#settings_submit")
    expect(page.locator(".toast")).to_contain_text("Reload the page")
    page.click("#settings_restart_gradio")
    page.wait_for_selector("html[data-easel=ready]")
    page.get_by_role("tab", name="txt2img").click()  # the page opens where it was left
    names = offered(page, "txt2img_sampling")
    assert "Euler" not in names and "Euler a" in names and "DPM++ 2M" in names  # what is chosen stays
    assert "Karras" not in offered(page, "txt2img_scheduler")
    server.wait(server.submit(sampler="Euler"), "done")


def test_quicksettings_count_at_once(open_page: Open, server: Server) -> None:
    change(server, quicksettings_list=["CLIP_stop_at_last_layers", "no_such_setting", "sd_model_checkpoint", "samples_save"])
    page = open_page()
    page.fill("#setting_CLIP_stop_at_last_layers input[type=number]", "2")
    page.uncheck("#setting_samples_save input")
    wait_for(page, server, "samples_save", False)
    wait_for(page, server, "CLIP_stop_at_last_layers", 2)
    expect(page.locator("#easel_quicksettings .quick")).to_have_count(2)  # what this server has not is left out
    assert page.locator("#setting_sd_model_checkpoint").is_visible()
    change(server, quicksettings_list=["samples_save"])
    reload(page)
    expect(page.locator("#setting_samples_save input")).not_to_be_checked()
    assert not page.locator("#setting_sd_model_checkpoint").is_visible()
    open_settings(page)
    assert page.locator("[id=setting_samples_save]").count() == 1


def wait_for(page: Page, server: Server, key: str, value: object) -> None:
    """Until the server has the value."""
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        if server.get("settings")[key] == value:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{key} is {server.get('settings')[key]}")


def test_the_form_can_be_saved_as_defaults_and_put_back(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), "my house", steps=7)
    open_settings(page)
    page.click("[data-section=defaults]")
    expect(page.locator("#ui_defaults_review [data-field=steps]")).to_contain_text("Sampling steps")
    expect(page.locator("#ui_defaults_review [data-field=steps]")).to_contain_text("20")
    page.click("#ui_defaults_apply")
    expect(page.locator(".toast")).to_contain_text("Saved")
    content = json.loads((server.data / "ui-config.json").read_text())
    assert content["txt2img/Width/value"] == 64 and content["customscript/sampler.py/txt2img/Sampling steps/value"] == 7
    fresh = open_page()  # a new profile: no draft
    assert fresh.input_value("#txt2img_steps input[type=number]") == "7" and fresh.input_value("#txt2img_prompt textarea") == "my house"
    fresh.fill("#txt2img_steps input[type=number]", "9")
    fresh.wait_for_timeout(300)
    open_settings(fresh)
    fresh.click("[data-section=defaults]")
    fresh.click("#ui_defaults_reset_form")
    expect(fresh.locator(".toast")).to_contain_text("as it begins")
    assert fresh.input_value("#txt2img_steps input[type=number]") == "7"
    fresh.click(".toast-action")
    fresh.wait_for_function("document.querySelector('#txt2img_steps input[type=number]')?.value === '9'")


def test_ends_and_visibility_come_from_the_file_and_mistakes_are_named(open_page: Open, server: Server) -> None:
    (server.data / "ui-config.json").write_text(json.dumps({
        "txt2img/Width/maximum": 1024, "txt2img/Width/value": 640, "txt2img_cfg_scale/visible": False, "txt2img/Height/value": "tall",
    }))
    page = open_page()
    assert page.get_attribute("#txt2img_width input[type=range]", "max") == "1024"
    assert page.input_value("#txt2img_width input[type=number]") == "640"
    assert not page.locator("#txt2img_cfg_scale").is_visible()
    expect(page.locator("#easel_notices")).to_contain_text("txt2img/Height/value")
    (server.data / "ui-config.json").unlink()


def test_settings_of_the_page(open_page: Open, server: Server) -> None:
    change(server, disable_token_counters=True, gallery_height="321", localization="ru", show_progressbar=False)
    change(server, sd_checkpoint_dropdown_use_short=True)
    page = open_page(locale="en-US")
    words = json.loads((ROOT / "webui" / "ui" / "web" / "i18n" / "ru.json").read_text(encoding="utf-8"))
    expect(page.locator("#txt2img_generate")).to_have_text(words["generate"])
    expect(page.locator("#txt2img_prompt")).to_contain_text(words["prompt"])
    assert not page.locator("#txt2img_token_counter .count").is_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('.stage')).minHeight") == "321px"
    assert page.evaluate("getComputedStyle(document.querySelector('.progress')).display") == "none"
    assert page.input_value("#setting_sd_model_checkpoint input") == "tiny"
    open_settings(page, "sampler-params")
    expect(page.locator("#setting_rho")).to_contain_text("Karras")
    expect(page.locator("#settings_rows h2")).to_have_text("Параметры семплеров")


def test_what_a_click_on_the_picture_and_on_save_does(open_page: Open, server: Server) -> None:
    change(server, js_modal_lightbox=False, save_selected_only=False, outdir_save="kept")
    page = open_page()
    server.wait(server.submit(batch_count=2, seed=5), "done")
    page.wait_for_function("document.querySelectorAll('.thumb[data-picture]:not(.live)').length >= 2")
    page.click(".stage .big")
    assert page.locator("dialog[open]").count() == 0
    page.click("#save_txt2img")
    expect(page.locator(".toast")).to_contain_text("2 pictures saved")
    assert len(list((server.data / "kept").glob("*.png"))) == 2


def test_the_tab_works_on_a_phone_and_in_the_dark(open_page: Open, server: Server) -> None:
    page = open_settings(open_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme="dark"), "sampler-params")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator("#setting_s_churn input[type=number]")
    box.fill("2.5")
    page.click("#settings_submit")
    expect(page.locator(".toast")).to_contain_text("Settings saved")
    assert server.get("settings")["s_churn"] == 2.5
    visit(page, server)


def test_tabs_come_in_their_order_and_hidden_ones_do_not(open_page: Open, server: Server) -> None:
    change(server, ui_tab_order=["Settings", "PNG Info"], hidden_tabs=["txt2img", "img2img", "Extras", "Models"])
    page = open_page()
    shown = page.locator("#tabs [role=tab]:visible")
    expect(shown).to_have_text(["Settings", "PNG Info"])
    expect(page.locator("#tabs [role=tab][aria-selected=true]")).to_have_text("Settings")
    page.wait_for_selector("#settings_rows .setting")
    change(server, ui_tab_order=["PNG Info"], hidden_tabs=["Models", "Settings", "img2img", "Extras"])  # which stays: it is the way back
    expect(reload(page).locator("#tabs [role=tab]:visible")).to_have_text(["PNG Info", "txt2img", "Settings"])
    page.get_by_role("tab", name="txt2img").click()
    expect(page.locator("#txt2img_prompt textarea")).to_be_visible()


def test_what_is_edited_while_the_server_answers_stays(guarded: Guarded, server: Server) -> None:
    page = open_settings(visit(guarded.context().new_page(), server), "saving-images")
    pattern = page.locator("#settings_rows [data-key=samples_filename_pattern] input")
    held = Held(page, "**/api/v1/settings", method="GET")
    page.locator("#tabs [role=tab][data-tab-id=settings]").click()  # they are read again
    held.wait()
    pattern.fill("[se")
    held.let_go()
    page.keyboard.type("ed]")
    expect(pattern).to_have_value("[seed]")
    held = Held(page, "**/api/v1/settings", method="PATCH")
    page.click("#settings_submit")
    held.wait()
    pattern.fill("[seed]-[steps]")
    held.let_go()
    expect(page.locator("#settings_submit")).to_have_text("Apply 1 changed")
    expect(pattern).to_have_value("[seed]-[steps]")
    assert server.get("settings")["samples_filename_pattern"] == "[seed]"
    held = Held(page, "**/api/v1/settings", method="GET")
    page.locator("#tabs [role=tab][data-tab-id=settings]").click()
    held.wait()
    page.click("#settings_submit")
    page.wait_for_timeout(500)  # it could be saved by now
    held.let_go()
    expect(page.locator(".toast").last).to_contain_text("saved")
    expect(page.locator("#settings_submit")).to_be_disabled()
    expect(pattern).to_have_value("[seed]-[steps]")
