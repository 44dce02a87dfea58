"""Errors a person can act on. Raised where the fact is known, caught at three places: the worker, the plugin host, the edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import ValidationError

from webui.schema.base import Frozen


class ErrorInfo(Frozen):
    """An error as data: the HTTP body, the job row, the note at a form field. `field` is a path such as `steps` or `ext.xyz.x_values`."""

    type: str
    message: str
    field: str | None = None
    hint: str | None = None


class WebuiError(Exception):
    """Something the person can understand and mend: `message` says what, `field` says where, `hint` says the way out."""

    status: ClassVar[int] = 500

    def __init__(self, message: str, field: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.hint = hint

    @property
    def info(self) -> ErrorInfo:
        """This error as data."""
        return ErrorInfo(type=type(self).__name__, message=self.message, field=self.field, hint=self.hint)


class RequestError(WebuiError):
    """The request itself is wrong; nothing was started."""

    status = 422


class PromptError(RequestError):
    """A prompt that cannot be read, exactly where A1111 raises too; `position` counts characters of the text parsed, from 0."""

    def __init__(self, message: str, field: str = "prompt", position: int = 0, hint: str | None = None) -> None:
        super().__init__(message, field, hint)
        self.position = position


class LostPictureError(RequestError):
    """A picture that the request names is not in the store (any more): whoever has it puts it there again."""


class NotFoundError(WebuiError):
    """The named thing does not exist (any more)."""

    status = 404


class ConflictError(WebuiError):
    """The thing exists but is not in a state that allows this."""

    status = 409


class ForbiddenError(WebuiError):
    """The caller may not do this (wrong Host or Origin, not signed in, not local)."""

    status = 403


class ModelError(WebuiError):
    """A model file cannot be read, is unknown, or does not fit what was asked of it."""

    status = 422


class StorageError(WebuiError):
    """A file or the database could not be read or written: disk full, read-only folder, locked data folder."""

    status = 507


class Cancelled(Exception):
    """The person interrupted the job. Not an error: it unwinds engine and scripts, and the worker marks the job `interrupted`."""


def field_errors(error: ValidationError) -> list[ErrorInfo]:
    """Every complaint of pydantic as an `ErrorInfo` at its field, in words for a person."""
    return describe_complaints(error.errors(include_url=False))


def describe_complaints(complaints: Sequence[Mapping[str, Any]]) -> list[ErrorInfo]:
    """The same for a bare list of pydantic's complaints (`type`, `loc`, `msg`, `input`)."""
    infos = []
    for item in complaints:
        path = ".".join(str(part) for part in _without_tag(item["loc"]))
        given = item.get("input")
        shown = repr(given) if len(repr(given)) <= 40 else f"{repr(given)[:37]}…"
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] not in ("value_error", "string_too_long"):
            message = f"{message} (got {shown})"
        infos.append(ErrorInfo(type="RequestError", message=message, field=path or None))
    return infos


def _without_tag(location: Sequence[int | str]) -> Sequence[int | str]:
    """pydantic puts the tag of a discriminated union ("txt2img") before the field; a person knows only the field."""
    return location[1:] if len(location) > 1 and location[0] in ("txt2img", "img2img", "hash", "replay") else location
