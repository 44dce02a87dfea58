"""The server with answers that come late, each by another time: what a busy machine does, on purpose. `EASEL_LATE=0.8 python -m pytest tests/browser`
starts it in place of `app.py` (`tests/serving.py`); the number is the longest wait in seconds, once before and once after the work. What the page's
scripts do wrong when answers come in another order, and a test that does not wait for what it reads, fail far oftener so.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

import webui.main as server

LONGEST = float(os.environ.get("EASEL_LATE", "0.8"))
FILES = ("/web", "/assets", "/static", "/theme", "/svelte")
"""Scripts and styles: they come in no order that counts."""


class Late:
    """Around an application: the questions of a page wait, those of a test itself do not."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.chance = random.Random(os.environ.get("EASEL_LATE_SEED"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer late."""
        by_page = scope["type"] == "http" and any(name == b"sec-fetch-mode" for name, _ in scope["headers"])
        late = by_page and not scope["path"].startswith(FILES)
        stream = late and scope["path"].endswith("/events")

        async def pass_on(message: Message) -> None:
            if stream or (late and message["type"] == "http.response.start"):
                await self._wait(LONGEST / 5 if stream else LONGEST)
            await send(message)

        if late:
            await self._wait(LONGEST)
        await self.app(scope, receive, pass_on)

    async def _wait(self, most: float) -> None:
        await asyncio.sleep(self.chance.random() ** 3 * most)  # mostly short, now and then long


def serve_late() -> int:
    """`app.py`, with `Late` around everything. Returns its exit status."""
    make_app = server.make_app

    def make_late(*parts: Any) -> Any:
        app = make_app(*parts)
        app.add_middleware(Late)
        return app

    server.make_app = make_late
    return server.main()


if __name__ == "__main__":
    sys.exit(serve_late())
