"""Batch over a folder of the server: named, refused at its field, run as one job, kept over a reload; by mouse and by finger."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Guarded, finished
from tests.browser.test_canvas import PHONE, Open, png
from tests.serving import Server


@pytest.fixture
def folder(server: Server) -> Iterator[Path]:
    """A folder of three files, one of them broken, and one mask."""
    folder, masks = server.data / "holiday", server.data / "holiday masks"
    for place in (folder, masks):
        place.mkdir()
    (folder / "1.png").write_bytes(png(64, 64, "#800000"))
    (folder / "2.png").write_bytes(png(64, 64)[:60])
    (folder / "10.png").write_bytes(png(64, 64, "#000080"))
    (masks / "all.png").write_bytes(png(64, 64, "white"))
    yield folder
    shutil.rmtree(folder)
    shutil.rmtree(masks)


def open_batch(page: Page) -> Page:
    """The part of the tab where folders are named, with a small form."""
    page.click("#tab_img2img-button")
    page.wait_for_selector("#img2img_image[data-ready]")
    page.click("#img2img_batch_tab")
    page.click("#img2img_batch_from_dir_tab")
    for field, value in (("width", 64), ("height", 64), ("steps", 2)):
        page.fill(f"#img2img_{field} input[type=number]", str(value))
    return page


def run_jobs(server: Server, before: set[str]) -> list[dict]:
    """What was put in line since, done. A notice of the same words may be there from an earlier test, so it is waited for."""
    limit = time.monotonic() + 30
    while time.monotonic() < limit and all(job["id"] in before for job in server.jobs()):
        time.sleep(0.05)
    return [server.wait(job["id"], "done") for job in server.jobs() if job["id"] not in before]


def test_a_folder_is_one_job_and_a_broken_picture_is_named(open_page: Open, server: Server, folder: Path, guarded: Guarded) -> None:
    guarded.tolerated = ("422",)
    page = open_batch(open_page())
    page.click("#img2img_generate")
    expect(page.locator("#img2img_batch_input_dir .field-error")).to_contain_text("folder")
    page.fill("#img2img_batch_input_dir input", "/etc")
    page.click("#img2img_generate")
    expect(page.locator("#img2img_batch_input_dir .field-error")).to_contain_text(str(server.data))
    page.fill("#img2img_batch_input_dir input", "holiday")
    expect(page.locator("#img2img_batch .field-error")).to_have_count(0)
    page.fill("#img2img_batch_inpaint_mask_dir input", "holiday masks")
    page.fill("#img2img_batch_output_dir input", "holiday done")
    before = {job["id"] for job in server.jobs()}
    page.click("#img2img_generate")
    expect(page.locator(".notice", has_text="2.png").first).to_contain_text("1 of 3 pictures were left out")
    [job] = run_jobs(server, before)
    assert [picture["key"] for picture in job["pictures"]] == ["1.png/0", "10.png/0"]
    assert len(list((server.data / "outputs" / "holiday done").glob("*.png"))) == 2
    finished(page, 2)


def test_folders_are_kept_over_a_reload_and_work_by_finger(open_page: Open, server: Server, folder: Path) -> None:
    page = open_batch(open_page(**PHONE))
    page.fill("#img2img_batch_input_dir input", "holiday")
    page.check("#img2img_batch_use_png_info")
    page.fill("#img2img_batch_png_info_dir input", "holiday masks")
    page.reload()
    page.wait_for_selector("html[data-easel=ready]")
    page.wait_for_selector("#img2img_batch_input_dir")
    expect(page.locator("#img2img_batch_input_dir input")).to_have_value("holiday")
    expect(page.locator("#img2img_batch_png_info_dir")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    before = {job["id"] for job in server.jobs()}
    page.tap("#img2img_generate")
    expect(page.locator(".notice", has_text="2.png").first).to_be_visible()
    [job] = run_jobs(server, before)
    assert job["request"]["batch"]["input_dir"] == "holiday" and job["request"]["mode"] == "img2img"
