"""Typed events from any thread to every open page. Progress and previews are only worth something when fresh: a slow page gets the newest."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable

from webui.plugins.host import PluginHost
from webui.schema.event import Event, Hashing, JobChanged, Notice, Preview, Progress, Working

KEEPALIVE_SECONDS = 15.0
BACKLOG = 1000
"""Events a page may be behind before it is cut off; it reconnects and starts from a fresh snapshot."""


class EventBus:
    """Publish from any thread, subscribe from the event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: set[Subscription] = set()
        self._listeners: list[Callable[[Event], None]] = []
        self._notices: dict[str, Notice] = {}
        self.closed = False
        self.progress: Progress | None = None
        self.preview: Preview | None = None
        self.hashing: Hashing | None = None
        self.working: Working | None = None

    def publish(self, event: Event) -> None:
        """Send an event to every page and listener. Cheap; safe from any thread."""
        with self._lock:
            self._remember(event)
            subscribers = list(self._subscribers)
        if not isinstance(event, Preview):
            for listener in self._listeners:
                listener(event)
        if subscribers:
            text = event.model_dump_json()
            for subscriber in subscribers:
                subscriber.offer(event, text)

    def _remember(self, event: Event) -> None:
        """Keep what a page that opens later must know."""
        if isinstance(event, Notice):
            self._notices[event.id] = event
        elif isinstance(event, Progress):
            self.progress = event
        elif isinstance(event, Preview):
            self.preview = event
        elif isinstance(event, Hashing):
            self.hashing = event
        elif isinstance(event, Working):
            self.working = event
        elif isinstance(event, JobChanged) and event.job.status.ended:
            if self.working and self.working.job_id == event.job.id:
                self.working = None
            if self.hashing and self.hashing.job_id == event.job.id:
                self.hashing = None
            if self.progress and self.progress.job_id == event.job.id:
                self.progress = None
            if self.preview and self.preview.job_id == event.job.id:
                self.preview = None

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every event but previews, on the publishing thread."""
        self._listeners.append(listener)

    def notices(self) -> tuple[Notice, ...]:
        """What every page should say."""
        with self._lock:
            return tuple(self._notices.values())

    def subscribe(self) -> Subscription:
        """A new page. Call from the event loop; iterate it, then `close` it."""
        subscription = Subscription(self, asyncio.get_running_loop())
        with self._lock:
            self._subscribers.add(subscription)
        if self.closed:
            subscription.end()
        return subscription

    def drop(self, subscription: Subscription) -> None:
        """Forget a page."""
        with self._lock:
            self._subscribers.discard(subscription)

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self.closed = True
        with self._lock:
            subscribers = list(self._subscribers)
        for subscriber in subscribers:
            subscriber.end()


class Subscription:
    """The events of one page, as JSON texts; None now and then keeps the connection alive."""

    def __init__(self, bus: EventBus, loop: asyncio.AbstractEventLoop) -> None:
        self._bus = bus
        self._loop = loop
        self._lock = threading.Lock()
        self._queue: deque[str] = deque()
        self._latest: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._ended = False

    def offer(self, event: Event, text: str) -> None:
        """Queue an event; a newer progress or preview replaces one not yet sent."""
        with self._lock:
            if isinstance(event, (Progress, Preview, Hashing, Working)):
                self._latest[event.type] = text
            else:
                self._queue.append(text)
            if len(self._queue) > BACKLOG:
                self._ended = True
        self._notify()

    def end(self) -> None:
        """No more events."""
        self._ended = True
        self._notify()

    def _notify(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    async def __aiter__(self) -> AsyncIterator[str | None]:
        while True:
            with self._lock:
                ready = [*self._queue, *self._latest.values()]
                self._queue.clear()
                self._latest.clear()
            for text in ready:
                yield text
            if self._ended:
                return
            try:
                await asyncio.wait_for(self._wake.wait(), KEEPALIVE_SECONDS)
            except TimeoutError:
                yield None
            self._wake.clear()

    def close(self) -> None:
        """The page is gone."""
        self._bus.drop(self)


def forward_to_plugins(host: PluginHost) -> Callable[[Event], None]:
    """A listener for the event bus that tells plugins."""

    def forward(event: Event) -> None:
        if host.has("event_published"):
            host.call("event_published", event=event)

    return forward
