"""The FastAPI application of the server: our routes and static files. The page is mounted on it later, the guard is put around all of it."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import HTTPException
from fastapi.responses import Response
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

from webui import __version__
from webui.api.errors import answer_errors
from webui.api.interrogate_routes import make_interrogate
from webui.api.routes import make_router
from webui.schema.errors import NotFoundError
from webui.services.studio import Studio

mimetypes.add_type("text/javascript", ".js")  # Windows registries often say text/plain, and modules are then refused


def make_api(studio: Studio, web: Path) -> FastAPI:
    """The application, with `web` (the page's own scripts, styles and translations) under /web."""
    # FastAPI's docs pages load scripts from elsewhere; the schema itself is all that programs need.
    app = FastAPI(title="Easel", version=__version__, openapi_url="/api/openapi.json", docs_url=None, redoc_url=None)
    answer_errors(app)
    app.include_router(make_router(studio))
    app.include_router(make_interrogate(studio))
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=5)  # text only: pictures and event streams pass as they are
    files = StaticFiles(directory=web)

    @app.get("/web/{path:path}", include_in_schema=False)
    async def web_file(path: str, request: Request) -> Response:
        try:
            answer = await files.get_response(path, request.scope)  # 304 for what the browser has
        except HTTPException as error:
            raise NotFoundError(f"There is no file {path[:80]}.") from error
        answer.headers["Cache-Control"] = "no-cache"
        return answer

    return app
