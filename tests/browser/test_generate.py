"""From click to picture, and what a person can do meanwhile."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import Guarded, finished, set_small, visit
from tests.serving import Server

Open = Callable[..., Page]


def test_generate_shows_the_picture_and_its_parameters(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), "a red house on a hill")
    before = page.locator(".thumb").count()
    page.click("#txt2img_generate")
    expect(page.locator("#html_info_txt2img pre")).to_contain_text("a red house on a hill")
    finished(page, before + 1)
    page.wait_for_function("document.querySelector('.stage .picture').naturalWidth === 64")
    expect(page.locator("#html_info_txt2img pre")).to_contain_text("Steps: 4, Sampler: DPM++ 2M")
    newest = server.jobs()[0]
    assert (newest["status"], newest["title"], newest["pictures"]) == ("done", "a red house on a hill", 1)


def test_ctrl_enter_in_the_prompt_generates(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), "by keyboard")
    page.focus("#txt2img_prompt textarea")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#html_info_txt2img pre")).to_contain_text("by keyboard")
    assert page.input_value("#txt2img_prompt textarea") == "by keyboard"  # no line break slipped in


def test_preview_and_progress_move_while_it_runs(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), steps=150)
    page.fill("#txt2img_batch_count input[type=number]", "20")
    page.click("#txt2img_generate")
    expect(page.locator(".stage.live .picture")).to_have_attribute("src", re.compile("^data:image/"))
    expect(page.locator("#txt2img_gallery .progress-text")).to_contain_text("of 150 · picture 1 of 20")
    first = page.get_attribute(".progress", "aria-valuenow")
    page.wait_for_function("first => document.querySelector('.progress').getAttribute('aria-valuenow') !== first", arg=first)
    assert "%" in page.title()
    spoken = page.inner_text(".viewer [aria-live]")
    assert spoken
    assert "Step" not in spoken  # a screen reader is not told every step


def test_escape_interrupts_and_keeps_the_partial(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), "stop me", steps=150)
    page.fill("#txt2img_batch_count input[type=number]", "30")
    page.click("#txt2img_generate")
    page.wait_for_selector(".stage.live")
    page.focus("#txt2img_prompt textarea")
    page.keyboard.press("Escape")
    expect(page.locator(".stage:not(.working) .badge")).to_be_visible()
    job = server.jobs()[0]
    assert job["status"] == "interrupted"
    assert server.get(f"jobs/{job['id']}")["pictures"][-1]["partial"]


def test_alt_enter_skips_to_the_next_batch(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), "skip me", steps=150)
    page.fill("#txt2img_batch_count input[type=number]", "2")
    page.click("#txt2img_generate")
    page.wait_for_selector(".stage.live")
    page.focus("#txt2img_prompt textarea")
    page.keyboard.press("Alt+Enter")
    done = server.wait(server.jobs()[0]["id"], "done")
    assert [picture["partial"] for picture in done["pictures"]] == [True, False]


def test_reload_in_mid_job_shows_it_again_within_a_second(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), "reload me", steps=150)
    page.fill("#txt2img_batch_count input[type=number]", "40")
    page.click("#txt2img_generate")
    page.wait_for_selector(".stage.live")
    page.reload()
    page.wait_for_selector("html[data-easel=ready]")
    page.wait_for_selector(".stage.live", timeout=1000)
    assert page.is_enabled("#txt2img_interrupt")
    assert page.input_value("#txt2img_prompt textarea") == "reload me"


def test_a_second_tab_sees_the_same(guarded: Guarded, server: Server) -> None:
    context = guarded.context()
    first, second = (visit(page, server) for page in (context.pages[0], context.new_page()))
    set_small(first, "seen twice", steps=150)
    first.fill("#txt2img_batch_count input[type=number]", "20")
    first.click("#txt2img_generate")
    for page in (first, second):
        page.wait_for_selector(".stage.live")
    second.click("#txt2img_interrupt")
    for page in (first, second):
        page.wait_for_selector(".stage:not(.working) .picture")
        expect(page.locator("#html_info_txt2img pre")).to_contain_text("seen twice")


def test_each_tab_keeps_its_own_form_and_a_new_one_gets_what_was_said_last(guarded: Guarded, server: Server) -> None:
    def says(page: Page, prompt: str, cfg: str) -> None:
        expect(page.locator("#txt2img_prompt textarea")).to_have_value(prompt)
        expect(page.locator("#txt2img_cfg_scale input[type=number]")).to_have_value(cfg)

    context = guarded.context()
    first, second = visit(context.pages[0], server), context.new_page()
    first.fill("#txt2img_prompt textarea", "of the first")
    first.wait_for_function("easel.draft.prompt === 'of the first'")
    says(visit(second, server), "of the first", "7")
    second.fill("#txt2img_prompt textarea", "of the second")
    second.wait_for_function("easel.draft.prompt === 'of the second'")
    first.fill("#txt2img_cfg_scale input[type=number]", "4")
    first.wait_for_function("easel.draft.cfg_scale === 4")
    says(visit(second, server), "of the second", "7")
    says(visit(first, server), "of the first", "4")
    says(visit(context.new_page(), server), "of the second", "4")


def test_eight_tabs_open_and_generate_works_in_each(guarded: Guarded, server: Server) -> None:
    context = guarded.context()
    tabs = [visit(page, server) for page in (context.pages[0], *(context.new_page() for _ in range(7)))]
    for number, page in enumerate(tabs):
        set_small(page, f"tab number {number}")
        page.click("#txt2img_generate")
        page.wait_for_selector(f"#html_info_txt2img pre:has-text('tab number {number}')")
    tabs[0].close()  # the tab that held the stream
    set_small(tabs[5], "after the first tab is gone").click("#txt2img_generate")
    for page in tabs[1:]:
        page.wait_for_selector("#html_info_txt2img pre:has-text('after the first tab')")


def test_tabs_share_the_stream_without_web_locks_too(guarded: Guarded, server: Server) -> None:
    context = guarded.context()  # a page on plain http that is not localhost (--listen) has no navigator.locks
    tabs = [context.new_page() for _ in range(3)]
    for page in tabs:
        page.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
        visit(page, server)
    for page in tabs:
        page.wait_for_function("localStorage.getItem('easel.stream')")
    set_small(tabs[1], "no locks here").click("#txt2img_generate")
    for page in tabs:
        page.wait_for_selector("#html_info_txt2img pre:has-text('no locks here')")
    tabs[0].close()
    set_small(tabs[1], "the next one holds it").click("#txt2img_generate")
    for page in tabs[1:]:
        page.wait_for_selector("#html_info_txt2img pre:has-text('the next one holds it')")


def test_lightbox_walks_through_the_pictures(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), "four of them")
    page.fill("#txt2img_batch_count input[type=number]", "3")
    page.click("#txt2img_generate")
    finished(page, 3)
    page.wait_for_selector(".stage:not(.working)")
    page.click(".stage .big")
    shown = page.get_attribute(".lightbox img", "src")
    page.keyboard.press("ArrowLeft")
    earlier = page.get_attribute(".lightbox img", "src")
    assert earlier != shown
    page.keyboard.press("ArrowRight")
    assert page.get_attribute(".lightbox img", "src") == shown
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    expect(page.locator(".lightbox")).not_to_be_visible()
    assert page.get_attribute(".stage .picture", "src") == earlier  # the last one looked at stays chosen


def test_save_zip_download_and_reuse_seed(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), "keep this")
    page.fill("#txt2img_batch_count input[type=number]", "2")
    page.click("#txt2img_generate")
    server.wait(server.jobs()[0]["id"], "done")
    page.wait_for_selector(".stage:not(.working) .picture")
    expect(page.locator("#html_info_txt2img pre")).to_contain_text("keep this")
    page.click("#save_txt2img")
    expect(page.locator(".toast")).to_contain_text("log/images")
    assert list(Path(server.data, "log", "images").rglob("*.png"))
    with page.expect_download() as bundle:
        page.click("#save_zip_txt2img")
    names = zipfile.ZipFile(io.BytesIO(Path(bundle.value.path()).read_bytes())).namelist()
    assert len(names) == 2
    with page.expect_download() as single:
        page.click("#download_txt2img")
    assert Path(single.value.path()).read_bytes()[:4] == b"\x89PNG"
    last = server.get(f"jobs/{server.jobs()[0]['id']}")["pictures"][-1]
    page.click("#txt2img_reuse_seed")
    assert page.input_value("#txt2img_seed input") == str(last["seed"])
    page.click("#txt2img_random_seed")
    assert page.input_value("#txt2img_seed input") == "-1"


def test_a_failed_job_says_why_and_how_to_go_on(open_page: Open, server: Server) -> None:
    page = open_page()
    broken = server.data / "models" / "Stable-diffusion" / "gone.safetensors"
    broken.write_bytes((server.data / "models" / "Stable-diffusion" / "tiny.safetensors").read_bytes())
    server.post("checkpoints/refresh")
    blocker = server.submit(prompt="first", steps=150, batch_count=10, checkpoint="tiny.safetensors")  # the other one comes first in the list
    doomed = server.submit(prompt="without a model", checkpoint="gone.safetensors")
    broken.unlink()
    server.wait(blocker, "running")  # the job before may still be on the device
    server.post(f"jobs/{blocker}/interrupt")
    server.wait(doomed, "failed")
    expect(page.locator(".fail")).to_contain_text("gone.safetensors")
    page.locator(".fail").get_by_role("button", name="Dismiss").click()  # messages have one, too
    expect(page.locator(".fail")).not_to_be_visible()
    server.post("checkpoints/refresh")
