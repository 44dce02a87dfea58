"""The Extras tab as a person uses it: pictures dropped, enlarged, compared; wrong requests said at their field; sent here from PNG Info."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.backend.image_networks import save_esrgan
from tests.browser.conftest import Guarded, Held, visit
from tests.serving import Server

Open = Callable[..., Page]


@pytest.fixture
def outputs(server: Server) -> Iterator[Path]:
    """Where results go. They stay (the page shows those of the last job); upscalers of a test are taken away."""
    yield server.data / "outputs" / "extras-images"
    for path in (server.data / "models" / "ESRGAN").glob("*.safetensors"):
        path.unlink()


def picture(colour: str = "red", size: tuple[int, int] = (40, 24)) -> dict[str, object]:
    """A file to choose."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return {"name": f"{colour}.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def open_extras(page: Page) -> Page:
    """The tab, drawn."""
    page.evaluate("import(`/${easelPage.web}/send.js`).then(({ openTab }) => openTab('extras'))")  # on a phone it is in the menu of the tabs
    page.wait_for_selector("#extras_upscaler_1")
    return page


def choose(page: Page, *files: dict[str, object]) -> None:
    """Through the box, and wait until they are there."""
    page.set_input_files("#extras_file", list(files))  # pyright: ignore[reportArgumentType]


def test_one_picture_is_enlarged_and_compared(open_page: Open, server: Server, outputs: Path) -> None:
    save_esrgan(server.data / "models" / "ESRGAN" / "my net.safetensors")
    page = open_extras(open_page())
    choose(page, picture())
    expect(page.locator("#extras_image img")).to_be_visible()
    page.select_option("#extras_upscaler_1 select", "my net")
    page.fill("#extras_upscaling_resize input[type=number]", "2")
    page.click("#extras_generate")
    expect(page.locator("#extras_gallery .facts")).to_have_text(re.compile(r"40×24 → 80×48 · \d{5}\.png"))
    expect(page.locator("#html_info_extras")).to_have_text("Postprocess upscale by: 2.0, Postprocess upscaler: my net")
    slider = page.locator("#extras_gallery .compare input")
    slider.focus()
    slider.press("Home")
    assert page.eval_on_selector(".compare", "box => box.style.getPropertyValue('--at')") == "0%"
    page.reload()
    page.wait_for_selector("html[data-easel=ready]")
    open_extras(page)
    expect(page.locator("#extras_gallery .facts")).to_contain_text("80×48")  # a result outlives the page
    expect(page.locator("#extras_upscaler_1 select")).to_have_value("my net")
    expect(page.locator("#extras_image img")).to_be_visible()
    page.click("#tabs [role=tab][data-tab-id=txt2img]")
    assert page.locator("#txt2img_gallery .infotext", has_text="Postprocess").count() == 0  # it has a gallery of its own


def test_a_batch_with_flipped_copies(open_page: Open, outputs: Path) -> None:
    page = open_extras(open_page())
    page.click("#extras_batch_process_tab")
    choose(page, picture("red"), picture("blue"))
    expect(page.locator(".given li")).to_have_count(2)
    page.check("#extras_flip-checkbox")
    page.uncheck("#extras_upscale-checkbox")
    page.click("#extras_generate")
    expect(page.locator("#extras_gallery .thumb")).to_have_count(4)
    assert {path.name for path in outputs.iterdir()} >= {"blue-horizontal.png", "blue.png", "red-horizontal.png", "red.png"}
    page.click("#extras_gallery .thumb[aria-label='red.png']")
    expect(page.locator("#extras_gallery .facts")).to_contain_text("red.png")
    page.click("#extras_use")
    expect(page.locator("#extras_single_tab")).to_have_attribute("aria-selected", "true")


def test_errors_stand_at_their_fields(open_page: Open, guarded: object, outputs: Path) -> None:
    guarded.tolerated = ("422",)  # pyright: ignore[reportAttributeAccessIssue]
    page = open_extras(open_page())
    page.click("#extras_generate")
    expect(page.locator(".extras-input .field-error")).to_contain_text("no picture to work on")
    choose(page, picture())
    expect(page.locator("#extras_image img")).to_be_visible()
    page.check("#extras_gfpgan-checkbox")
    page.click("#extras_generate")
    expect(page.locator("#extras_gfpgan .field-error")).to_contain_text("models/GFPGAN")
    page.click("#extras_batch_directory_tab")
    page.uncheck("#extras_gfpgan-checkbox")
    page.fill("#extras_batch_input_dir input", "/etc")
    page.click("#extras_generate")
    expect(page.locator("#extras_batch_input_dir .field-error")).to_contain_text("no folder")


def test_a_folder(open_page: Open, server: Server, outputs: Path) -> None:
    folder = server.data / "many"
    folder.mkdir()
    for colour in ("red", "green"):
        (folder / f"{colour}.png").write_bytes(picture(colour)["buffer"])  # pyright: ignore[reportArgumentType]
    page = open_extras(open_page())
    page.click("#extras_batch_directory_tab")
    page.fill("#extras_batch_input_dir input", "many")
    page.select_option("#extras_upscaler_1 select", "Lanczos")
    page.click("#extras_scale_to_tab")
    page.fill("#extras_upscaling_resize_w input[type=number]", "64")
    page.fill("#extras_upscaling_resize_h input[type=number]", "72")
    page.click("#upscaling_res_switch_btn")
    expect(page.locator("#extras_upscaling_resize_w input[type=number]")).to_have_value("72")
    page.click("#extras_generate")
    expect(page.locator("#extras_gallery .thumb")).to_have_count(2)
    expect(page.locator("#extras_gallery .facts")).to_contain_text("72×64")
    shutil.rmtree(folder)


def test_sent_from_png_info_and_dropped(open_page: Open, outputs: Path) -> None:
    page = open_page()
    page.click("#tabs [role=tab][data-tab-id=pnginfo]")
    page.set_input_files("#pnginfo_image input", [picture("green")])  # pyright: ignore[reportArgumentType]
    page.click("#extras_tab")
    expect(page.locator("#extras_image img")).to_be_visible()
    page.evaluate(
        """async () => {
          const canvas = new OffscreenCanvas(30, 30); canvas.getContext('2d').fillRect(0, 0, 30, 30);
          const transfer = new DataTransfer();
          transfer.items.add(new File([await canvas.convertToBlob()], 'dropped.png', { type: 'image/png' }));
          document.querySelector('.extras').dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: transfer }));
        }"""
    )
    expect(page.locator("#extras_image img")).to_have_attribute("alt", "dropped.png")
    assert page.locator("dialog.paste[open]").count() == 0


def test_on_a_phone(open_page: Open, outputs: Path) -> None:
    page = open_extras(open_page(viewport={"width": 390, "height": 844}, has_touch=True))
    choose(page, picture())
    expect(page.locator("#extras_image img")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("#extras_generate")
    expect(page.locator("#extras_gallery .facts")).to_contain_text("40×24")


def test_the_last_choice_counts_and_generate_waits_for_it(guarded: Guarded, server: Server, outputs: Path) -> None:
    page = open_extras(visit(guarded.context().new_page(), server))
    image, asked = page.locator("#extras_image img"), []
    under_way = []
    for colour in ("red", "blue"):
        under_way.append(Held(page, "**/api/v1/images"))
        choose(page, picture(colour))
        under_way[-1].wait()
    for held in under_way:
        held.let_go()
    expect(image).to_have_attribute("alt", "blue.png")
    held = Held(page, "**/api/v1/images")
    choose(page, picture("green"))
    held.wait()
    page.route("**/api/v1/extras", lambda route: (asked.append(route.request.post_data_json), route.fulfill(status=201, json={"id": "x"})))
    page.click("#extras_generate")
    held.let_go()
    expect(page.locator("#extras_generate")).to_be_enabled()
    assert [each["name"] for each in asked[0]["images"]] == ["green.png"]
