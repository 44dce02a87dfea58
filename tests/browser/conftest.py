"""Chromium and servers for the browser tests. A missing Chromium is a failure, never a skip."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

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


@pytest.fixture
def data_folder(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    """A data folder with that checkpoint, for a test that needs a server of its own."""
    return furnish(tmp_path / "data", tiny_checkpoint)


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


class Guarded:
    """Browser contexts whose pages must stay free of console errors and of requests to anywhere but the server."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.tolerated: tuple[str, ...] = ()

    def context(self, **options: object) -> BrowserContext:
        """A new profile: own storage, English, a laptop's window."""
        settings = {"viewport": {"width": 1360, "height": 900}, "locale": "en-US"} | options
        context = self.browser.new_context(**settings)  # pyright: ignore[reportArgumentType]
        context.set_default_timeout(30_000)  # a busy machine is no failure
        context.on("console", lambda message: self._note(message.type == "error", f"console: {message.text} {message.location}"))
        context.on("weberror", lambda error: self._note(True, f"page error: {error.error}"))
        context.on("request", lambda request: self._note(urlsplit(request.url).hostname not in ("127.0.0.1", None), f"external: {request.url}"))
        self.contexts.append(context)
        return context

    def _note(self, bad: bool, text: str) -> None:
        if bad and not any(part in text for part in self.tolerated):
            self.complaints.append(text)


@pytest.fixture
def guarded(browser: Browser) -> Iterator[Guarded]:
    """Makes contexts; fails the test when a page complained."""
    guard = Guarded(browser)
    yield guard
    for context in guard.contexts:
        context.close()
    assert guard.complaints == []


@pytest.fixture
def open_page(guarded: Guarded, server: Server) -> Callable[..., Page]:
    """`open_page(**context options)`: the page in a new profile, ready for input."""

    def open_one(**options: object) -> Page:
        page = guarded.context(**options).new_page()
        visit(page, server)
        return page

    return open_one


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
