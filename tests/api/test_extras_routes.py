"""The routes of Extras and interrogation: one schema, errors at their fields, no path of a client is opened."""

from __future__ import annotations

import io
from typing import Any

from fastapi.testclient import TestClient
from PIL import Image


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
