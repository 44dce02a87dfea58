"""From a picture or a text to the form and back: the dialog, one undo, override settings, PNG Info, replay."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page, expect

from tests.browser.conftest import Guarded, Held, set_small, visit
from tests.serving import Server

Open = Callable[..., Page]
LINE = (
    "a red cat, sitting on the old wooden table beside the window\nNegative prompt: dog\nSteps: 7, Sampler: Euler a, Schedule type: Karras, "
    "CFG scale: 4.5, Seed: 77, Size: 128x64, Model hash: 0123456789, Model: elsewhere, Clip skip: 2, Variation seed: 5, "
    "Variation seed strength: 0.25, Version: v1.10.1"
)
DROP = """([kind, name, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type: name.endsWith('png') ? 'image/png' : 'text/plain' }));
  const where = document.querySelector('#easel_top'), about = { bubbles: true, cancelable: true };
  if (kind === 'paste') where.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, ...about }));
  else for (const type of ['dragenter', 'dragover', 'drop']) where.dispatchEvent(new DragEvent(type, { dataTransfer: data, ...about }));
}"""


def png(line: str = LINE) -> bytes:
    """A picture that A1111 could have written."""
    info = PngInfo()
    info.add_text("parameters", line)
    info.add_text("Title", "of its own")
    file = io.BytesIO()
    Image.new("RGB", (40, 24), "red").save(file, "PNG", pnginfo=info)
    return file.getvalue()


def bring(page: Page, kind: str = "drop", content: bytes | None = None, name: str = "cat.png") -> None:
    """Drop a file on the page, or paste it."""
    page.evaluate(DROP, [kind, name, list(content or png())])


def value(page: Page, field: str) -> str:
    """What a field of the form holds."""
    kind = "textarea" if "prompt" in field else "input[type=number]" if field in ("width", "height", "steps", "cfg_scale") else "input"
    return page.input_value(f"#txt2img_{field} {kind}")


def test_a_dropped_picture_is_compared_applied_and_undone_at_once(open_page: Open) -> None:
    page = open_page()
    page.fill("#txt2img_prompt textarea", "a blue cat, sitting on the old wooden table beside the window")
    page.fill("#txt2img_steps input[type=number]", "9")
    bring(page)
    dialog = page.locator("#easel_paste")
    expect(dialog).to_contain_text("Made by AUTOMATIC1111 · 40×24")
    expect(dialog.locator(".paste-notes")).to_contain_text("“elsewhere” [0123456789] is not here")
    prompt = dialog.locator(".paste-rows li").first
    expect(prompt.locator("del")).to_have_text("blue")
    expect(prompt.locator("ins")).to_have_text("red")
    expect(dialog.locator(".paste-rows li", has_text="Sampling steps")).to_contain_text("9→7")
    dialog.locator(".paste-rows li", has_text="Height").locator("input").uncheck()
    dialog.get_by_role("button", name=re.compile("^Apply")).click()
    expect(dialog).to_have_count(0)
    expect(page.locator("#txt2img_steps input[type=number]")).to_have_value("7")
    assert [value(page, field) for field in ("width", "height", "cfg_scale", "seed")] == ["128", "512", "4.5", "77"]
    assert value(page, "prompt").startswith("a red cat") and value(page, "neg_prompt") == "dog"
    assert value(page, "sampling") == "Euler a" and value(page, "scheduler") == "Karras"
    assert page.evaluate("easel.draft.subseed_strength") == 0.25  # also what is folded away
    expect(page.locator("#txt2img_override_settings")).to_contain_text("Clip skip: 2")
    page.keyboard.press("Control+z")
    expect(page.locator("#txt2img_steps input[type=number]")).to_have_value("9")
    assert [value(page, field) for field in ("width", "cfg_scale", "seed", "neg_prompt", "sampling")] == ["512", "7", "-1", "", "DPM++ 2M"]
    assert value(page, "prompt").startswith("a blue cat") and page.evaluate("easel.draft.subseed_strength") == 0
    expect(page.locator(".chip")).to_have_count(0)
    page.keyboard.press("Control+Shift+z")
    expect(page.locator("#txt2img_steps input[type=number]")).to_have_value("7")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#txt2img_steps input[type=number]")).to_have_value("9")


def test_typing_after_it_is_undone_first_and_apart(open_page: Open) -> None:
    page = open_page()
    page.fill("#txt2img_prompt textarea", "before")
    bring(page)
    expect(page.locator("#easel_paste .primary")).to_be_focused()
    page.keyboard.press("Enter")  # Apply has the focus
    expect(page.locator("#txt2img_neg_prompt textarea")).to_have_value("dog")
    page.focus("#txt2img_neg_prompt textarea")
    page.keyboard.press("End")
    page.keyboard.type("!")
    page.keyboard.press("Control+z")
    expect(page.locator("#txt2img_neg_prompt textarea")).to_have_value("dog")  # the box's own undo
    page.keyboard.press("Control+z")
    expect(page.locator("#txt2img_prompt textarea")).to_have_value("before")
    expect(page.locator("#txt2img_neg_prompt textarea")).to_have_value("")


def test_the_arrow_reads_the_prompt_box_or_the_last_picture(open_page: Open, server: Server) -> None:
    server.wait(server.submit(prompt="the last picture", seed=4321), "done")
    page = open_page()
    page.wait_for_selector(".stage .picture[src]")
    page.fill("#txt2img_prompt textarea", LINE)
    page.click("#paste")
    page.get_by_role("button", name=re.compile("^Apply")).click()
    expect(page.locator("#txt2img_seed input")).to_have_value("77")
    assert value(page, "prompt") == LINE.split("\n")[0]
    page.fill("#txt2img_prompt textarea", "")
    page.click("#paste")
    expect(page.locator("#easel_paste")).to_contain_text("Made by Easel")
    page.get_by_role("button", name=re.compile("^Apply")).click()
    expect(page.locator("#txt2img_seed input")).to_have_value("4321")
    assert value(page, "prompt") == "the last picture"
    expect(page.locator(".chip")).to_have_count(0)  # that picture had none
    page.click("#paste")  # a prompt without parameters says nothing new
    expect(page.locator(".toast").last).to_contain_text("Everything is already as it says")
    expect(page.locator("#easel_paste")).to_have_count(0)


def test_override_settings_reach_the_picture_stay_on_reload_and_can_be_taken_away(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), "a cat\nNegative prompt: x\nSteps: 4, Sampler: Euler, CFG scale: 7, Seed: 3, Size: 64x64, Clip skip: 2")
    page.click("#paste")
    page.get_by_role("button", name=re.compile("^Apply")).click()
    expect(page.locator(".chip")).to_have_text("Clip skip: 2")
    page.reload()
    page.wait_for_selector("html[data-easel=ready]")
    expect(page.locator(".chip")).to_have_text("Clip skip: 2")
    page.click("#txt2img_generate")
    expect(page.locator("#html_info_txt2img pre")).to_contain_text("Seed: 3, Size: 64x64")
    expect(page.locator("#html_info_txt2img pre")).to_contain_text("Clip skip: 2")
    assert server.get(f"jobs/{server.jobs()[0]['id']}")["request"]["settings"] == {"CLIP_stop_at_last_layers": 2}
    page.locator(".chip button").click()
    expect(page.locator(".chip")).to_have_count(0)
    page.fill("#txt2img_seed input", "4")
    page.click("#txt2img_generate")
    expect(page.locator("#html_info_txt2img pre")).to_contain_text("Seed: 4, Size: 64x64")
    expect(page.locator("#html_info_txt2img pre")).not_to_contain_text("Clip skip")


def test_pasting_a_picture_works_and_one_without_parameters_says_so(open_page: Open) -> None:
    page = open_page()
    bring(page, "paste")
    expect(page.locator("#easel_paste")).to_contain_text("Made by AUTOMATIC1111")
    page.keyboard.press("Escape")
    expect(page.locator("#easel_paste")).to_have_count(0)
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    bring(page, "paste", file.getvalue())
    expect(page.locator(".toast.error")).to_contain_text("does not say how it was made")
    assert value(page, "prompt") == ""


def test_png_info_shows_everything_and_sends_it_on(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("tab", name="PNG Info").click()
    page.set_input_files("#pnginfo_image input", {"name": "cat.png", "mimeType": "image/png", "buffer": png()})
    facts = page.locator(".pnginfo .facts")
    expect(facts).to_contain_text("Made by AUTOMATIC1111")
    expect(facts.locator("header")).to_contain_text("cat.png · 40×24")
    shown = dict(zip(facts.locator("dt").all_inner_texts(), facts.locator("dd").all_inner_texts(), strict=True))
    assert shown["Size"] == "128×64" and shown["Sampler"] == "Euler a" and "Mask mode" not in shown
    expect(facts.locator("#pnginfo_generation_info pre")).to_have_text(LINE)
    expect(facts.locator("details", has_text="Title")).to_contain_text("of its own")
    assert page.evaluate("document.querySelector('#pnginfo_image img').naturalWidth") == 40
    page.reload()
    page.wait_for_selector("html[data-easel=ready]")
    expect(page.get_by_role("tab", name="PNG Info")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#pnginfo_image")).to_be_visible()
    bring(page, content=LINE.encode(), name="line.txt")  # dropped on this tab, it is shown here
    expect(facts).to_contain_text("Made by AUTOMATIC1111")
    page.click("#txt2img_tab")
    page.get_by_role("button", name=re.compile("^Apply")).click()
    expect(page.locator("#txt2img_seed input")).to_be_visible()
    expect(page.locator("#txt2img_seed input")).to_have_value("77")


def test_foreign_text_stays_text_in_dialog_and_tab(open_page: Open) -> None:
    page = open_page()
    nasty = png(LINE.replace("a red cat", "<img src=x onerror='window.hacked=1'>"))
    bring(page, content=nasty)
    expect(page.locator("#easel_paste .paste-rows li").first).to_contain_text("<img src=x")
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="PNG Info").click()
    bring(page, content=nasty)
    expect(page.locator(".prompt-text").first).to_contain_text("<img src=x")
    assert page.evaluate("window.hacked") is None


def test_an_error_at_an_override_is_shown_at_its_chip(open_page: Open, server: Server) -> None:
    page = set_small(open_page())
    page.evaluate("""import(`/${easelPage.web}/forms.js`).then(({ change }) =>
      change({ settings: { CLIP_stop_at_last_layers: 99, eta_noise_seed_delta: 7 } }, 'txt2img'))""")
    expect(page.locator("#txt2img_override_settings .chip")).to_have_count(2)
    page.reload()
    page.wait_for_selector("html[data-easel=ready]")
    page.click("#txt2img_generate")
    row, chip = page.locator("#txt2img_override_settings"), page.locator(".chip.has-error")
    expect(row.locator(".field-error")).to_contain_text("12")
    expect(chip).to_have_count(1)
    expect(chip).to_contain_text("Clip skip: 99")
    expect(chip.locator("button")).to_be_focused()
    expect(page.locator(".toast")).to_have_count(0)
    chip.locator("button").click()
    expect(row.locator(".field-error")).to_have_count(0)
    expect(page.locator(".chip")).to_have_text("ENSD: 7")


def test_replay_says_identical_or_how_much_differs(open_page: Open, server: Server) -> None:
    job = server.wait(server.submit(prompt="again", seed=9, batch_size=2, batch_count=2), "done")
    page = open_page()
    page.click(f".thumb[data-picture='{job['pictures'][2]['id']}']")
    page.click("#replay_txt2img")
    expect(page.locator(".replay strong")).to_have_text("Replay: identical, every pixel.", timeout=30_000)
    assert len(server.get(f"jobs/{job['job']['id']}")["pictures"]) == 4
    page.click(f".thumb[data-picture='{job['pictures'][3]['id']}']")
    expect(page.locator(".replay")).not_to_be_visible()
    path = next((server.data / "outputs").rglob(f"*-{job['pictures'][3]['seed']}.png"))
    with Image.open(path) as image:
        info = PngInfo()
        for name in ("parameters", "easel"):
            info.add_text(name, image.info[name])
        image.paste(image.crop((1, 1, 2, 2)).point([level ^ 8 for level in range(256)] * 3), (1, 1))
        image.save(path, pnginfo=info)
    page.click("#replay_txt2img")
    expect(page.locator(".replay")).to_contain_text("Largest difference 8 of 255, in 0.024 % of the pixels", timeout=30_000)
    assert server.get(f"pictures/{job['pictures'][3]['id']}/replay")["max_difference"] == 8
    page.reload()
    page.wait_for_selector("html[data-easel=ready]")
    expect(page.locator(".replay strong")).to_contain_text("Largest difference 8 of 255")  # the last picture is shown, and so is its report


def test_the_large_view_makes_a_picture_again_and_keeps_it(open_page: Open, server: Server) -> None:
    job = server.wait(server.submit(prompt="again and again", seed=19), "done")
    page = open_page()
    page.wait_for_selector(".stage .picture[src]")
    page.click(".stage .big")
    box = page.locator(".lightbox .replay")
    expect(box).to_be_hidden()
    page.keyboard.press("r")
    expect(box.locator("strong")).to_have_text("Replay: identical, every pixel.")
    box.get_by_role("button", name="Keep it").click()
    expect(box.locator(".kept")).to_have_text("Kept")
    expect(page.locator(".lightbox .caption")).to_contain_text("1 / 2")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".lightbox .caption")).to_contain_text("2 / 2")
    expect(box).to_be_hidden()  # a picture of its own, that nobody has replayed
    number = server.get(f"pictures/{job['pictures'][0]['id']}/replay")["kept"]
    kept = server.get(f"pictures/{number}/info")
    assert kept["fields"]["Seed"] == "19" and kept["request"]["prompt"] == "again and again"
    assert len(list((server.data / "outputs").rglob("*-19.png"))) == 2


def test_of_two_that_are_under_way_the_last_counts_and_nothing_typed_is_lost(guarded: Guarded, server: Server) -> None:
    page = visit(guarded.context().new_page(), server)
    dialog, steps = page.locator("dialog.paste"), page.locator("#txt2img_steps input[type=number]")
    page.evaluate("""void import(`/${easelPage.web}/forms.js`).then(async ({ change, now, onFill }) => {
      await Promise.all([now('txt2img'), now('txt2img')]);
      const settings = { CLIP_stop_at_last_layers: 2, sd_vae: 'None' };
      await Promise.all([change({ steps: 7 }, 'txt2img'), change({ steps: 9, settings }, 'txt2img')]);
      const box = document.querySelector('#txt2img_prompt textarea');
      onFill(() => { if (!box.value) { box.value = 'typed'; box.dispatchEvent(new Event('input', { bubbles: true })); } });
      await change({ height: 640 }, 'txt2img');
      document.querySelectorAll('#txt2img_override_settings .chip button').forEach((face) => face.click());
      window.filled = true;
    })""")
    page.wait_for_function("window.filled")
    expect(page.locator("#txt2img_override_settings .chip")).to_have_count(0)
    expect(page.locator("#txt2img_prompt textarea")).to_have_value("typed")
    expect(steps).to_have_value("9")
    page.evaluate("import(`/${easelPage.web}/forms.js`).then(({ undo }) => Promise.all([undo(), undo(), undo(), undo()]))")
    expect(steps).to_have_value("7")

    held = Held(page, "**/api/v1/png-info")
    bring(page)
    held.wait()
    bring(page, content=png(LINE.replace("red cat", "blue dog")))
    expect(dialog).to_contain_text("blue dog")
    held.let_go()
    expect(dialog).to_have_count(1)
    page.keyboard.press("Escape")
    page.fill("#txt2img_prompt textarea", LINE.replace("Steps: 7", "Steps: 11"))
    held = Held(page, "**/api/v1/png-info")
    page.click("#paste")
    held.wait()
    page.click("#tab_img2img-button")
    held.let_go()
    page.click("dialog.paste button[type=submit]")
    expect(steps).to_have_value("11")
    held = Held(page, "**/api/v1/settings")
    page.click("#easel_model_defaults")
    held.wait()
    page.click("#easel_model_defaults")
    expect(dialog).to_be_visible()
    held.let_go()
    expect(dialog).to_have_count(1)
