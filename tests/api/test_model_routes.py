"""The routes of the Models tab: one schema, errors at their fields, no path of a client is opened."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from fastapi.testclient import TestClient

from tools.random_checkpoint import random_tensor
from tools.random_dit import write_file
from webui.backend.catalog import FEW
from webui.main import make_app, make_folders
from webui.options import parse_options
from webui.schema.event import CatalogChanged
from webui.services.studio import Studio
from webui.ui.parts.lists import checkpoint_choices
from webui.ui.parts.top import list_checkpoints

PNG = b"\x89PNG\r\n\x1a\n"
CARD = "/api/v1/models/card?kind=checkpoint&name=tiny.safetensors"


def test_cards_and_one_card(client: TestClient, data: Path) -> None:
    assert [(card["kind"], card["name"], card["base"]) for card in client.get("/api/v1/models").json()] == [("checkpoint", "tiny.safetensors", "sd1")]
    card = client.get(CARD).json()
    assert card["dtypes"] == {"F16": card["tensors"]} and card["notes"] == {} and "easel.config" in card["metadata"]
    answer = client.patch(CARD, json={"notes": "good", "tags": ["small"], "sd version": "SD1"})
    assert answer.status_code == 200 and answer.json()["notes"] == {"notes": "good", "tags": ["small"], "sd version": "SD1"}
    assert (data / "models" / "Stable-diffusion" / "tiny.json").is_file()
    refused = client.patch(CARD, json={"preferred weight": 99})
    assert (refused.status_code, refused.json()["field"]) == (422, "preferred weight")


def test_the_start_and_the_page_do_not_wait_for_thousands_of_models(studio: Studio, data: Path) -> None:
    folder = data / "models" / "Stable-diffusion"
    for number in range(FEW):
        (folder / f"{number}.safetensors").write_bytes(b"")
    options = parse_options(["--data-dir", str(data)])
    page = TestClient(make_app(studio, options, make_folders(options)), base_url="http://127.0.0.1")
    assert (page.get("/").status_code, page.get("/api/v1/page").status_code) == (200, 200)
    assert studio._parts.catalog._entries is None and not studio.models_at_hand
    assert checkpoint_choices(studio) == [("—", "")] and list_checkpoints(studio, "tiny.safetensors") == gr.update()
    heard: list[object] = []
    studio.events.listen(heard.append)
    studio.refresh_checkpoints()  # what the start does beside the rest
    assert any(isinstance(event, CatalogChanged) for event in heard)
    assert len(checkpoint_choices(studio)) == FEW + 1
    assert list_checkpoints(studio, "gone")["value"] == "tiny.safetensors"
    assert "value" not in list_checkpoints(studio, "tiny.safetensors")  # the person may have chosen another one since
    assert page.get("/api/v1/models").json()[-1]["name"] == "tiny.safetensors"


def test_only_known_models_have_cards(client: TestClient) -> None:
    for name in ("../../secret.txt", "/etc/passwd", "..%2f..%2fsecret.txt", ""):
        for path in ("card", "preview"):
            assert client.get(f"/api/v1/models/{path}?kind=checkpoint&name={name}").status_code == 404
            assert client.get(f"/api/v1/models/{path}?kind=lora&name={name}").status_code == 404
    assert client.get("/api/v1/models/card?kind=none&name=tiny").status_code == 404


def test_a_preview_is_put_and_seen(client: TestClient) -> None:
    address = CARD.replace("card?", "preview?")
    assert client.get(address).status_code == 404
    assert client.put(address, content=b"<svg onload=alert(1)>").status_code == 422
    assert client.put(address, content=PNG).json()["preview"] > 0
    shown = client.get(address)
    assert (shown.content, shown.headers["content-type"]) == (PNG, "image/png")
    assert client.put(address + "&picture=99").status_code == 404


JSON = {"Content-Type": "application/json"}


def test_merge_and_convert_go_into_the_line(client: TestClient) -> None:
    body = {"primary_model_name": "tiny", "interp_method": "No interpolation", "custom_name": "copy"}
    job = client.post("/api/v1/models/merge", json=body).json()
    assert (job["lane"], job["output"]) == ("cpu", "copy.safetensors")
    assert client.get(f"/api/v1/jobs/{job['id']}").json()["request"]["kind"] == "merge"
    assert client.post("/api/v1/models/convert", json={"source": "tiny", "dtype": "bfloat16"}).json()["output"] == "tiny-bf16.safetensors"
    for path, body, field in (("merge", {}, "primary_model_name"), ("merge", {"blocks": "1"}, "blocks"), ("convert", {"source": "x"}, "source"),
                              ("convert", {"source": "tiny", "custom_name": "../x"}, "custom_name"), ("convert", {"color": 1}, "color")):
        answer = client.post(f"/api/v1/models/{path}", json=body)
        assert (answer.status_code, answer.json()["field"]) == (422, field)
    for number in ("7", "-0.1", "NaN", "Infinity", '"much"', '""', "[1]"):  # also what is no JSON, but what Python reads as such
        for field in ("multiplier", "base"):
            answer = client.post("/api/v1/models/merge", content=f'{{"primary_model_name": "tiny", "{field}": {number}}}', headers=JSON)
            assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_forms_and_metadata(client: TestClient) -> None:
    forms = client.get("/api/v1/models/forms").json()
    assert [field["elem"] for field in forms["merge"]][:3] == ["primary_model_name", "secondary_model_name", "tertiary_model_name"]
    assert "easel.config" in client.get("/api/v1/models/metadata?names=tiny&names=").json()
    assert client.get("/api/v1/models/metadata?names=none").status_code == 422


def test_what_a_flow_model_cannot_do_is_refused_before_it_is_queued(client: TestClient, data: Path) -> None:
    write_file(data / "models" / "Stable-diffusion" / "flux.safetensors", "flux-dev", 3, random_tensor)
    client.post("/api/v1/checkpoints/refresh")
    (entry,) = [entry for entry in client.get("/api/v1/checkpoints").json() if entry["name"] == "flux.safetensors"]
    assert (entry["family"], entry["variant"], entry["error"], entry["suggests"]["distilled_cfg_scale"]) == ("flux", "dev", None, 3.5)
    body = {"kind": "txt2img", "checkpoint": "flux.safetensors", "sampler": "Euler", "width": 128, "height": 128}
    for change, field in (({"sampler": "Euler a"}, "sampler"), ({"height": 136}, "height"), ({"settings": {"s_churn": 1.0}}, "settings.s_churn")):
        answer = client.post("/api/v1/jobs", json=body | change)
        assert (answer.status_code, answer.json()["field"]) == (422, field)
        assert client.post("/api/v1/jobs", json=body | change | {"checkpoint": "tiny.safetensors"}).status_code == 201
    assert client.post("/api/v1/jobs", json=body).status_code == 201
