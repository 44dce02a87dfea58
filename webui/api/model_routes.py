"""The routes of the Models tab (docs/api.md). Each is one call of the shelf."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, Response

from webui.api.bodies import picture_body
from webui.schema.model_work import Convert, Merge
from webui.services.sidecars import CardNotes
from webui.services.studio import Studio


def add_models(router: APIRouter, studio: Studio) -> None:
    """Cards of models, their notes and pictures, merging and converting."""
    shelf = studio.shelf

    @router.get("/models")
    def cards() -> Response:
        text = json.dumps(shelf.cards(), separators=(",", ":"), ensure_ascii=False)  # thousands of plain values: no model for each
        return Response(text, media_type="application/json", headers={"Cache-Control": "no-store"})

    @router.get("/models/card")
    def card(kind: str, name: str) -> dict[str, Any]:
        return shelf.card(kind, name)

    @router.patch("/models/card")
    def change_notes(kind: str, name: str, changes: CardNotes) -> dict[str, Any]:
        return shelf.change_notes(kind, name, changes)

    @router.post("/models/hash")
    def hash_model(kind: str, name: str) -> dict[str, Any]:
        return shelf.hash(kind, name)

    @router.get("/models/preview")
    def preview(kind: str, name: str) -> FileResponse:
        return FileResponse(shelf.preview(kind, name), headers={"Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff"})

    @router.put("/models/preview")
    async def put_preview(kind: str, name: str, request: Request, picture: int | None = None) -> dict[str, Any]:
        if picture is not None:
            content = await run_in_threadpool(lambda: _content(studio, picture))
        else:
            content = await picture_body(request)
        return await run_in_threadpool(shelf.set_preview, kind, name, content)

    @router.get("/models/forms")
    def forms() -> dict[str, list[dict[str, Any]]]:
        return shelf.forms()

    @router.get("/models/metadata")
    def metadata(names: Annotated[list[str], Query(max_length=3)]) -> dict[str, Any]:
        return shelf.read_metadata(names)

    @router.post("/models/merge", status_code=201)
    def merge(request: Merge) -> dict[str, Any]:
        return submit(request)

    @router.post("/models/convert", status_code=201)
    def convert(request: Convert) -> dict[str, Any]:
        return submit(request)

    def submit(request: Merge | Convert) -> dict[str, Any]:
        job = shelf.submit(request)
        return {"id": job.id, "lane": job.lane, "position": job.position, "output": studio.view(job).title}


def _content(studio: Studio, picture: int) -> bytes:
    with open(studio.gallery.record(picture).path, "rb") as file:
        return file.read()
