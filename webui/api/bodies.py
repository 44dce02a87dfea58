"""Bodies of requests that are files."""

from __future__ import annotations

from fastapi import Request

from webui.schema.errors import RequestError
from webui.services.images import BYTES_LIMIT


async def picture_body(request: Request) -> bytes:
    """The whole body. Raises `RequestError` as soon as it is longer than a picture may be, whatever its header says."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > BYTES_LIMIT:
            raise RequestError(f"The picture is larger than {BYTES_LIMIT // 2**20} MB.")
    return bytes(content)
