"""The routes of the Extras tab and of interrogation (docs/extras.md). Each is one call of the desk."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from webui.schema.extras import Extras, Interrogate
from webui.services.studio import Studio


def add_extras(router: APIRouter, studio: Studio) -> None:
    """Work on finished pictures, and pictures described in words."""
    desk = studio.extras

    @router.get("/extras/form")
    def form() -> dict[str, Any]:
        return desk.form()

    @router.post("/extras", status_code=201)
    def process(request: Extras) -> dict[str, Any]:
        return _submitted(studio, request)

    @router.post("/interrogate", status_code=201)
    def interrogate(request: Interrogate) -> dict[str, Any]:
        return _submitted(studio, request)

    @router.get("/interrogate/{job_id}")
    def description(job_id: str) -> dict[str, Any]:
        job, _ = studio.job(job_id)
        return {"job": studio.view(job), "text": desk.description(job_id)}


def _submitted(studio: Studio, request: Extras | Interrogate) -> dict[str, Any]:
    job = studio.extras.submit(request)
    return {"id": job.id, "lane": job.lane, "position": job.position}
