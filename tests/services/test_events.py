"""The stream: everything that matters in order, of previews only the newest, and an end."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

from webui.schema.event import CatalogChanged, JobChanged, Notice, Preview, Progress
from webui.schema.job import Job, JobStatus, JobView
from webui.services import events as module
from webui.services.events import EventBus


def preview(seq: int) -> Preview:
    """A preview."""
    return Preview(job_id="j", seq=seq, width=1, height=1, url="data:,")


def progress(step: int) -> Progress:
    """A progress event."""
    return Progress(job_id="j", picture=1, pictures=1, step=step, steps=9, fraction=0.1, eta=None)


async def collect(bus: EventBus, act: Any) -> list[dict[str, Any]]:
    """Subscribe, act on another thread, close the bus; what a page got."""
    subscription = bus.subscribe()
    thread = threading.Thread(target=act)
    thread.start()
    await asyncio.to_thread(thread.join)
    bus.close()
    found = [json.loads(text) async for text in subscription if text]
    subscription.close()
    return found


def test_a_slow_page_gets_every_event_but_only_the_newest_preview() -> None:
    bus = EventBus()

    def act() -> None:
        for number in range(5):
            bus.publish(preview(number))
            bus.publish(progress(number))
        bus.publish(CatalogChanged())
        bus.publish(Notice(id="a", level="info", message="hello"))

    found = asyncio.run(collect(bus, act))
    assert [item["type"] for item in found if item["type"] in ("catalog", "notice")] == ["catalog", "notice"]
    assert [item["seq"] for item in found if item["type"] == "preview"] == [4]
    assert [item["step"] for item in found if item["type"] == "progress"] == [4]


def test_late_pages_learn_the_state_and_it_ends_with_the_job(job: Job) -> None:
    bus = EventBus()
    bus.publish(progress(3))
    bus.publish(preview(1))
    bus.publish(Notice(id="a", level="info", message="hello"))
    assert bus.progress and bus.preview and [notice.id for notice in bus.notices()] == ["a"]
    other = JobView.of(job.revise(id="other", status=JobStatus.DONE), 0)
    bus.publish(JobChanged(job=other))
    assert bus.progress is not None
    bus.publish(JobChanged(job=JobView.of(job.revise(id="j", status=JobStatus.DONE), 0)))
    assert bus.progress is None and bus.preview is None


def test_a_page_far_behind_is_cut_off(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "BACKLOG", 10)
    bus = EventBus()

    async def run() -> int:
        subscription = bus.subscribe()
        for _ in range(20):
            bus.publish(CatalogChanged())
        return len([text async for text in subscription])

    assert asyncio.run(run()) == 20


def test_keepalive(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "KEEPALIVE_SECONDS", 0.01)
    bus = EventBus()

    async def run() -> object:
        async for text in bus.subscribe():
            return text
        return "ended"

    assert asyncio.run(run()) is None


def test_listeners_hear_everything_but_previews() -> None:
    bus, heard = EventBus(), []
    bus.listen(heard.append)
    bus.publish(preview(1))
    bus.publish(CatalogChanged())
    assert heard == [CatalogChanged()]
