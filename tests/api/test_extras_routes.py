"""The routes of Extras and interrogation: one schema, errors at their fields, no path of a client is opened."""

from __future__ import annotations

import base64
import io
import threading
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from PIL import Image

from webui.engine.cancel import CancelToken
from webui.engine.extras.piece import Piece
from webui.engine.tools import RunTools
from webui.schema.errors import ModelError
from webui.schema.extras import Extras
from webui.schema.job import JobStatus
from webui.schema.settings import PictureSettings
from webui.services.studio import Studio


def stored(client: TestClient) -> dict[str, Any]:
    """A picture in the store, as a request names it."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6)).save(buffer, "PNG")
    return client.post("/api/v1/images", content=buffer.getvalue()).json()


def test_a_job_is_put_in_line(client: TestClient) -> None:
    body = {"images": [{"image": stored(client), "name": "a.png"}], "upscaler_1": "Lanczos", "upscaling_resize": 2}
    answer = client.post("/api/v1/extras", json=body)
    assert answer.status_code == 201 and answer.json()["lane"] == "device:0"
    job = client.get(f"/api/v1/jobs/{answer.json()['id']}").json()
    assert (job["job"]["kind"], job["job"]["title"], job["request"]["upscaling_resize"]) == ("extras", "a.png", 2.0)


def test_wrong_fields_are_named(client: TestClient) -> None:
    picture = {"image": stored(client)}
    for body, field in (
        ({"images": [picture], "upscaling_resize": 99}, "upscaling_resize"), ({"images": [picture], "nothing": 1}, "nothing"),
        ({"images": [picture], "upscaler_1": "x"}, "upscaler_1"), ({"input_dir": "../.."}, "input_dir"), ({}, "images"),
        ({"images": [picture], "codeformer": True}, "codeformer"),
    ):
        answer = client.post("/api/v1/extras", json=body)
        assert answer.status_code == 422, body
        assert answer.json()["field"] == field
    lost = client.post("/api/v1/extras", json={"images": [{"image": {"sha256": "a" * 64, "width": 1, "height": 1}}]})
    assert (lost.status_code, lost.json()["field"]) == (422, "images.0")


def test_the_form(client: TestClient) -> None:
    form = client.get("/api/v1/extras/form").json()
    keys = {field["key"] for field in form["fields"]}
    assert "kind" not in keys and {name for names in form["operations"].values() for name in names} <= keys


def test_interrogation(client: TestClient) -> None:
    answer = client.post("/api/v1/interrogate", json={"image": stored(client), "model": "Deepbooru"})
    assert answer.json()["field"] == "model" and "models/deepbooru" in answer.json()["hint"]
    assert client.get("/api/v1/interrogate/none").status_code == 404


class Words:
    """Stands for the engine."""

    def process(self, image: Image.Image, request: Extras, tools: RunTools) -> list[Piece]:
        raise AssertionError("nothing is to be done with pictures")

    def describe(self, image: Image.Image, kind: str, settings: PictureSettings) -> str:
        if image.width == 7:
            raise ModelError("It is damaged.")
        return f"{kind} of {image.width}"

    def tidy(self, keep_captioner: bool = False) -> None:
        """Nothing stays."""


def worked_off(studio: Studio) -> threading.Thread:
    """A thread that does the next job."""

    def work() -> None:
        job = studio._parts.queue.claim("device:0", 20, lambda job: None)
        assert job is not None
        try:
            studio.extras.run(job, Words(), studio.events.publish, CancelToken())
        except ModelError as error:
            studio._parts.queue.end(job.id, JobStatus.FAILED, error.info)
            return
        studio._parts.queue.end(job.id, JobStatus.DONE, None)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def encoded(width: int = 8) -> str:
    """A picture as A1111's clients send it."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, 6)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_a1111s_interrogate(client: TestClient, studio: Studio, data: Path) -> None:
    ask = lambda **body: client.post("/sdapi/v1/interrogate", json=body)  # noqa: E731
    assert (ask().status_code, ask().json()["detail"]) == (404, "Image not found")
    assert (ask(image=encoded(), model="x").status_code, ask(image=encoded(), model="x").json()["detail"]) == (404, "Model not found")
    assert (ask(image="no base64").status_code, ask(image="no base64").json()["detail"]) == (500, "Invalid encoded image")
    missing = ask(image=encoded(), model="deepdanbooru")
    assert missing.status_code == 500 and "models/deepbooru" in missing.json()["detail"]
    (data / "models" / "BLIP").mkdir()
    (data / "models" / "BLIP" / "config.json").write_text("{}")
    for image, status, answer in (
        (encoded(), 200, {"caption": "CLIP of 8"}), (f"data:image/png;base64,{encoded(9)}", 200, {"caption": "CLIP of 9"}),
        (encoded(7), 500, {"detail": "It is damaged."}),
    ):
        thread = worked_off(studio)
        got = ask(image=image)
        thread.join()
        assert (got.status_code, got.json()) == (status, answer)
