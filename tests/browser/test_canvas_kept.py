"""Nothing on the canvas is lost: by a reload at the wrong moment, by a second tab, by an undo that is not seen, by a server that forgot a picture."""

from __future__ import annotations

import re

import httpx
from PIL import Image
from playwright.sync_api import FilePayload, Page, Route, expect

from tests.browser.conftest import Guarded, Held, until, visit
from tests.browser.test_canvas import Open, covered, drag, inspect, on_screen, open_canvas, png, sent
from tests.serving import Server


def reload(page: Page) -> Page:
    """The page again, with its canvas."""
    page.reload()
    page.wait_for_selector("#img2img_image[data-ready]")
    return page


def test_a_reload_in_the_middle_of_a_stroke_loses_nothing(open_page: Open, server: Server) -> None:
    page = open_canvas(open_page())
    drag(page, (40, 20), (160, 20))
    reload(page)  # no moment to write it
    begin, end = on_screen(page, (40, 100), (160, 100))
    page.mouse.move(*begin)
    page.mouse.down()
    page.mouse.move(*end, steps=6)
    reload(page)  # the pen is still down
    page.mouse.up()
    assert covered(server, page, (100, 20), (100, 100), (100, 60)) == [255, 255, 0]


def test_each_tab_of_the_browser_has_its_own_sheet(open_page: Open, server: Server) -> None:
    first = open_canvas(open_page())
    drag(first, (40, 60), (160, 60))
    first.wait_for_timeout(900)  # written a moment after the pen is up
    second = visit(first.context.new_page(), server)
    second.wait_for_selector("#img2img_image[data-ready]")
    assert inspect(second)["width"] == 200  # begins with what was worked on last
    open_canvas(second, mode="sketch", content=png(96, 64))
    second.wait_for_timeout(900)
    seen = inspect(reload(first))
    assert (seen["width"], seen["mode"]) == (200, "inpaint")
    assert covered(server, first, (100, 60)) == [255]
    seen = inspect(reload(second))
    assert (seen["width"], seen["mode"]) == (96, "sketch")


def test_what_is_taken_back_is_seen_and_escape_drops_what_is_being_made(open_page: Open, server: Server) -> None:
    page = open_canvas(open_page())
    drag(page, (40, 60), (160, 60))
    page.click("#img2img_img2img_sketch_tab")
    page.click("#canvas_undo")
    expect(page.locator("#img2img_inpaint_tab")).to_have_attribute("aria-selected", "true")  # the stroke was one of the mask
    assert sent(page)["mask"] is None
    page.keyboard.press("Control+y")
    before = inspect(page)["steps"]
    page.click("#canvas_lasso")
    first, *others = on_screen(page, (20, 80), (180, 80), (180, 110))
    page.mouse.move(*first)
    page.mouse.down()
    for spot in others:
        page.mouse.move(*spot, steps=4)
    page.keyboard.press("Escape")
    page.mouse.up()
    assert inspect(page)["steps"] == before
    page.evaluate("""() => document.querySelector('.sheet').dispatchEvent(
      new KeyboardEvent('keydown', { key: 'я', code: 'KeyZ', ctrlKey: true, bubbles: true }))""")  # Ctrl+Z of a Russian keyboard
    until(page, lambda: inspect(page)["steps"] < before)
    assert covered(server, page, (100, 60), (150, 90)) == [0, 0]


def becomes(server: Server, page: Page, wanted: list[int]) -> None:
    """Wait until the mask is so at the two places of the test below."""
    for _ in range(60):
        if covered(server, page, (100, 20), (100, 100)) == wanted:
            return
        page.wait_for_timeout(250)
    raise AssertionError(f"the mask is not {wanted}")


def test_a_picture_that_the_server_lost_goes_up_again_and_its_mask_comes_back_alone(open_page: Open, server: Server) -> None:
    page = open_canvas(open_page(), content=png(colour="#204061"))
    for field, value in (("width", 64), ("height", 64), ("steps", 2)):
        page.fill(f"#img2img_{field} input[type=number]", str(value))
    page.fill("#img2img_prompt textarea", "a house found again")
    drag(page, (40, 20), (160, 20))
    for ref in (sent(page)["image"], sent(page)["mask"]):
        (server.data / ".easel" / "images" / ref["sha256"][:2] / f"{ref['sha256']}.bin").unlink()
    page.click("#img2img_generate")
    expect(page.locator("#html_info_img2img pre")).to_contain_text("a house found again", timeout=60_000)
    expect(page.locator("#img2img_canvas .field-error")).to_have_count(0)
    page.click("#canvas_clear_mask")
    drag(page, (40, 100), (160, 100))
    becomes(server, page, [0, 255])
    page.get_by_role("button", name="To the form").click()  # the picture is the same, only the mask is another one
    page.get_by_role("button", name=re.compile("^Apply")).click()
    becomes(server, page, [255, 0])
    page.get_by_role("button", name="Undo", exact=True).last.click()
    becomes(server, page, [0, 255])


def test_a_picture_of_img2img_is_sent_itself_and_undo_brings_all_back(open_page: Open, server: Server) -> None:
    begun = server.upload(Image.new("RGB", (96, 96), "#402060"))
    made = server.wait(server.submit(kind="img2img", image=begun, prompt="a house sent on", steps=2), "done")["pictures"][0]
    content = httpx.get(f"{server.url}/{made['url'].lstrip('/')}").raise_for_status().content
    page = open_canvas(open_page())
    drag(page, (40, 60), (160, 60))
    page.click("#tab_pnginfo-button")
    page.set_input_files("#pnginfo_image input[type=file]", {"name": "made.png", "mimeType": "image/png", "buffer": content})
    page.click("#inpaint_tab")
    prompt = page.locator("#img2img_prompt textarea")
    expect(prompt).to_have_value("a house sent on")
    page.wait_for_timeout(500)  # time for what it began with to come, which it must not
    assert (inspect(page)["mode"], inspect(page)["width"]) == ("inpaint", 64)
    page.get_by_role("button", name="Undo", exact=True).last.click()
    expect(prompt).to_have_value("")
    expect(page.locator("#img2img_canvas .status")).to_contain_text("200 × 120")
    assert covered(server, page, (100, 60)) == [255]


def test_a_broken_file_of_a_batch_is_named_and_the_rest_is_made(open_page: Open, server: Server, guarded: Guarded) -> None:
    guarded.tolerated = ("422",)
    page = open_canvas(open_page(), mode="batch")
    for field, value in (("width", 64), ("height", 64), ("steps", 2)):
        page.fill(f"#img2img_{field} input[type=number]", str(value))
    contents = {"a.png": png(64, 64, "#100000"), "b.png": png(64, 64)[:60], "c.png": png(64, 64, "#200000")}
    files: list[FilePayload] = [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in contents.items()]
    page.set_input_files("#img2img_batch_pictures", files)
    before = {job["id"] for job in server.jobs()}
    page.click("#img2img_generate")
    expect(page.locator(".toast").last).to_contain_text("2 of 3")
    expect(page.locator(".toast").last).to_contain_text("b.png")
    assert [server.wait(job["id"])["job"]["status"] for job in server.jobs() if job["id"] not in before] == ["done", "done"]


SLOW = """
const read = window.createImageBitmap, wait = new Promise((done) => { window.letGo = done; });
let slow = sessionStorage.slow;
window.createImageBitmap = async (...given) => { if (slow) { slow = null; window.held = true; await wait; } return read(...given); };
"""


def file(width: int, height: int, name: str = "a.png") -> FilePayload:
    """A plain picture to choose."""
    return {"name": name, "mimeType": "image/png", "buffer": png(width, height)}


def test_pictures_lie_on_the_sheet_in_the_order_they_were_given(guarded: Guarded, server: Server) -> None:
    page = guarded.context().new_page()
    page.add_init_script(SLOW)
    visit(page, server).click("#tab_img2img-button")
    page.wait_for_selector("#img2img_image[data-ready]")
    depth, status = page.locator("#img2img_depth_place img"), page.locator(".canvas .status")
    held = Held(page, "**/api/v1/images")
    page.set_input_files("#img2img_depth_file", file(32, 32))
    held.wait()
    page.set_input_files("#img2img_depth_file", file(16, 16))
    wanted = server.http.post("/api/v1/images", content=png(16, 16)).json()["sha256"]
    expect(depth).to_have_attribute("src", f"api/v1/images/{wanted}")
    held.let_go()
    expect(depth).to_have_attribute("src", f"api/v1/images/{wanted}")

    open_canvas(page, "img2img")
    page.evaluate("sessionStorage.slow = 1")
    page.reload()  # what lay on the sheet is read again, slowly
    page.wait_for_function("window.held")
    page.set_input_files("#img2img_image_file", file(64, 64))
    page.wait_for_timeout(300)  # it could be there by now
    page.evaluate("letGo()")
    page.wait_for_selector("#img2img_image[data-ready]")
    expect(status).to_contain_text("64 × 64 →")
    page.click("#canvas_undo")
    expect(status).to_contain_text("200 × 120 →")

    first, last = (server.http.post("/api/v1/images", content=png(side, side)).json()["sha256"] for side in (80, 96))
    held = Held(page, f"**/api/v1/images/{first}")
    for sha in (first, last):
        page.evaluate("""(url) => Promise.all([import(`/${easelPage.web}/to_canvas.js`), import(`/${easelPage.web}/canvas.js`)])
          .then(([{ send }, canvas]) => { send({ url }, 'img2img', Promise.resolve(canvas)); })""", f"api/v1/images/{sha}")
    expect(status).to_contain_text("96 × 96 →")
    held.let_go()
    expect(status).to_contain_text("96 × 96 →")


def test_a_description_comes_though_its_job_was_quick_and_does_not_write_over_a_prompt(guarded: Guarded, server: Server) -> None:
    page = open_canvas(visit(guarded.context().new_page(), server), "img2img")
    prompt, answers = page.locator("#img2img_prompt textarea"), []
    page.route("**/api/v1/interrogate", lambda route: route.fulfill(status=201, json={"id": "x"}))
    page.route("**/api/v1/interrogate/x", lambda route: answers.append(route))
    job = {"id": "x", "kind": "interrogate", "lane": "cpu", "status": "done", "ended": 1, "created": 0, "title": "", "planned": 0, "pictures": 0}
    page.evaluate("(job) => import(`/${easelPage.web}/store.js`).then(({ apply }) => apply({ type: 'job', job }))", job)  # before its number is known
    for meanwhile in ("", "mine"):
        page.click("#interrogate")
        until(page, lambda: bool(answers))
        prompt.fill(meanwhile)
        answers.pop().fulfill(json={"job": {}, "text": f"a lake {meanwhile}"})
        expect(page.locator("#interrogate")).to_be_enabled()
        expect(prompt).to_have_value(meanwhile or "a lake ")
    page.get_by_role("button", name="Put it there").click()
    expect(prompt).to_have_value("a lake mine")


def test_a_picture_that_is_added_while_a_batch_is_sent_stays(guarded: Guarded, server: Server) -> None:
    guarded.tolerated = ("ERR_FAILED",)
    page = visit(guarded.context().new_page(), server)
    page.click("#tab_img2img-button")
    page.wait_for_selector("#img2img_image[data-ready]")
    page.click("#img2img_batch_tab")
    jobs: list[Route] = []
    page.route("**/api/v1/jobs", lambda route: route.abort() if jobs else jobs.append(route))
    page.set_input_files("#img2img_batch_pictures", [file(8, 8, "1.png"), file(8, 8, "2.png")])
    page.click("#img2img_generate")
    until(page, lambda: bool(jobs))
    page.set_input_files("#img2img_batch_pictures", [file(8, 8, "3.png")])
    jobs[0].fulfill(status=201, json={"id": "x"})
    expect(page.locator("#img2img_batch .zone .none").first).to_have_text("2: 2.png, 3.png")
