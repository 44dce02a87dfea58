"""The canvas of img2img by mouse, finger and key: what is painted is what the server gets, nothing is lost, everything can be taken back."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable

from PIL import Image
from playwright.sync_api import CDPSession, FilePayload, Page, expect

from tests.browser.conftest import set_small, visit
from tests.serving import Server

Open = Callable[..., Page]
Spot = tuple[float, float]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DROP = """([where, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], 'a.png', { type: 'image/png' }));
  const about = { dataTransfer: data, bubbles: true, cancelable: true };
  for (const type of ['dragenter', 'dragover', 'drop']) document.querySelector(where).dispatchEvent(new DragEvent(type, about));
}"""


def png(width: int = 200, height: int = 120, colour: str = "#204060") -> bytes:
    """A plain picture."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "PNG")
    return file.getvalue()


def open_canvas(page: Page, mode: str = "inpaint", content: bytes | None = None) -> Page:
    """Go to the tab, open a picture, choose a mode."""
    page.click("#tab_img2img-button")
    page.wait_for_selector("#img2img_image[data-ready]")
    page.set_input_files("#img2img_image_file", {"name": "a.png", "mimeType": "image/png", "buffer": content or png()})
    page.wait_for_selector("#canvas_brush", state="attached")
    expect(page.locator(".sheet .invite")).to_be_hidden()
    page.click(f".modes [data-mode={mode}]")
    page.locator("#img2img_canvas").scroll_into_view_if_needed()
    return page


def inspect(page: Page) -> dict:
    """Where the sheet is, and what was done."""
    return page.evaluate("import(`/${easelPage.web}/canvas.js`).then((canvas) => canvas.inspect())")


def on_screen(page: Page, *spots: Spot) -> list[Spot]:
    """Points of the sheet as points of the window."""
    page.locator(".sheet").scroll_into_view_if_needed()
    seen = inspect(page)
    return [(seen["left"] + x * seen["scale"], seen["top"] + y * seen["scale"]) for x, y in spots]


def drag(page: Page, *spots: Spot, button: str = "left") -> None:
    """Draw through points of the sheet."""
    first, *others = on_screen(page, *spots)
    page.mouse.move(*first)
    page.mouse.down(button=button)  # type: ignore[arg-type]
    for spot in others:
        page.mouse.move(*spot, steps=6)
    page.mouse.up(button=button)  # type: ignore[arg-type]


def sent(page: Page) -> dict:
    """What Generate would send; files that are not on the server yet go there."""
    return page.evaluate("import(`/${easelPage.web}/forms.js`).then((forms) => forms.now('img2img'))")


def picture(server: Server, ref: dict) -> Image.Image:
    """A picture of the server's store."""
    found = Image.open(io.BytesIO(server.http.get(f"/api/v1/images/{ref['sha256']}").raise_for_status().content))
    assert found.size == (ref["width"], ref["height"])
    return found


def covered(server: Server, page: Page, *spots: tuple[int, int], layer: str = "mask") -> list[int]:
    """How opaque a layer is at these points, as the server has it: a mask in grey, strokes with transparency."""
    ref = sent(page)[layer]
    if ref is None:
        return [0] * len(spots)
    found = picture(server, ref)
    assert found.mode == ("L" if layer == "mask" else "RGBA")
    return list(map(found.getchannel(found.mode[-1]).getpixel, spots))  # type: ignore[arg-type]


def test_paint_erase_undo_redo_reach_the_server(open_page: Open, server: Server) -> None:
    page = open_canvas(open_page())
    content = sent(page)
    assert content["mode"] == "inpaint" and content["mask"] is content["colour"] is None
    assert server.http.get(f"/api/v1/images/{content['image']['sha256']}").content == png()  # the file itself, not a copy
    drag(page, (40, 60), (160, 60))
    assert covered(server, page, (100, 60), (100, 10), (10, 60)) == [255, 0, 0]
    page.click("#canvas_erase")
    drag(page, (100, 30), (100, 90))
    assert covered(server, page, (100, 60), (60, 60)) == [0, 255]
    page.keyboard.press("Control+z")
    assert covered(server, page, (100, 60)) == [255]
    page.keyboard.press("Control+Shift+z")
    assert covered(server, page, (100, 60)) == [0]
    page.click("#canvas_undo")
    page.click("#canvas_undo")
    assert sent(page)["mask"] is None
    drag(page, (100, 60), (101, 60), button="right")  # nothing there to erase
    assert sent(page)["mask"] is None


def test_a_stroke_on_a_zoomed_sheet_lands_where_the_pointer_is(open_page: Open, server: Server) -> None:
    page = open_canvas(open_page(), content=png(800, 600))
    spot = on_screen(page, (700, 500))[0]
    page.mouse.move(*spot)
    before = inspect(page)["scale"]
    for _ in range(4):
        page.mouse.wheel(0, -300)
        page.wait_for_timeout(60)
    assert inspect(page)["scale"] > before * 3
    page.fill(".knob input[type=number] >> nth=0", "10")
    drag(page, (690, 500), (710, 500))
    assert covered(server, page, (700, 500), (700, 510), (700, 490), (680, 500)) == [255, 0, 0, 0]
    page.locator(".sheet").focus()
    page.keyboard.press("0")
    expect(page.locator(".percent")).to_contain_text("%")
    assert inspect(page)["scale"] == before


def test_modes_share_picture_and_strokes_and_send_what_counts(open_page: Open, server: Server) -> None:
    page = open_canvas(open_page())
    drag(page, (20, 20), (60, 20))
    page.click("#img2img_img2img_sketch_tab")
    page.fill("#canvas_colour", "#00ff80")
    drag(page, (120, 100), (180, 100))
    content = sent(page)
    assert content["mode"] == "sketch" and content["mask"] is None
    assert picture(server, content["colour"]).convert("RGBA").getpixel((150, 100)) == (0, 255, 128, 255)
    page.click("#img2img_img2img_tab")
    assert {name: sent(page)[name] for name in ("mode", "colour", "mask")} == {"mode": "img2img", "colour": None, "mask": None}
    page.click("#img2img_inpaint_tab")
    assert covered(server, page, (40, 20), (150, 100)) == [255, 0]
    page.click("#img2img_inpaint_sketch_tab")
    assert covered(server, page, (40, 20), (150, 100), layer="colour") == [0, 255]
    expect(page.locator("#img2img_mask_alpha")).to_be_visible()
    page.click("#img2img_img2img_tab")
    expect(page.locator("#img2img_mask_blur")).to_be_hidden()


def test_a_reload_brings_picture_strokes_and_mode_back(open_page: Open, server: Server) -> None:
    page = open_canvas(open_page())
    drag(page, (40, 60), (160, 60))
    before = sent(page)
    page.wait_for_timeout(900)  # written a moment after the pen is up
    visit(page, server)
    page.wait_for_selector("#img2img_image[data-ready]")  # the tab that was open is opened again
    after = sent(page)
    assert [after[name] for name in ("mode", "image", "mask")] == [before[name] for name in ("mode", "image", "mask")]
    drag(page, (100, 20), (100, 100))
    assert covered(server, page, (60, 60), (100, 25)) == [255, 255]


def test_fill_lasso_rectangle_and_what_is_done_to_a_mask(open_page: Open, server: Server) -> None:
    page = open_canvas(open_page())
    colour = "document.getElementById('canvas_rect').matches('[aria-pressed=true]') && getComputedStyle(canvas_rect).backgroundColor"
    assert page.evaluate(colour) is False
    page.click("#canvas_rect")
    assert page.evaluate(colour) != "rgba(0, 0, 0, 0)"  # one sees which tool is chosen
    drag(page, (20, 20), (80, 80))
    assert covered(server, page, (50, 50), (21, 21), (90, 50)) == [255, 255, 0]
    page.click("#canvas_invert")
    assert covered(server, page, (50, 50), (90, 50)) == [0, 255]
    page.click("#canvas_fill")
    drag(page, (50, 50))
    assert covered(server, page, (50, 50), (90, 50)) == [255, 255]
    page.click("#canvas_clear_mask")
    page.click("#canvas_lasso")
    drag(page, (100, 20), (180, 20), (180, 100), (100, 20))
    assert covered(server, page, (160, 40), (110, 90)) == [255, 0]
    page.click("#canvas_grow")
    assert covered(server, page, (140, 17), (140, 12)) == [255, 0]
    page.click("#canvas_shrink")
    assert covered(server, page, (140, 15), (160, 40)) == [0, 255]
    mask = Image.new("L", (100, 60))
    mask.paste(255, (0, 0, 50, 60))
    file = io.BytesIO()
    mask.save(file, "PNG")
    page.set_input_files("#img_inpaint_mask_file", {"name": "m.png", "mimeType": "image/png", "buffer": file.getvalue()})
    expect(page.locator(".toast").last).to_contain_text("100×60")
    assert covered(server, page, (20, 100), (150, 40)) == [255, 0]


def test_sixty_strokes_can_be_taken_back_and_done_again(open_page: Open, server: Server) -> None:
    page = open_canvas(open_page())
    page.fill(".knob input[type=number] >> nth=0", "3")
    spots = on_screen(page, *((4 + 3 * number, height) for number in range(60) for height in (10, 20)))
    for begin, end in zip(spots[::2], spots[1::2], strict=True):
        page.mouse.move(*begin)
        page.mouse.down()
        page.mouse.move(*end)
        page.mouse.up()
    assert inspect(page)["steps"] >= 60
    page.locator(".sheet").focus()
    page.keyboard.down("Control")
    for _ in range(59):
        page.keyboard.press("z")
    assert covered(server, page, (4, 15), (7, 15)) == [255, 0]
    for _ in range(59):
        page.keyboard.press("y")
    page.keyboard.up("Control")
    assert covered(server, page, (4, 15), (4 + 3 * 59, 15)) == [255, 255]


def test_the_frame_pulled_beyond_the_picture_gives_room_and_mask(open_page: Open, server: Server) -> None:
    page = open_canvas(open_page(), mode="img2img")
    page.click("#canvas_frame")
    page.click("#canvas_out")
    drag(page, (198, 60), (262, 60))
    expect(page.locator("#img2img_canvas .status")).to_contain_text("264 × 120")
    expect(page.locator("#img2img_width input[type=number]")).to_have_value("672")  # 512 for 200 pixels before: as large as it was, not squeezed
    expect(page.locator("#img2img_height input[type=number]")).to_have_value("512")
    content = sent(page)
    assert content["mode"] == "inpaint"
    whole = picture(server, content["image"]).convert("RGBA")
    assert (whole.getpixel((230, 60))[3], whole.getpixel((100, 60))) == (0, (0x20, 0x40, 0x60, 255))  # type: ignore[index]
    assert covered(server, page, (230, 60), (196, 60), (100, 60)) == [255, 255, 0]
    page.fill(".side input >> nth=1", "40")
    page.click("#canvas_extend")
    expect(page.locator("#img2img_canvas .status")).to_contain_text("264 × 160")
    page.click("#canvas_undo")
    page.click("#canvas_undo")
    expect(page.locator("#img2img_canvas .status")).to_contain_text("200 × 120")
    assert sent(page)["mask"] is None and sent(page)["image"]["width"] == 200
    expect(page.locator("#img2img_width input[type=number]")).to_have_value("512")


def test_only_masked_shows_its_frame_and_size_follows_the_picture(open_page: Open) -> None:
    page = open_canvas(open_page(), content=png(640, 320))
    drag(page, (300, 160), (340, 160))
    page.click("#img2img_detect_image_size_btn")
    expect(page.locator("#img2img_width input[type=number]")).to_have_value("640")
    expect(page.locator("#img2img_height input[type=number]")).to_have_value("320")
    count = """() => {
      const canvas = document.querySelector('.sheet canvas'), pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      let white = 0;
      for (let at = 0; at < pixels.length; at += 4) white += pixels[at] > 250 && pixels[at + 1] > 250 && pixels[at + 2] > 250;
      return white;
    }"""
    page.wait_for_timeout(400)
    before = page.evaluate(count)
    page.check("#img2img_inpaint_full_res input")
    page.wait_for_function(f"(before) => ({count})() > before + 50", arg=before)


def test_a_dropped_picture_opens_here_and_not_in_the_dialog(open_page: Open) -> None:
    page = open_canvas(open_page())
    drag(page, (40, 60), (160, 60))
    page.evaluate(DROP, [".sheet", list(png(96, 64))])
    expect(page.locator("#img2img_canvas .status")).to_contain_text("96 × 64")
    expect(page.locator("#easel_paste")).to_have_count(0)
    page.locator(".sheet").focus()
    page.keyboard.press("Control+z")  # the picture before, with its mask
    expect(page.locator("#img2img_canvas .status")).to_contain_text("200 × 120")
    assert sent(page)["mask"] is not None


def test_a_picture_of_the_gallery_is_sent_and_its_parameters_where_nothing_is_written(open_page: Open) -> None:
    page = set_small(open_page(), "a house to send")
    page.click("#txt2img_generate")
    expect(page.locator("#html_info_txt2img pre")).to_contain_text("a house to send")
    page.click("#txt2img_send_to_inpaint")
    expect(page.locator("#img2img_inpaint_tab")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#img2img_canvas .status")).to_contain_text("64 × 64")
    expect(page.locator("#img2img_gallery .picture")).to_be_visible()  # the viewer has come along
    prompt = page.locator("#img2img_prompt textarea")
    expect(prompt).to_have_value("a house to send")
    expect(page.locator("#img2img_steps input[type=number]")).to_have_value("4")
    expect(page.locator("#img2img_width input[type=number]")).to_have_value("64")
    page.get_by_role("button", name="Undo", exact=True).click()
    expect(prompt).to_have_value("")
    size = page.locator("#img2img_canvas .status")
    expect(size).not_to_contain_text("64 × 64")  # nothing lay there before
    page.locator(".sheet").focus()
    page.keyboard.press("Control+y")
    expect(size).to_contain_text("64 × 64")
    page.click("#canvas_undo")
    expect(size).not_to_contain_text("64 × 64")
    assert sent(page)["image"] is None
    page.wait_for_timeout(500)  # the empty sheet is kept
    page.reload()
    page.wait_for_selector(".sheet[data-ready]")
    expect(size).not_to_contain_text("64 × 64")
    expect(page.locator("#canvas_undo")).to_be_disabled()
    prompt.fill("words of one's own")
    page.click("#tab_txt2img-button")
    expect(page.locator("#txt2img_gallery .picture")).to_be_visible()
    page.click("#txt2img_send_to_inpaint")
    page.get_by_role("button", name="Parameters…").click()
    expect(prompt).to_have_value("words of one's own")
    page.get_by_role("button", name=re.compile("^Apply")).click()
    expect(prompt).to_have_value("a house to send")


def grown(page: Page, before: int) -> int:
    """The bytes that went up, once there are more than `before` and no more follow."""
    limit, seen, since = time.monotonic() + 120, before, time.monotonic()
    while time.monotonic() < limit:
        if (now := inspect(page)["sent"]) != seen:
            seen, since = now, time.monotonic()
        elif seen > before and time.monotonic() > since + 2:  # they go up 1.5 s after the pen rests
            return seen
        page.wait_for_timeout(100)
    raise AssertionError("nothing went up")


def test_what_is_chosen_while_a_picture_is_read_stays_and_the_parts_go_up_by_themselves(open_page: Open) -> None:
    page = open_canvas(open_page(), mode="img2img")
    page.evaluate("""async (bytes) => {
      const opened = (await import(`/${easelPage.web}/canvas.js`)).openPicture(new Blob([new Uint8Array(bytes)], { type: 'image/png' }));
      document.getElementById('img2img_inpaint_tab').click();
      await opened;
    }""", list(png(96, 64)))
    assert inspect(page)["mode"] == "inpaint" and inspect(page)["width"] == 96
    before = grown(page, 0)
    drag(page, (10, 10), (60, 10))
    after = grown(page, before)
    assert sent(page)["mask"] and inspect(page)["sent"] == after  # nothing is sent twice


class Fingers:
    """Touches as the browser gets them from a screen."""

    def __init__(self, page: Page) -> None:
        self.session: CDPSession = page.context.new_cdp_session(page)

    def touch(self, kind: str, *spots: Spot) -> None:
        """One event with all fingers that are down."""
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(spots)]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_one_finger_draws_and_two_zoom_on_a_phone(open_page: Open, server: Server) -> None:
    page = open_canvas(open_page(**PHONE))
    fingers, spots = Fingers(page), on_screen(page, *((40 + 10 * step, 60) for step in range(12)))
    fingers.touch("touchStart", spots[0])
    for spot in spots[1:]:
        fingers.touch("touchMove", spot)
    fingers.touch("touchEnd")
    assert covered(server, page, (100, 60), (100, 10)) == [255, 0]
    before, steps = inspect(page)["scale"], inspect(page)["steps"]
    left, right = on_screen(page, (80, 30), (120, 30))
    fingers.touch("touchStart", left)
    fingers.touch("touchStart", left, right)
    for step in range(1, 9):
        fingers.touch("touchMove", (left[0] - 6 * step, left[1]), (right[0] + 6 * step, right[1]))
    fingers.touch("touchEnd")
    after = inspect(page)
    assert after["scale"] > before * 1.5 and after["steps"] == steps
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_pen_s_pressure_is_its_width_and_a_finger_beside_it_moves_the_sheet(open_page: Open, server: Server) -> None:
    page = open_canvas(open_page(has_touch=True))
    expect(page.locator("#canvas_pressure")).to_be_hidden()
    session = page.context.new_cdp_session(page)
    for force, height in ((0.25, 30), (1.0, 85)):
        (begin, y), (end, _) = on_screen(page, (60, height), (140, height))
        for kind, x in (("mousePressed", begin), ("mouseMoved", end), ("mouseReleased", end)):
            buttons = {"button": "left", "buttons": 1, "clickCount": 1, "force": force, "pointerType": "pen"}
            session.send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **buttons})
    assert covered(server, page, (100, 30), (100, 42), (100, 85), (100, 97)) == [255, 0, 255, 255]  # the brush has 40 pixels
    expect(page.locator("#canvas_pressure")).to_be_visible()
    before, fingers = inspect(page), Fingers(page)
    spots = on_screen(page, (100, 60), (110, 60), (120, 60))
    fingers.touch("touchStart", spots[0])
    for spot in spots[1:]:
        fingers.touch("touchMove", spot)
    fingers.touch("touchEnd")
    assert inspect(page)["left"] > before["left"] and inspect(page)["steps"] == before["steps"]


def test_generate_sends_the_canvas_and_the_picture_comes_back(open_page: Open, server: Server) -> None:
    page = open_canvas(open_page(), content=png(64, 64))
    for field, value in (("width", 64), ("height", 64), ("steps", 4)):
        page.fill(f"#img2img_{field} input[type=number]", str(value))
    page.fill("#img2img_prompt textarea", "a house made over")
    drag(page, (20, 32), (44, 32))
    page.click("#img2img_generate")
    expect(page.locator("#html_info_img2img pre")).to_contain_text("a house made over", timeout=60_000)
    job = next(job for job in server.jobs() if job["title"] == "a house made over")
    request = server.get(f"jobs/{job['id']}")["request"]
    assert request["kind"] == "img2img" and request["mode"] == "inpaint" and request["colour"] is None
    assert picture(server, request["mask"]).getpixel((32, 32)) == 255
    expect(page.locator("#image_buttons_img2img")).to_be_visible()


def test_without_a_picture_the_canvas_says_what_is_missing(open_page: Open) -> None:
    page = open_page()
    page.click("#tab_img2img-button")
    page.wait_for_selector("#img2img_image[data-ready]")
    page.fill("#img2img_prompt textarea", "a house")
    page.click("#img2img_generate")
    expect(page.locator("#img2img_canvas .field-error")).to_be_visible()


def test_a_batch_is_one_job_for_each_picture_with_its_mask(open_page: Open, server: Server) -> None:
    page = open_canvas(open_page(), content=png(64, 64))
    page.click("#img2img_batch_tab")
    for field, value in (("width", 64), ("height", 64), ("steps", 2)):
        page.fill(f"#img2img_{field} input[type=number]", str(value))
    files: list[FilePayload] = [{"name": f"{number}.png", "mimeType": "image/png", "buffer": png(64, 64, f"#0000{number}0")} for number in range(3)]
    page.set_input_files("#img2img_batch_pictures", files)
    masks: list[FilePayload] = [{"name": f"{number}.jpg", "mimeType": "image/png", "buffer": png(64, 64, "white")} for number in range(2)]
    page.set_input_files("#img2img_batch_masks", masks)
    page.click("#img2img_generate")
    expect(page.locator(".toast").last).to_contain_text("no mask for 2.png")
    page.set_input_files("#img2img_batch_masks", {"name": "2.png", "mimeType": "image/png", "buffer": png(64, 64, "white")})
    before = {job["id"] for job in server.jobs()}
    page.click("#img2img_generate")
    expect(page.locator(".toast").last).to_contain_text("3 of 3")
    made = [server.wait(job["id"], "done")["request"] for job in server.jobs() if job["id"] not in before]
    assert len({request["image"]["sha256"] for request in made}) == len(made) == 3
    assert {request["mode"] for request in made} == {"inpaint_upload"}
