"""Several jobs: order, moving, cancelling, queueing again, generating forever."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import Guarded, Held, set_small, visit
from tests.serving import Server

Open = Callable[..., Page]


def occupy(server: Server) -> str:
    """Keep the device busy; returns the job."""
    job = server.submit(prompt="busy", steps=1000, batch_count=100)
    server.wait(job, "running")
    return job


def waiting(page: Page) -> list[str]:
    """Titles of the waiting rows, top to bottom."""
    return page.locator(".job.waiting .title").all_inner_texts()


def test_three_jobs_run_in_order_beside_the_saving_of_the_one_before(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), steps=20)
    blocker = occupy(server)
    for number, name in enumerate(("one", "two", "three"), start=1):
        page.fill("#txt2img_prompt textarea", name)
        page.click("#txt2img_generate")
        expect(page.locator("#txt2img_generate")).to_have_attribute("data-queued", f"(+{number} queued)")
    ids = server.get("state")["waiting"]
    server.post(f"jobs/{blocker}/interrupt")
    jobs = [server.wait(job_id, "done")["job"] for job_id in ids]
    assert [job["title"] for job in jobs] == ["one", "two", "three"]
    chain = [server.get(f"jobs/{blocker}")["job"], *jobs]
    assert all(before["started"] < job["started"] for before, job in zip(chain, jobs, strict=False))
    assert all(before["ended"] <= job["started"] for before, job in zip(chain, chain[2:], strict=False))  # of one job pictures may still be saved


def test_reorder_by_button_and_by_drag_and_cancel(open_page: Open, server: Server) -> None:
    page = open_page()
    occupy(server)
    for name in ("a", "b", "c"):
        server.submit(prompt=name)
    page.click("#easel_queue")
    expect(page.locator(".job.waiting")).to_have_count(3)
    page.get_by_role("button", name="Move up: c").click()
    expect(page.locator(".job.waiting .title")).to_have_text(["a", "c", "b"])
    page.get_by_role("button", name="Move down: a").click()
    expect(page.locator(".job.waiting .title")).to_have_text(["c", "a", "b"])
    row = page.locator(".job.waiting").filter(has_text="b")
    target = page.locator(".job.waiting").filter(has_text="c")
    row.drag_to(target, target_position={"x": 60, "y": 4})
    expect(page.locator(".job.waiting .title")).to_have_text(["b", "c", "a"])
    page.get_by_role("button", name="Cancel: c").click()
    expect(page.locator(".job.waiting .title")).to_have_text(["b", "a"])
    assert [server.get(f"jobs/{job}")["job"]["title"] for job in server.get("state")["waiting"]] == ["b", "a"]


def test_an_interrupted_job_can_be_queued_again(open_page: Open, server: Server) -> None:
    page = open_page()
    job = occupy(server)
    page.click("#easel_queue")
    page.get_by_role("button", name="Interrupt: busy").click()
    server.wait(job, "interrupted")
    again = page.locator(".job.ended").filter(has=page.locator(f"[data-key=requeue-{job}]"))  # other tests' jobs may stand there, too
    expect(again).to_contain_text("interrupted")
    again.get_by_role("button").click()
    server.wait(job, "running", "queued")
    expect(page.locator(".job.now")).to_contain_text("busy")


def test_a_look_at_the_server_that_comes_late_does_not_bring_an_old_state_back(guarded: Guarded, server: Server) -> None:
    page = visit(guarded.context().new_page(), server)
    page.click("#easel_queue")
    held = Held(page, "**/api/v1/state")
    job = occupy(server)
    expect(page.locator(".job.now")).to_contain_text("busy")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # as after a laptop's sleep
    held.wait()
    server.post(f"jobs/{job}/interrupt")
    ended = page.locator(f".job.ended [data-key=requeue-{job}]")
    expect(ended).to_be_visible()
    page.evaluate(
        "import(`/${easelPage.web}/store.js`).then(({ subscribe }) => subscribe((_, event) => { window.late ||= event.type === 'snapshot'; }))",
    )
    held.let_go()
    page.wait_for_function("window.late")
    expect(ended).to_be_visible()
    expect(page.locator("#easel_queue .label")).to_have_text("Idle")


def test_generate_forever_goes_on_until_it_is_stopped(open_page: Open, server: Server) -> None:
    page = set_small(open_page(), "again and again")
    page.click("#txt2img_generate", button="right")
    page.get_by_role("menuitem", name="Generate forever", exact=True).click()
    page.wait_for_function("document.querySelectorAll('.thumb[data-picture]:not(.live)').length >= 3")
    seeds = page.locator(".thumb:not(.live)").evaluate_all("items => items.map(item => item.title)")
    assert len(set(seeds)) == len(seeds)  # a new seed each time
    page.click("#txt2img_forever_stop")
    expect(page.locator("#txt2img_forever_stop")).not_to_be_visible()
    page.wait_for_selector(".stage:not(.working)")
    assert server.get("state")["waiting"] == []


def test_the_empty_panel_says_what_it_is_for(open_page: Open, server: Server) -> None:
    page = open_page()
    page.click("#easel_queue")
    expect(page.locator("#easel_queue_panel")).to_contain_text("Nothing is waiting")
    page.keyboard.press("Escape")
    expect(page.locator("#easel_queue_panel")).not_to_be_visible()
    expect(page.locator("#easel_queue")).to_be_focused()
