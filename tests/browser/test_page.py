"""The page itself: errors at fields, languages, themes, sizes, names, keyboard, budget."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Guarded, set_small, visit
from tests.serving import ROOT, Server

Open = Callable[..., Page]
WEB = ROOT / "webui" / "ui" / "web"


def test_errors_stand_at_their_fields_and_the_first_gets_the_focus(open_page: Open, server: Server) -> None:
    page = set_small(open_page())
    page.fill("#txt2img_width input[type=number]", "100")
    page.fill("#txt2img_seed input", "")
    page.click("#txt2img_generate")
    width, seed = page.locator("#txt2img_width input[type=number]"), page.locator("#txt2img_seed input")
    expect(width).to_have_attribute("aria-invalid", "true")
    expect(seed).to_have_attribute("aria-invalid", "true")
    expect(width).to_be_focused()
    expect(page.locator(f"#{width.get_attribute('aria-describedby')}")).to_contain_text("multiple of 8")
    expect(page.locator("#txt2img_seed .field-error")).to_contain_text("empty")
    assert page.input_value("#txt2img_width input[type=number]") == "100"  # nothing was corrected behind the person's back
    assert not [job for job in server.jobs() if job["status"] in ("queued", "running")]
    width.fill("64")
    expect(width).not_to_have_attribute("aria-invalid", "true")


def test_a_prompt_that_is_far_too_long_is_refused_at_the_prompt(open_page: Open, server: Server) -> None:
    page = open_page()
    page.fill("#txt2img_prompt textarea", "very " * 20_000)
    page.click("#txt2img_generate")
    expect(page.locator("#txt2img_prompt .field-error")).to_contain_text("at most 20,000")


def test_an_empty_prompt_works(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), "")
    before = {job["id"] for job in server.jobs()}
    page.click("#txt2img_generate")
    server.wait(next(iter({job["id"] for job in _until(server, before)} - before)), "done")


def _until(server: Server, before: set[str]) -> list[dict]:
    """The jobs, once there is a new one."""
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        jobs = server.jobs()
        if {job["id"] for job in jobs} - before:
            return jobs
        time.sleep(0.05)
    raise AssertionError("no job was queued")


@pytest.mark.parametrize(("locale", "language"), [("en-GB", "en"), ("zh-CN", "zh-CN"), ("ru-RU", "ru"), ("fr-FR", "en")])
def test_the_page_speaks_the_browsers_language(open_page: Open, locale: str, language: str) -> None:
    words = json.loads((WEB / "i18n" / f"{language}.json").read_text(encoding="utf-8"))
    page = open_page(locale=locale)
    assert page.get_attribute("html", "lang") == language
    expect(page.locator("#txt2img_generate")).to_have_text(words["generate"])
    expect(page.locator("#txt2img_prompt")).to_contain_text(words["prompt"])
    expect(page.locator("#easel_queue")).to_contain_text(words["queue_idle"])
    assert page.get_attribute("#txt2img_prompt textarea", "placeholder") == words["prompt_placeholder"]
    assert page.get_attribute("#txt2img_random_seed", "aria-label") == words["random_seed"]
    if language not in ("en",):
        english = json.loads((WEB / "i18n" / "en.json").read_text(encoding="utf-8"))
        own = {english[key] for key in ("steps", "generate", "interrupt", "sampler", "batch_count", "queue_idle")}
        assert not own & set(page.inner_text("body").split("\n"))


def test_dark_follows_the_system_and_the_toggle_is_remembered(guarded: Guarded, server: Server) -> None:
    context = guarded.context(color_scheme="dark")
    page = visit(context.pages[0], server)
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    assert max(map(int, re.findall(r"\d+", dark)[:3])) < 60
    page.click("#easel_theme")
    light = page.evaluate(background)
    assert min(map(int, re.findall(r"\d+", light)[:3])) > 200
    page.reload()
    page.wait_for_selector("html[data-easel=ready]")
    assert page.evaluate(background) == light


def test_a_phone_has_no_sideways_scroll_and_generate_at_hand(open_page: Open, server: Server) -> None:
    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    box = page.locator("#txt2img_generate").bounding_box()
    assert box is not None
    assert 0 < box["y"] < 844 - box["height"]
    assert box["height"] >= 44
    page.locator("#easel_queue").tap()
    panel = page.locator("#easel_queue_panel").bounding_box()
    assert panel is not None
    assert panel["x"] >= 0
    assert panel["x"] + panel["width"] <= 390


NAMELESS = """() => [...document.querySelectorAll('button, input, textarea, select, [role=button], a[href]')].filter((element) => {
  if (!element.checkVisibility()) return false;
  const labels = [...(element.labels || [])].map((label) => label.textContent).join('');
  const text = element.getAttribute('aria-label') || labels || element.textContent || element.title;
  return !text.trim();
}).map((element) => element.outerHTML.slice(0, 200))"""


def test_every_control_has_a_name_and_is_reached_by_tab(open_page: Open, server: Server) -> None:
    server.wait(server.submit(prompt="something to show", batch_count=2), "done")
    page = open_page()
    page.wait_for_selector(".thumb")
    assert page.evaluate(NAMELESS) == []
    wanted = ["txt2img_generate", "txt2img_res_switch_btn", "txt2img_random_seed", "txt2img_reuse_seed", "easel_queue", "easel_theme", "save_txt2img"]
    reached: set[str] = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.closest('[id]')?.id || ''"))
    assert [name for name in [*wanted, "txt2img_prompt", "txt2img_steps", "txt2img_seed"] if name not in reached] == []


def test_escape_closes_what_is_open_before_it_interrupts(open_page: Open, server: Server) -> None:
    page = open_page()
    job = server.submit(prompt="goes on", steps=1000, batch_count=100)
    page.wait_for_selector(".stage.live")
    page.click("#txt2img_generate", button="right")
    page.keyboard.press("Escape")
    expect(page.locator(".menu")).not_to_be_visible()
    page.click("#easel_queue")
    page.keyboard.press("Escape")
    expect(page.locator("#easel_queue_panel")).not_to_be_visible()
    assert server.get(f"jobs/{job}")["job"]["status"] == "running"
    page.keyboard.press("Escape")
    server.wait(job, "interrupted")


def test_the_size_is_swapped_and_tokens_are_counted(open_page: Open, server: Server) -> None:
    page = open_page()
    page.fill("#txt2img_width input[type=number]", "640")
    page.click("#txt2img_res_switch_btn")
    expect(page.locator("#txt2img_height input[type=number]")).to_have_value("640")
    expect(page.locator("#txt2img_width input[type=number]")).to_have_value("512")
    page.fill("#txt2img_prompt textarea", "a red house")
    expect(page.locator("#txt2img_token_counter")).to_have_text("3/75")
    expect(page.locator("#txt2img_negative_token_counter")).to_have_text("0/75")
    page.fill("#txt2img_prompt textarea", "[cat:two big dogs:10] (house:1.x)")
    expect(page.locator("#txt2img_token_counter .slip")).to_have_text("weight “1.x” is not a number")
    page.fill("#txt2img_prompt textarea", "[cat:two big dogs:10]")
    expect(page.locator("#txt2img_token_counter")).to_have_text("3/75")
    page.fill("#txt2img_steps input[type=number]", "5")  # the dogs never come
    expect(page.locator("#txt2img_token_counter")).to_have_text("1/75")


def test_foreign_text_never_becomes_markup(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), "<img src=x onerror=\"window.hacked=1\"> <b>bold</b>")
    page.click("#txt2img_generate")
    expect(page.locator("#html_info_txt2img pre")).to_contain_text("<b>bold</b>")
    page.click("#easel_queue")
    assert page.evaluate("window.hacked") is None


def test_a_script_shows_its_panel_and_its_values_arrive(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), "")
    panel = page.locator("#txt2img_script_prompts_from_file")
    expect(panel).not_to_be_visible()
    page.click("#txt2img_script_list input")
    page.get_by_role("option", name="Prompts from file").click()
    expect(panel).to_be_visible()
    panel.locator("textarea").first.fill("first line\nsecond line")
    page.click("#txt2img_generate")
    page.wait_for_selector("#html_info_txt2img pre:has-text('second line')")
    page.wait_for_selector(".stage:not(.working)")
    request = server.get(f"jobs/{server.jobs()[0]['id']}")["request"]
    assert request["ext"]["prompts_from_file"]["text"] == "first line\nsecond line"


def test_page_budget(guarded: Guarded, server: Server) -> None:
    page = guarded.context(cold=True).pages[0]
    page.goto(server.url)
    page.wait_for_selector("#txt2img_prompt textarea")
    typing = page.evaluate("performance.now()")
    page.wait_for_selector("html[data-easel=ready]")
    facts = page.evaluate("""() => ({
      open: performance.getEntriesByType('resource').filter((entry) => /heartbeat|queue\\/data/.test(entry.name)).length,
      components: window.gradio_config.components.length,
      scripts: performance.getEntriesByType('resource').filter((entry) => /\\/web-\\w+\\/\\w+\\.js$/.test(entry.name))
        .map((entry) => entry.decodedBodySize),
    })""")
    assert typing < 1800 * 3  # bench/page.py measures the bar itself on a quiet machine
    assert facts["open"] == 0  # no tab holds a Gradio connection
    assert facts["components"] < 280  # two forms; what is in a tab that was not opened is not drawn
    assert len(facts["scripts"]) > 10
    assert sum(facts["scripts"]) + (WEB / "boot.js").stat().st_size <= 120 * 1024  # others come with their tab


def test_no_word_is_missing_and_none_is_written_into_the_scripts() -> None:
    languages = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (WEB / "i18n").glob("*.json")}
    assert set(languages) >= {"en", "zh-CN", "ru"}
    holes = re.compile(r"\{(\w+)\}")
    for name, words in languages.items():
        assert list(words) == list(languages["en"]), name
        for key, text in words.items():
            assert text.strip(), (name, key)
            assert set(holes.findall(text)) == set(holes.findall(languages["en"][key])), (name, key)
    used = {key for path in WEB.glob("*.js") for key in re.findall(r"\bt\('(\w+)'", path.read_text(encoding="utf-8"))}
    assert used - set(languages["en"]) == set()


def test_styles_are_chosen_from_the_file_and_stay_chosen(open_page: Open, server: Server) -> None:
    (server.data / "styles.csv").write_text("name,prompt\nGood,masterpiece\nWrap,photo of {prompt}\n", encoding="utf-8")
    page = set_small(open_page(), "a cat")
    page.click("#txt2img_styles input")
    page.get_by_role("option", name="Wrap").click()
    page.keyboard.press("Escape")
    before = {job["id"] for job in server.jobs()}
    page.click("#txt2img_generate")
    found = server.wait(next(iter({job["id"] for job in _until(server, before)} - before)), "done")
    assert found["request"]["styles"] == ["Wrap"] and found["pictures"][0]["infotext"].startswith("photo of a cat\n")
    (server.data / "styles.csv").write_text("name,prompt\nWrap,photo of {prompt}\nNew,x\n", encoding="utf-8")
    page.reload()
    page.wait_for_selector("html[data-easel=ready]")
    expect(page.locator("#txt2img_styles")).to_contain_text("Wrap")
    page.click("#txt2img_styles input")
    expect(page.get_by_role("option", name="New")).to_be_visible()
    page.goto("about:blank")  # it would still count the tokens of a style that is about to go
    (server.data / "styles.csv").unlink()


def test_a_browser_keeps_the_scripts_of_the_page(server: Server) -> None:
    files = sorted(set(re.findall(r"(?:assets|web-\w+)/[\w-]+\.(?:js|css)", server.http.get("/").text)))
    assert {re.sub(r"-\w+", "", name) for name in files} >= {"web/main.js", "web/canvas.css", "assets/index.js"}
    for name in files:
        answer = server.http.get(f"/{name}")
        assert answer.status_code == 200 and answer.headers["cache-control"] == "max-age=31536000, immutable", name
        assert answer.headers["content-type"].partition(";")[0] in ("text/javascript", "application/javascript", "text/css"), name
    assert server.http.get("/assets/none.js").status_code == 404
