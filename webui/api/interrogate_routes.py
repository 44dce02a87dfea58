"""A1111's /sdapi/v1/interrogate: a picture in base64 in, its words out, when they are there."""

from __future__ import annotations

import base64
import binascii
import time

from fastapi import APIRouter, HTTPException

from webui.schema.base import Frozen
from webui.schema.errors import WebuiError
from webui.schema.extras import Interrogate
from webui.services.studio import Studio

MODELS = {"clip": "CLIP", "deepdanbooru": "Deepbooru", "deepbooru": "Deepbooru"}
"""A1111's names, and ours."""

LOOK_SECONDS = 0.1


class InterrogateRequest(Frozen):
    """A1111's body. `image` may be a data URL."""

    image: str = ""
    model: str = "clip"


class InterrogateResponse(Frozen):
    """A1111's answer."""

    caption: str


def make_interrogate(studio: Studio) -> APIRouter:
    """The route. Errors are A1111's: `{"detail": …}` with 404 for no picture or an unknown model, 500 for what is no picture."""
    router = APIRouter(prefix="/sdapi/v1")

    @router.post("/interrogate")
    def interrogate(request: InterrogateRequest) -> InterrogateResponse:
        if not request.image:
            raise HTTPException(404, "Image not found")
        if request.model not in MODELS:
            raise HTTPException(404, "Model not found")
        try:
            ref = studio.images.put(_decoded(request.image))
            job = studio.extras.submit(Interrogate.model_validate({"image": ref, "model": MODELS[request.model]}))
        except WebuiError as error:
            raise HTTPException(error.status if error.status != 422 else 500, " ".join(filter(None, (error.message, error.hint)))) from error
        while not (job := studio.job(job.id)[0]).status.ended:
            time.sleep(LOOK_SECONDS)
        text = studio.extras.description(job.id)
        if text is None:
            raise HTTPException(500, job.error.message if job.error else f"The job was {job.status}.")
        return InterrogateResponse(caption=text)

    return router


def _decoded(image: str) -> bytes:
    """The bytes of A1111's way to send a picture. Raises `HTTPException`."""
    try:
        return base64.b64decode(image.split(",", 1)[1] if image.startswith("data:image/") else image, validate=True)
    except (binascii.Error, ValueError, IndexError) as error:
        raise HTTPException(500, "Invalid encoded image") from error
