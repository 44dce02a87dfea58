"""The routes of docs/api.md. Each is one call of the studio."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Body, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, Response, StreamingResponse
from pydantic import Field

from webui import __version__
from webui.api.bodies import picture_body
from webui.api.model_routes import add_models
from webui.schema.base import Frozen
from webui.schema.errors import NotFoundError, RequestError
from webui.schema.event import Snapshot
from webui.schema.generation import Hires, ImageRef
from webui.schema.metadata import Metadata
from webui.schema.model import Checkpoint, Suggestions
from webui.schema.request import PictureBody
from webui.schema.result import ReplayReport
from webui.schema.settings import Settings
from webui.schema.style import Style, StyleName
from webui.services.studio import Studio

CHUNK = 1 << 18


class MoveJob(Frozen):
    """Body of `move`: the waiting job to go before; null = to the end."""

    before: str | None = None


class CountTokens(Frozen):
    """Body of `tokens`."""

    texts: Annotated[list[str], Field(max_length=16)]
    negative: list[int] = Field(default=[], max_length=16)
    """Which of them (from 0) are negative prompts: there AND and network tags are plain words."""

    steps: Annotated[int, Field(ge=1, le=1000)] = 20
    """Schedules are counted for so many steps; of their texts the longest counts."""

    styles: list[StyleName] = Field(default=[], max_length=100)
    """Styles that are applied to the texts before they are counted."""


class KeepPreferences(Frozen):
    """Body of `checkpoints/preferences`: what to keep for a checkpoint; null = nothing any more."""

    checkpoint: Annotated[str, Field(min_length=1)]
    values: Suggestions | None = None


class StyledPrompts(Frozen):
    """Body of `styles/apply`, and its answer with `styles` empty."""

    prompt: str = ""
    negative_prompt: str = ""
    styles: list[StyleName] = Field(default=[], max_length=100)


def make_router(studio: Studio) -> APIRouter:
    """All routes under /api/v1."""
    router = APIRouter(prefix="/api/v1")
    _add_state(router, studio)
    _add_jobs(router, studio)
    _add_pictures(router, studio)
    _add_reading(router, studio)
    _add_lists(router, studio)
    _add_settings(router, studio)
    add_models(router, studio)
    return router


def _add_state(router: APIRouter, studio: Studio) -> None:
    @router.get("/ping")
    async def ping() -> dict[str, str]:
        return {"version": __version__, "boot": studio.boot}

    @router.get("/state")
    def state() -> Snapshot:
        return studio.snapshot()

    @router.get("/events")
    async def events() -> StreamingResponse:
        studio.warm_up()
        return StreamingResponse(_stream(studio), media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


async def _stream(studio: Studio) -> AsyncIterator[str]:
    subscription = studio.events.subscribe()  # before the snapshot, so that nothing falls between
    try:
        snapshot = await run_in_threadpool(studio.snapshot)
        yield f"data: {snapshot.model_dump_json()}\n\n"
        async for text in subscription:
            yield ":\n\n" if text is None else f"data: {text}\n\n"
    finally:
        subscription.close()


def _add_jobs(router: APIRouter, studio: Studio) -> None:
    @router.post("/jobs", status_code=201)
    def submit(request: PictureBody, repeat: bool = False) -> dict[str, Any]:
        job = studio.submit(request, repeat)
        return {"id": job.id, "lane": job.lane, "position": job.position}

    @router.get("/jobs/{job_id}")
    def job(job_id: str) -> dict[str, Any]:
        found, pictures = studio.job(job_id)
        return {"job": studio.view(found), "request": found.request, "pictures": pictures}

    @router.post("/jobs/{job_id}/interrupt")
    def interrupt_job(job_id: str) -> None:
        studio.stop_job(job_id)

    @router.post("/jobs/{job_id}/skip")
    def skip_batch(job_id: str) -> None:
        studio.stop_job(job_id, skip=True)

    @router.post("/jobs/{job_id}/cancel")
    def cancel(job_id: str) -> None:
        studio.cancel(job_id)

    @router.post("/jobs/{job_id}/requeue")
    def requeue(job_id: str) -> None:
        studio.requeue(job_id)

    @router.post("/jobs/{job_id}/move")
    def move(job_id: str, body: MoveJob) -> None:
        studio.move(job_id, body.before)

    @router.post("/interrupt")
    def interrupt() -> None:
        studio.stop_job(None)

    @router.post("/skip")
    def skip() -> None:
        studio.stop_job(None, skip=True)

    @router.post("/forever/stop")
    def stop_repeating() -> dict[str, int]:
        return {"stopped": studio.stop_repeating()}


def _add_pictures(router: APIRouter, studio: Studio) -> None:
    @router.get("/pictures/{picture_id}")
    def picture(picture_id: int, download: bool = False) -> FileResponse:
        record = studio.gallery.record(picture_id)
        path = Path(record.path)
        kind = "attachment" if download else "inline"
        headers = {"Cache-Control": "no-store" if record.pending else "private, max-age=31536000, immutable"}
        return FileResponse(path, filename=path.name, content_disposition_type=kind, headers=headers)

    @router.post("/pictures/{picture_id}/save")
    def save(picture_id: int) -> dict[str, str]:
        return {"path": studio.gallery.save_copy(picture_id).as_posix()}

    @router.post("/pictures/{picture_id}/hires", status_code=201)
    def enlarge(picture_id: int, hires: Hires) -> dict[str, Any]:
        job = studio.enlarge_picture(picture_id, hires)
        return {"id": job.id, "lane": job.lane, "position": job.position}

    @router.get("/pictures/{picture_id}/info")
    def picture_info(picture_id: int) -> Metadata:
        return studio.picture_info(picture_id)

    @router.post("/pictures/{picture_id}/replay", status_code=201)
    def replay(picture_id: int) -> dict[str, Any]:
        job = studio.replay(picture_id)
        return {"id": job.id, "lane": job.lane, "position": job.position}

    @router.get("/pictures/{picture_id}/replay")
    def replay_report(picture_id: int) -> ReplayReport:
        return studio.replays.report(picture_id)

    @router.post("/pictures/{picture_id}/replay/keep")
    def keep_replay(picture_id: int) -> ReplayReport:
        return studio.replays.keep(picture_id)

    @router.get("/zip")
    def zip_pictures(ids: str) -> StreamingResponse:
        file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by the stream)
        try:
            name = studio.gallery.zip_pictures(_numbers(ids), file)
        except BaseException:
            file.close()
            raise
        length = file.tell()
        headers = {"Content-Disposition": f"attachment; filename*=utf-8''{quote(name)}", "Content-Length": str(length)}
        return StreamingResponse(_chunks(file), media_type="application/zip", headers=headers)


def _add_reading(router: APIRouter, studio: Studio) -> None:
    @router.post("/images", status_code=201)
    async def put_image(request: Request) -> ImageRef:
        return await run_in_threadpool(studio.images.put, await picture_body(request))

    @router.post("/png-info")
    async def png_info(request: Request) -> Metadata:
        return await run_in_threadpool(studio.read_metadata, await picture_body(request))

    @router.get("/params")
    def last_parameters() -> Metadata:
        return studio.last_parameters()

    @router.get("/images/{sha256}")
    def image(sha256: str) -> Response:
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise NotFoundError("There is no such stored picture.")
        return Response(studio.images.read(sha256), media_type="application/octet-stream")


def _numbers(ids: str) -> list[int]:
    try:
        numbers = [int(part) for part in ids.split(",")]
    except ValueError:
        raise RequestError("ids are picture numbers with commas between them.", field="ids") from None
    if len(numbers) > 10_000:
        raise RequestError("At most 10,000 pictures fit into one zip.", field="ids")
    return numbers


def _chunks(file: Any) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while chunk := file.read(CHUNK):
            yield chunk


def _add_lists(router: APIRouter, studio: Studio) -> None:
    @router.post("/tokens")
    def tokens(body: CountTokens) -> dict[str, list[dict[str, Any]]]:
        styled = [studio.apply_styles(text, text, body.styles)[number in body.negative] for number, text in enumerate(body.texts)]
        counts = [studio.count_tokens(text, number in body.negative, body.steps) for number, text in enumerate(styled)]
        hints = [studio.prompt_hints(text) for text in body.texts]
        return {"counts": [{"tokens": count, "limit": limit, "hints": found} for (count, limit), found in zip(counts, hints, strict=True)]}

    @router.get("/checkpoints")
    def checkpoints() -> list[Checkpoint]:
        return studio.checkpoints()

    @router.post("/checkpoints/refresh")
    def refresh() -> list[Checkpoint]:
        return studio.refresh_checkpoints()

    @router.put("/checkpoints/preferences")
    def keep_preferences(body: KeepPreferences) -> None:
        studio.keep_preferences(body.checkpoint, body.values)

    @router.get("/samplers")
    def samplers() -> list[str]:
        return list(studio.registries.samplers)

    @router.get("/schedulers")
    def schedulers() -> list[str]:
        return list(studio.registries.schedulers)

    @router.get("/upscalers")
    def upscalers() -> list[str]:
        return list(studio.registries.upscalers)

    @router.get("/styles")
    def styles() -> list[Style]:
        return studio.styles()

    @router.post("/styles/apply")
    def apply_styles(body: StyledPrompts) -> StyledPrompts:
        prompt, negative_prompt = studio.apply_styles(body.prompt, body.negative_prompt, body.styles)
        return StyledPrompts(prompt=prompt, negative_prompt=negative_prompt)

    @router.put("/styles")
    def replace_styles(styles: Annotated[list[Style], Field(max_length=10_000)]) -> list[Style]:
        return studio.replace_styles(styles)

    @router.get("/scripts")
    def scripts() -> list[dict[str, Any]]:
        found = studio.registries.scripts.values()
        return [{"id": script.id, "title": script.title, "params": script.Params.model_json_schema()} for script in found]

    @router.get("/plugins")
    def plugins() -> list[dict[str, Any]]:
        return [vars(info) for info in studio.host.infos.values()]


def _add_settings(router: APIRouter, studio: Studio) -> None:
    @router.get("/settings")
    def settings() -> Settings:
        return studio.settings()

    @router.get("/page")
    def page_facts(response: Response) -> dict[str, Any]:
        response.headers["Cache-Control"] = "no-store"
        return studio.page_facts()

    @router.put("/defaults")
    def save_defaults(values: Annotated[dict[str, Any], Body()]) -> None:
        studio.save_defaults(values)

    @router.delete("/defaults")
    def clear_defaults() -> None:
        studio.clear_defaults()

    @router.get("/settings/schema")
    def settings_schema() -> list[dict[str, Any]]:
        return studio.settings_schema()

    @router.patch("/settings")
    def change_settings(values: Annotated[dict[str, Any], Body()]) -> Settings:
        return studio.change_settings(values)
