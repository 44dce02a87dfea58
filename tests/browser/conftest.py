"""Chromium and servers for the browser tests. A missing Chromium is a failure, never a skip."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import APIResponse, Browser, BrowserContext, Page, Request, Route, expect, sync_playwright

from tests.serving import Server, furnish

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

expect.set_options(timeout=30_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder drives Chromium."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def find_chromium() -> str:
    """Path of the browser: $CHROMIUM, or the first known name on the path."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    assert found, "The browser tests need Chromium: apt-get install chromium, or name one with CHROMIUM=/path/to/chromium."
    return found


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests; only 127.0.0.1 can be reached from it."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def shared_server(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Iterator[Server]:
    """The server most tests use, with the model already in memory."""
    server = Server(furnish(tmp_path_factory.mktemp("shared") / "data", tiny_checkpoint)).start()
    server.wait(server.submit(prompt="warm up"), "done", seconds=120)
    yield server
    server.stop()


@pytest.fixture
def server(shared_server: Server) -> Server:
    """The shared server with nothing to do."""
    shared_server.calm()
    return shared_server


class Profiles:
    """Browser contexts with a page each that serve one test after the other. Between two of them everything a site can store is forgotten, but the
    browser keeps its files and its compiled scripts, as a person's does: a page in a new profile takes twice as much CPU time."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.idle: dict[str, list[BrowserContext]] = {}

    @contextmanager
    def lend(self, guard: Guarded, options: dict[str, object], cold: bool = False) -> Iterator[BrowserContext]:
        """A profile nobody uses, made with these options, with an empty page; the guard listens."""
        idle = [] if cold else self.idle.setdefault(repr(sorted(options.items())), [])
        context = idle.pop() if idle else self._new(options)
        for event, listener in guard.listeners:
            context.on(event, listener)  # pyright: ignore[reportArgumentType, reportCallIssue]
        yield context
        page, *others = context.pages or [context.new_page()]
        for other in others:
            other.close()
        page.goto("about:blank")
        for event, listener in guard.listeners:
            context.remove_listener(event, listener)
        forget(page, guard.origins)
        idle.append(context)
        if cold:
            context.close()

    def _new(self, options: dict[str, object]) -> BrowserContext:
        context = self.browser.new_context(**options)  # pyright: ignore[reportArgumentType]
        context.set_default_timeout(30_000)  # a busy machine is no failure
        context.new_page()
        return context


def forget(page: Page, origins: Iterable[str]) -> None:
    """Empty all that these sites may have stored in the profile of a page, and leave the page empty. The cache of files stays."""
    session = page.context.new_cdp_session(page)
    for origin in origins:
        page.goto(f"{origin}/api/v1/ping")  # a page without scripts
        page.evaluate("sessionStorage.clear()")  # the tab's, the rest is the profile's
        page.goto("about:blank")
        session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
    session.detach()
    page.context.clear_cookies()
    page.context.clear_permissions()


class Guarded:
    """Browser contexts whose pages must stay free of console errors and of requests to anywhere but the server."""

    def __init__(self, profiles: Profiles) -> None:
        self.profiles = profiles
        self.lent = ExitStack()
        self.origins: set[str] = set()
        self.complaints: list[str] = []
        self.tolerated: tuple[str, ...] = ()
        self.listeners: list[tuple[str, Callable[..., None]]] = [
            ("console", lambda message: self._note(message.type == "error", f"console: {message.text} {message.location}")),
            ("weberror", lambda error: self._note(True, f"page error: {error.error}")),
            ("request", self._request),
        ]

    def context(self, *, cold: bool = False, **options: object) -> BrowserContext:
        """A profile without anything in it: own storage, English, a laptop's window. Its first page is there; it goes on to the next test, so routes
        and scripts are for other pages, which are closed. `cold`: one that has not even the browser's files, for a test that measures."""
        # Without animations: a dot that breathes has the page painted sixty times a second, without a GPU.
        settings = {"viewport": {"width": 1360, "height": 900}, "locale": "en-US", "reduced_motion": "reduce"} | options
        return self.lent.enter_context(self.profiles.lend(self, settings, cold))

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        self._note(address.hostname not in ("127.0.0.1", None), f"external: {request.url}")
        if address.hostname:
            self.origins.add(f"{address.scheme}://{address.netloc}")

    def _note(self, bad: bool, text: str) -> None:
        if bad and not any(part in text for part in self.tolerated):
            self.complaints.append(text)


@pytest.fixture(scope="package")
def profiles(browser: Browser) -> Profiles:
    """The profiles of all tests."""
    return Profiles(browser)


@pytest.fixture
def guarded(profiles: Profiles) -> Iterator[Guarded]:
    """Makes contexts; fails the test when a page complained."""
    guard = Guarded(profiles)
    with guard.lent:
        yield guard
    assert guard.complaints == []


@pytest.fixture
def open_page(guarded: Guarded, server: Server) -> Callable[..., Page]:
    """`open_page(**context options)`: the page in a new profile, ready for input."""

    def open_one(**options: Any) -> Page:
        page = guarded.context(**options).pages[0]
        visit(page, server)
        return page

    return open_one


def until(page: Page, happened: Callable[[], bool], seconds: float = 30.0) -> None:
    """Let the page go on until something happened that a route or a listener of the test sees, or that only a promise of the page says:
    `wait_for_function` takes a promise for a yes."""
    limit = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < limit, "the page did not do it"
        page.wait_for_timeout(20)


class Held:
    """An answer of the server that comes late: that to the first request of `page` whose address fits and whose body holds `words`. All others come
    as always. For a page of its own (`new_page()`), which takes the route with it."""

    def __init__(self, page: Page, address: str, words: str = "", method: str = "") -> None:
        self.page, self.words, self.method = page, words, method
        self.taken = False
        self.answers: list[tuple[Route, APIResponse]] = []
        page.route(address, self._take)

    def _take(self, route: Route) -> None:
        request = route.request
        fits = self.method in ("", request.method) and (not self.words or self.words in (request.post_data or ""))
        if fits and not self.taken:
            self.taken = True
            self.answers.append((route, route.fetch()))
        else:
            route.fallback()

    def wait(self) -> Held:
        """Until the server has answered."""
        until(self.page, lambda: bool(self.answers))
        return self

    def let_go(self) -> None:
        """The page gets the answer, and has seen what is in it."""
        route, answer = self.wait().answers[0]
        with self.page.expect_event("requestfinished", lambda request: request == route.request):
            route.fulfill(response=answer)
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))")


def visit(page: Page, server: Server) -> Page:
    """Open the server's page and wait until it is drawn and live."""
    page.goto(server.url)
    page.wait_for_selector("html[data-easel=ready]")
    return page


def set_small(page: Page, prompt: str = "a house", steps: int = 4) -> Page:
    """Fill the form for a picture that takes a moment. `steps` above the slider's end are for jobs that last."""
    for field, value in (("width", 64), ("height", 64), ("steps", steps)):
        page.fill(f"#txt2img_{field} input[type=number]", str(value))
    page.fill("#txt2img_prompt textarea", prompt)
    return page


def open_panel(page: Page, element: str) -> Page:
    """Unfold a panel of the form. Gradio draws what is in it, and one frame later sets it to the values it was born with: nobody types that fast, but
    a test does."""
    page.click(f"#{element} > button.label-wrap")
    return settle(page, element)


def settle(page: Page, element: str) -> Page:
    """Wait until what is in an unfolding panel is there to stay."""
    expect(page.locator(f"#{element} .block").first).to_be_visible()
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))")
    return page


def finished(page: Page, count: int) -> None:
    """Wait until the strip (or the stage, for a single one) shows `count` finished pictures."""
    page.wait_for_function("count => document.querySelectorAll('.thumb[data-picture]:not(.live)').length >= count", arg=count)
