"""Errors as HTTP answers: the status of the class, the body `{type, message, field, hint}`. One of the three places that catch."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from webui.schema.errors import ErrorInfo, WebuiError, describe_complaints

log = logging.getLogger(__name__)


def answer_errors(app: FastAPI) -> None:
    """Install the handlers."""
    app.add_exception_handler(WebuiError, _webui_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(Exception, _any_error)


async def _webui_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, WebuiError)
    return JSONResponse(error.info.model_dump(), status_code=error.status)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    infos = describe_complaints([{**item, "loc": _within(item["loc"])} for item in error.errors()])
    return JSONResponse(infos[0].model_dump() | {"errors": [info.model_dump() for info in infos]}, status_code=422)


def _within(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """FastAPI says first where it looked; a person knows only the field."""
    return location[1:] if location and location[0] in ("body", "query", "path") else location


async def _any_error(request: Request, error: Exception) -> JSONResponse:
    log.error("request %s %s failed", request.method, request.url.path, exc_info=error)
    info = ErrorInfo(type=type(error).__name__, message="Easel made a mistake; the log tells more.")
    return JSONResponse(info.model_dump(), status_code=500)
