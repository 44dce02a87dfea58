"""A server without a model, and one that goes away and comes back: one server of their own for both, since each imports the engine anew."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Guarded, set_small, visit
from tests.serving import Server, furnish


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Iterator[Server]:
    """A server that may be stopped, and that has made no picture when the first test begins."""
    server = Server(furnish(tmp_path_factory.mktemp("own") / "data", tiny_checkpoint)).start()
    yield server
    server.stop()


def test_without_a_model_the_page_says_where_to_put_one(own_server: Server, guarded: Guarded) -> None:
    folder = own_server.data / "models" / "Stable-diffusion"
    weights = next(folder.glob("*.safetensors"))
    away = weights.rename(own_server.data / "away.safetensors")
    own_server.post("checkpoints/refresh")
    page = set_small(visit(guarded.context().pages[0], own_server), "at last")
    expect(page.locator(".empty")).to_contain_text("No model yet")
    expect(page.locator(".empty code")).to_have_text(str(folder))
    page.click("#txt2img_generate")
    expect(page.locator("#setting_sd_model_checkpoint .field-error")).to_contain_text("no checkpoint")
    shutil.move(away, weights)
    page.get_by_role("button", name="Read again", exact=True).click()
    expect(page.locator(".empty")).to_contain_text("Your pictures appear here")
    expect(page.locator("#setting_sd_model_checkpoint input")).to_have_value("tiny.safetensors")
    page.click("#txt2img_generate")
    expect(page.locator("#html_info_txt2img pre")).to_contain_text("at last", timeout=60_000)


def test_draft_and_job_survive_a_killed_server(own_server: Server, guarded: Guarded) -> None:
    # what the browser itself says while nobody answers
    guarded.tolerated = ("ERR_CONNECTION", "ERR_INCOMPLETE", "ERR_EMPTY_RESPONSE", "net::", "main.js")
    context = guarded.context()
    page = set_small(visit(context.pages[0], own_server), "written before the crash", steps=150)
    page.fill("#txt2img_seed input", "4711")
    page.fill("#txt2img_batch_count input[type=number]", "50")
    page.click("#txt2img_generate")
    page.wait_for_selector(".stage.live", timeout=60_000)
    older = context.new_page()  # has scripts that the next server does not have
    older.route("**/web-*/main.js", lambda route: route.fulfill(status=404) if route.request.method == "HEAD" else route.continue_())
    for each in (page, visit(older, own_server)):
        each.evaluate("window.mark = true")
    own_server.stop(signal.SIGKILL)
    expect(page.locator(".notice.away")).to_be_visible()
    page.fill("#txt2img_negative_prompt textarea, #txt2img_neg_prompt textarea", "typed while it was away")
    own_server.start()
    expect(page.locator(".notice.away")).not_to_be_visible(timeout=20_000)
    older.wait_for_function("!window.mark", timeout=20_000)  # so it was loaded again
    assert page.evaluate("window.mark")
    page.click("#easel_queue")
    ended = page.locator(".job.ended", has_text="written before the crash")
    expect(ended).to_have_count(1)
    expect(ended).to_contain_text("interrupted")
    page.keyboard.press("Escape")

    page.fill("#txt2img_batch_count input[type=number]", "1")
    page.fill("#txt2img_steps input[type=number]", "4")
    page.click("#txt2img_generate")  # the page was not reloaded
    expect(page.locator("#html_info_txt2img pre")).to_contain_text("typed while it was away Steps: 4", timeout=60_000)

    fresh = visit(context.new_page(), own_server)
    assert fresh.input_value("#txt2img_prompt textarea") == "written before the crash"
    assert fresh.input_value("#txt2img_neg_prompt textarea") == "typed while it was away"
    assert fresh.input_value("#txt2img_seed input") == "4711"
    assert fresh.input_value("#txt2img_width input[type=number]") == "64"
