"""The canvas by finger on a phone, from the first stroke to the picture that is sent on: what the server has is looked at pixel by pixel."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.conftest import set_small, visit
from tests.browser.test_canvas import PHONE, Fingers, Open, Spot, covered, inspect, on_screen, open_canvas, picture, png, sent
from tests.serving import Server


def draw(page: Page, fingers: Fingers, start: Spot, end: Spot) -> None:
    """One finger from here to there on the sheet."""
    spots = on_screen(page, *((start[0] + (end[0] - start[0]) * step / 10, start[1] + (end[1] - start[1]) * step / 10) for step in range(11)))
    fingers.touch("touchStart", spots[0])
    for spot in spots[1:]:
        fingers.touch("touchMove", spot)
    fingers.touch("touchEnd")


def choose(page: Page, element: str) -> None:
    """Choose a mode or a tool, by click: a busy machine answers a touch so late that the browser makes no click of it, and the finger's work here are
    the strokes."""
    page.click(element)
    expect(page.locator(f"{element}:is([aria-selected=true], [aria-pressed=true])")).to_be_visible()


def test_paint_erase_and_undo_by_finger(open_page: Open, server: Server) -> None:
    page = open_canvas(open_page(**PHONE))
    fingers = Fingers(page)
    draw(page, fingers, (40, 60), (160, 60))
    assert covered(server, page, (100, 60), (100, 5)) == [255, 0]
    choose(page, "#canvas_erase")
    draw(page, fingers, (100, 20), (100, 100))
    assert covered(server, page, (100, 60), (50, 60)) == [0, 255]
    page.click("#canvas_undo")
    assert covered(server, page, (100, 60)) == [255]
    page.click("#canvas_redo")
    assert covered(server, page, (100, 60)) == [0]
    page.click("#canvas_undo")
    page.click("#canvas_undo")
    assert sent(page)["mask"] is None


def test_a_stroke_after_pinching_lands_under_the_finger(open_page: Open, server: Server) -> None:
    page = open_canvas(open_page(**PHONE), content=png(800, 600))
    fingers = Fingers(page)
    left, right = on_screen(page, (380, 300), (420, 300))
    before = inspect(page)["scale"]
    fingers.touch("touchStart", left)
    fingers.touch("touchStart", left, right)
    for step in range(1, 11):
        fingers.touch("touchMove", (left[0] - 8 * step, left[1]), (right[0] + 8 * step, right[1]))
    fingers.touch("touchEnd")
    assert inspect(page)["scale"] > before * 3
    page.locator(".knob input[type=range]").first.fill("10")
    draw(page, fingers, (390, 300), (410, 300))
    assert covered(server, page, (400, 300), (400, 312), (400, 288)) == [255, 0, 0]


def test_modes_and_a_reload_keep_what_a_finger_drew(open_page: Open, server: Server) -> None:
    page = open_canvas(open_page(**PHONE))
    fingers = Fingers(page)
    draw(page, fingers, (20, 20), (80, 20))
    choose(page, "#img2img_img2img_sketch_tab")
    draw(page, fingers, (120, 100), (180, 100))
    content = sent(page)
    assert content["mode"] == "sketch" and content["mask"] is None
    assert picture(server, content["colour"]).convert("RGBA").getpixel((150, 100))[3] == 255  # type: ignore[index]
    choose(page, "#img2img_inpaint_tab")
    assert covered(server, page, (50, 20), (150, 100)) == [255, 0]
    before = sent(page)
    page.wait_for_timeout(900)  # written a moment after the finger is up
    visit(page, server)
    page.wait_for_selector("#img2img_image[data-ready]")
    assert [sent(page)[name] for name in ("mode", "image", "mask")] == [before[name] for name in ("mode", "image", "mask")]
    choose(page, "#img2img_inpaint_sketch_tab")
    assert covered(server, page, (50, 20), (150, 100), layer="colour") == [0, 255]


def test_a_finished_picture_is_sent_by_finger(open_page: Open) -> None:
    page = set_small(open_page(**PHONE), "a house to send")
    page.tap("#txt2img_generate")
    expect(page.locator("#html_info_txt2img pre")).to_contain_text("a house to send")
    page.tap("#txt2img_send_to_inpaint")
    expect(page.locator("#img2img_inpaint_tab")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#img2img_canvas .status")).to_contain_text("64 × 64")
