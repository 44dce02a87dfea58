"""The profiles that tests hand on to each other: nothing of a test may be seen by the next, and the browser's cache of files must be, or they are for
nothing."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.browser.conftest import Guarded, Profiles, set_small, visit
from tests.serving import Server

LEAVE = """async () => {
  localStorage.setItem('mark', '1');
  sessionStorage.setItem('mark', '1');
  document.cookie = 'mark=1';
  await (await caches.open('mark')).put('/mark', new Response('1'));
  await new Promise((done) => {
    const request = indexedDB.open('mark', 1);
    request.onupgradeneeded = () => request.result.createObjectStore('mark').put(1, 1);
    request.onsuccess = done;
  });
}"""
FIND = """async () => ({
  local: { ...localStorage }, session: { ...sessionStorage }, cookie: document.cookie,
  caches: await caches.keys(), databases: (await indexedDB.databases()).map(({ name }) => name),
})"""
NOTHING = {"local": {}, "session": {}, "cookie": "", "caches": [], "databases": []}
FETCHED = "performance.getEntriesByType('resource').filter(({ name, transferSize }) => /\\/(assets|web-\\w+)\\//.test(name) && transferSize).length"


def test_a_profile_that_was_used_is_as_a_new_one(profiles: Profiles, server: Server) -> None:
    before, after, unused = Guarded(profiles), Guarded(profiles), profiles.browser.new_context(locale="en-ZA")
    with before.lent:
        context = before.context(locale="en-ZA")  # no other test has this one
        page = set_small(visit(context.pages[0], server), "left behind", steps=9)
        page.click("#easel_theme")
        page.click("#tab_img2img-button")
        page.wait_for_selector("#img2img_image[data-ready]")
        page.evaluate(LEAVE)
        left, fetched = page.evaluate(FIND), page.evaluate(FETCHED)
        assert {"mark", "easel.draft", "easel.theme", "easel.tab"} <= set(left["local"])
        assert left["databases"] == ["easel", "mark"]
        assert left["session"] and left["caches"] and left["cookie"] and fetched > 20
    with after.lent:
        assert after.context(locale="en-ZA") is context
        page = context.pages[0]
        page.goto(f"{server.url}/api/v1/ping")  # a page that stores nothing
        assert page.evaluate(FIND) == NOTHING
        visit(page, server)
        fresh = visit(unused.new_page(), server)
        assert _seen(page) == _seen(fresh)
        assert page.evaluate(FETCHED) == 0
    unused.close()


def _seen(page: Page) -> dict:
    """What a page stored by itself, and what its form shows."""
    fields = page.eval_on_selector_all("#tabs input, #tabs textarea", "all => all.map(({ id, type, value }) => [id, type, value])")
    return {"stored": page.evaluate(FIND), "fields": fields, "dark": page.evaluate("easel.isDark()")}
