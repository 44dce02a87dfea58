"""Every route of docs/api.md, and what wrong input gets."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tools.random_checkpoint import KINDS, write_checkpoint
from webui.api.server import make_api
from webui.schema.generation import PROMPT_LIMIT, Txt2Img
from webui.schema.job import JobStatus
from webui.schema.model import Suggestions
from webui.schema.result import PictureRecord, ReplayReport
from webui.services.library import Draft
from webui.services.studio import Studio

JOBS = "/api/v1/jobs"


def submit(client: TestClient, **fields: object) -> str:
    """Queue a job; its id."""
    answer = client.post(JOBS, json={"kind": "txt2img", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def add_picture(studio: Studio, job_id: str, folder: Path, name: str = "00000-5.png") -> PictureRecord:
    """A finished picture of a job."""
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8), "green").save(folder / name)
    key = f"{folder.name}/{name}/0"
    record = PictureRecord(id=0, job_id=job_id, key=key, path=str(folder / name), width=8, height=8, seed=5, infotext="green", created=1.0)
    return studio._parts.library.add_picture(record)


def test_docs_and_routes_agree(client: TestClient) -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    documented = {(method, path.split("?")[0]) for method, path in re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`]*)`", page)}
    paths = client.get("/api/openapi.json").json()["paths"]
    real = {(method.upper(), re.sub(r"\{\w+\}", "{}", path)) for path, methods in paths.items() for method in methods}
    named = {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in documented if path.startswith(("/api/", "/sdapi/"))}
    assert real == named


def test_a_picture_is_read_and_its_replay_put_in_line(client: TestClient, studio: Studio, tmp_path: Path) -> None:
    job_id = submit(client, prompt="a house", seed=5, width=64, height=64)
    record = add_picture(studio, job_id, tmp_path / "pictures")
    where = f"/api/v1/pictures/{record.id}"
    assert client.get(f"{where}/info").json()["kind"] == "none"
    refused = client.post(f"{where}/replay")
    assert refused.status_code == 409 and "does not say" in refused.json()["message"]
    info = PngInfo()
    request = Txt2Img(prompt="a house", seed=5, checkpoint="tiny.safetensors")
    info.add_text("easel", json.dumps({"request": request.model_dump(mode="json"), "index": 0}))
    Image.new("RGB", (8, 8), "green").save(record.path, pnginfo=info)
    assert client.get(f"{where}/info").json()["values"]["prompt"] == "a house"
    assert client.get(f"{where}/replay").status_code == 404
    answer = client.post(f"{where}/replay")
    assert answer.status_code == 201, answer.text
    job = client.get(f"{JOBS}/{answer.json()['id']}").json()
    assert job["job"]["kind"] == "replay" and job["job"]["title"] == "a house" and job["request"]["picture"] == record.id
    assert answer.json()["id"] in client.get("/api/v1/state").json()["waiting"]
    for _ in range(2):
        claimed = studio._parts.queue.claim("device:0", 1.0)
        assert claimed is not None
        studio._parts.queue.end(claimed.id, JobStatus.DONE)
    state = client.get("/api/v1/state").json()
    assert [picture["id"] for picture in state["pictures"]] == [record.id]  # a reload shows the pictures still, not an empty gallery
    assert {job["kind"] for job in state["jobs"]} == {"txt2img", "replay"}
    report = ReplayReport(picture_id=record.id, job_id="x", identical=True, max_difference=0, differing=0, unmatched=(), created=1.0)
    studio._parts.library.put_replay(report)
    assert client.get(f"{where}/replay").json()["identical"] is True


def test_submit_writes_the_job_and_answers_its_id(client: TestClient, studio: Studio) -> None:
    job_id = submit(client, prompt="a house", sampler="Euler a", steps=5)
    answer = client.get(f"{JOBS}/{job_id}").json()
    assert answer["job"]["status"] == "queued" and answer["request"]["checkpoint"] == "tiny.safetensors" and answer["pictures"] == []
    state = client.get("/api/v1/state").json()
    assert state["waiting"] == [job_id] and state["type"] == "snapshot" and state["boot"] == client.get("/api/v1/ping").json()["boot"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"steps": 0}, "steps"),
        ({"width": 100}, "width"),
        ({"height": 56}, "height"),
        ({"cfg_scale": "NaN"}, "cfg_scale"),
        ({"cfg_scale": 1e999}, "cfg_scale"),
        ({"prompt": "x" * 100_000}, "prompt"),
        ({"prompt": "a\x00b"}, "prompt"),
        ({"sampler": "Euler b"}, "sampler"),
        ({"scheduler": "Kerras"}, "scheduler"),
        ({"checkpoint": "tiny2"}, "checkpoint"),
        ({"seed": -2}, "seed"),
        ({"batch_size": 0}, "batch_size"),
        ({"script": "none"}, "script"),
        ({"ext": {"nobody": {}}}, "ext.nobody"),
        ({"ext": {"prompts_from_file": {"position": "middle"}}}, "ext.prompts_from_file.position"),
        ({"settings": {"save_to_dirs": "maybe"}}, "settings.save_to_dirs"),
        ({"settings": {"nonsense": 1}}, "settings.nonsense"),
        ({"colour": "red"}, "colour"),
        ({"prompt": "a (red:1.2.3) house"}, "prompt"),
        ({"negative_prompt": "[a:b:1e999]"}, "negative_prompt"),
        ({"settings": {"emphasis": "Loud"}}, "settings.emphasis"),
        ({"enable_hr": True, "hr_upscaler": "Latnt"}, "hr_upscaler"),
        ({"enable_hr": True, "hr_sampler": "Euler b"}, "hr_sampler"),
        ({"enable_hr": True, "denoising_strength": 0}, "denoising_strength"),
        ({"enable_hr": True, "width": 4096, "hr_scale": 3}, "hr_scale"),
        ({"enable_hr": True, "hr_prompt": "a (red:1.2.3) house"}, "hr_prompt"),
        ({"enable_hr": True, "hr_negative_prompt": "[a:b:1e999]"}, "hr_negative_prompt"),
        ({"enable_hr": True, "firstpass_image": {"sha256": "0" * 64, "width": 512, "height": 512}}, "firstpass_image"),
        ({"hr_prompt": "x" * 100_000}, "hr_prompt"),
    ],
)
def test_wrong_input_is_named_at_its_field_and_queues_nothing(client: TestClient, fields: dict[str, object], field: str) -> None:
    answer = client.post(JOBS, content=_json({"kind": "txt2img", **fields}), headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    body = answer.json()
    assert body["field"] == field and body["message"] and set(body) >= {"type", "message", "field", "hint"}
    assert client.get("/api/v1/state").json()["jobs"] == []


def _json(value: object) -> str:
    return json.dumps(value)  # NaN and Infinity as bare words, which the test client's own writer refuses


def test_near_names_are_offered(client: TestClient) -> None:
    hint = client.post(JOBS, json={"sampler": "Euler b"}).json()["hint"]
    assert "“Euler a”" in hint and "“Euler”" in hint


def test_an_empty_prompt_works(client: TestClient) -> None:
    submit(client, prompt="", negative_prompt="")


def test_the_longest_prompt_works(client: TestClient) -> None:
    submit(client, prompt="é" * PROMPT_LIMIT)


def test_queue_order(client: TestClient) -> None:
    first, second, third = (submit(client, prompt=name) for name in "abc")
    assert client.post(f"{JOBS}/{third}/move", json={"before": first}).status_code == 200
    assert client.get("/api/v1/state").json()["waiting"] == [third, first, second]
    assert client.post(f"{JOBS}/{first}/cancel").status_code == 200
    assert client.get("/api/v1/state").json()["waiting"] == [third, second]
    assert client.post(f"{JOBS}/{first}/cancel").status_code == 409
    assert client.post(f"{JOBS}/{first}/move", json={"before": second}).status_code == 409
    assert client.post(f"{JOBS}/{first}/requeue").status_code == 200
    assert client.get("/api/v1/state").json()["waiting"] == [third, second, first]
    assert client.post(f"{JOBS}/nothing/cancel").status_code == 404


def test_interrupt_of_what_does_not_run(client: TestClient) -> None:
    job_id = submit(client)
    assert client.post(f"{JOBS}/{job_id}/interrupt").status_code == 409
    assert client.post(f"{JOBS}/{job_id}/skip").status_code == 409
    assert client.post("/api/v1/interrupt").status_code == 200
    assert client.post("/api/v1/skip").status_code == 200


def test_forever(client: TestClient, studio: Studio) -> None:
    job_id = client.post(f"{JOBS}?repeat=true", json={"prompt": "again"}).json()["id"]
    assert studio.job(job_id)[0].repeat
    assert client.post("/api/v1/forever/stop").json() == {"stopped": 1}
    assert studio.job(job_id)[0].status is JobStatus.CANCELLED


def test_pictures(client: TestClient, studio: Studio, data: Path) -> None:
    job_id = submit(client)
    record = add_picture(studio, job_id, data / "pictures")
    answer = client.get(f"/api/v1/pictures/{record.id}")
    assert answer.headers["content-type"] == "image/png" and Image.open(io.BytesIO(answer.content)).size == (8, 8)
    assert "attachment" in client.get(f"/api/v1/pictures/{record.id}?download=1").headers["content-disposition"]
    saved = client.post(f"/api/v1/pictures/{record.id}/save").json()["path"]
    assert saved == "log/images/00000-5.png" and (data / saved).is_file()
    Path(record.path).unlink()
    gone = client.get(f"/api/v1/pictures/{record.id}")
    assert (gone.status_code == 404 and "not" in gone.json()["message"]) or "no picture" in gone.json()["message"]
    assert client.get("/api/v1/pictures/999").status_code == 404


def test_a_finished_picture_is_enlarged_with_its_own_prompt_and_seed(client: TestClient, studio: Studio, data: Path) -> None:
    job_id = submit(client, prompt="a house", steps=7, batch_count=3, subseed=40, subseed_strength=0.1, enable_hr=True, hr_scale=4)
    record = add_picture(studio, job_id, data / "pictures")
    made = {"request": studio.job(job_id)[0].request.revise(seed=5).model_dump(mode="json"), "index": 2, "key": "2"}
    info = PngInfo()
    info.add_text("easel", json.dumps(made))
    Image.new("RGB", (72, 64), "green").save(record.path, pnginfo=info)
    answer = client.post(f"/api/v1/pictures/{record.id}/hires", json={"hr_scale": 1.5, "hr_prompt": "a large house"})
    assert answer.status_code == 201, answer.text
    request = client.get(f"/api/v1/jobs/{answer.json()['id']}").json()["request"]
    assert (request["prompt"], request["hr_prompt"], request["steps"], request["seed"], request["subseed"]) == ("a house", "a large house", 7, 5, 42)
    assert (request["enable_hr"], request["hr_scale"], request["width"], request["height"], request["batch_count"]) == (True, 1.5, 72, 64, 1)
    assert studio.images.read(request["firstpass_image"]["sha256"]) == Path(record.path).read_bytes()


def test_a_picture_that_cannot_be_enlarged_is_refused_in_words(client: TestClient, studio: Studio, data: Path) -> None:
    record = add_picture(studio, submit(client, prompt="a house"), data / "pictures")  # 8 pixels wide
    answer = client.post(f"/api/v1/pictures/{record.id}/hires", json={})
    assert answer.status_code == 422 and "multiples of 8" in answer.json()["hint"]
    assert client.post("/api/v1/pictures/999/hires", json={}).status_code == 404
    assert client.post(f"/api/v1/pictures/{record.id}/hires", json={"prompt": "x"}).status_code == 422


def test_a_pending_picture_is_given_but_not_to_be_kept(client: TestClient, studio: Studio, data: Path) -> None:
    job_id = submit(client)
    library = studio._parts.library
    record = add_picture(studio, job_id, data / "drafts")
    record = library.add_picture(record, Draft(path=record.path, checkpoint="tiny.safetensors", sheet="{}"))
    url = f"/api/v1/pictures/{record.id}"
    assert client.get(url).headers["cache-control"] == "no-store"
    assert [picture["pending"] for picture in client.get(f"{JOBS}/{job_id}").json()["pictures"]] == [True]
    library.finish_draft(library.drafts()[0], record.path, "blue")
    assert "immutable" in client.get(url).headers["cache-control"]
    view = client.get(f"{JOBS}/{job_id}").json()["pictures"][0]
    assert (view["pending"], view["infotext"]) == (False, "blue")


def test_zip_keeps_both_of_two_equal_names(client: TestClient, studio: Studio, data: Path) -> None:
    job_id = submit(client)
    records = [add_picture(studio, job_id, data / folder, name) for folder, name in (("a", "1.png"), ("b", "2.png"))]
    twin = add_picture(studio, job_id, data / "c", "1.png")
    ids = ",".join(str(record.id) for record in (*records[1:], twin))
    names = zipfile.ZipFile(io.BytesIO(client.get(f"/api/v1/zip?ids={ids}").content)).namelist()
    assert sorted(names) == ["1.png", "2.png"]
    answer = client.get(f"/api/v1/zip?ids={ids}")
    assert re.search(r"filename\*=utf-8''\d{14}_tiny_5-5\.zip$", answer.headers["content-disposition"])
    client.patch("/api/v1/settings", json={"grid_zip_filename_pattern": "../ü [seed] [batch_number]"})
    assert client.get(f"/api/v1/zip?ids={ids}").headers["content-disposition"].endswith("utf-8''.._%C3%BC%205.zip")
    assert client.get("/api/v1/zip?ids=1,x").status_code == 422
    assert client.get("/api/v1/zip?ids=999").status_code == 404


def test_stored_pictures(client: TestClient) -> None:
    file = io.BytesIO()
    Image.new("RGB", (5, 4)).save(file, "PNG")
    ref = client.post("/api/v1/images", content=file.getvalue()).json()
    assert (ref["width"], ref["height"]) == (5, 4)
    assert client.get(f"/api/v1/images/{ref['sha256']}").content == file.getvalue()
    assert client.post("/api/v1/images", content=b"text").status_code == 422
    assert client.get("/api/v1/images/..%2f..%2fsecret").status_code == 404
    assert client.get(f"/api/v1/images/{'0' * 64}").status_code == 404


def test_tokens(client: TestClient) -> None:
    counts = client.post("/api/v1/tokens", json={"texts": ["", "a house, tree", "cat " * 80]}).json()["counts"]
    assert [(count["tokens"], count["limit"], count["hints"]) for count in counts] == [(0, 75, []), (4, 75, []), (80, 150, [])]
    body = {"texts": ["a AND b <lora:x:1>", "a AND b", "(tree:1.x)"], "negative": [1], "steps": 10}
    counts = client.post("/api/v1/tokens", json=body).json()["counts"]
    assert [count["tokens"] for count in counts][:2] == [1, 3]
    assert counts[2]["hints"] == [{"kind": "weight", "position": 6, "text": "1.x"}]
    assert client.post("/api/v1/tokens", json={"texts": ["x"] * 17}).status_code == 422


def test_lists(client: TestClient, data: Path) -> None:
    assert client.get("/api/v1/samplers").json()[0] == "DPM++ 2M" and "Karras" in client.get("/api/v1/schedulers").json()
    assert client.get("/api/v1/upscalers").json()[0] == "Latent"
    assert [entry["id"] for entry in client.get("/api/v1/scripts").json()] == ["prompts_from_file"]
    assert [entry["name"] for entry in client.get("/api/v1/checkpoints").json()] == ["tiny.safetensors"]
    (data / "models" / "Stable-diffusion" / "broken.safetensors").write_bytes(b"")
    listed = {entry["name"]: entry["error"] for entry in client.post("/api/v1/checkpoints/refresh").json()}
    assert listed["tiny.safetensors"] is None and listed["broken.safetensors"]
    assert client.get("/api/v1/plugins").json()[0]["id"] == "prompts_from_file"


def test_settings(client: TestClient) -> None:
    assert client.patch("/api/v1/settings", json={"save_to_dirs": False}).json()["save_to_dirs"] is False
    assert client.get("/api/v1/settings").json()["save_to_dirs"] is False
    wrong = client.patch("/api/v1/settings", json={"save_to_dirs": "maybe"})
    assert wrong.status_code == 422 and wrong.json()["field"] == "save_to_dirs"


@pytest.mark.parametrize("path", ["/web/../secret.txt", "/web/..%2fsecret.txt", "/web/%2e%2e/secret.txt", "/web/none.js", "/web//etc/passwd"])
def test_only_the_page_s_own_files_are_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
    kind = client.get("/web/main.js").headers["content-type"]
    assert kind.startswith(("text/javascript", "application/javascript"))  # Gradio, once it is imported, says the latter


def test_the_canvas_is_small_and_travels_packed(studio: Studio) -> None:
    web = Path(__file__).resolve().parents[2] / "webui" / "ui" / "web"
    client, parts = TestClient(make_api(studio, web)), ("", "_paper", "_view", "_store", "_png", "_batch")
    assert sum((web / f"canvas{part}.js").stat().st_size for part in parts[:3]) <= 48_500
    travelled = 0
    for part in parts:
        with client.stream("GET", f"/web/canvas{part}.js", headers={"Accept-Encoding": "gzip"}) as answer:
            assert answer.headers["content-encoding"] == "gzip" and answer.headers["cache-control"] == "no-cache"
            travelled += len(b"".join(answer.iter_raw()))
    assert travelled <= 24_000
    known = client.get("/web/canvas.js", headers={"If-None-Match": '"another"'})
    assert known.status_code == 200
    again = client.get("/web/canvas.js", headers={"If-None-Match": known.headers["etag"]})
    assert (again.status_code, again.content, again.headers["cache-control"]) == (304, b"", "no-cache")


def test_a_mistake_of_ours_is_one_sentence(client: TestClient, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError("private detail")

    monkeypatch.setattr(studio, "snapshot", fail)
    answer = client.get("/api/v1/state")
    assert answer.status_code == 500 and "private" not in answer.text and answer.json()["message"]


def test_the_last_parameters_are_those_of_params_txt(client: TestClient, studio: Studio) -> None:
    assert client.get("/api/v1/params").json()["kind"] == "none"
    path = studio._parts.folders.data / "params.txt"
    path.write_text("a cat\nSteps: 7, Sampler: Euler a, CFG scale: 4.5, Seed: 77, Size: 128x64, Version: v1.10.1", encoding="utf-8")
    found = client.get("/api/v1/params").json()
    assert found["kind"] == "a1111" and (found["values"]["prompt"], found["values"]["seed"], found["values"]["width"]) == ("a cat", 77, 128)


def test_styles_are_kept_and_frozen_into_the_job(client: TestClient, studio: Studio) -> None:
    assert client.get("/api/v1/styles").json() == []
    good = {"name": "Good", "prompt": "{prompt}, masterpiece", "negative_prompt": "lowres"}
    assert client.put("/api/v1/styles", json=[good]).json() == [good]
    assert client.put("/api/v1/styles", json=[good, good]).status_code == 422
    job_id = client.post("/api/v1/jobs", json={"kind": "txt2img", "prompt": "a cat", "styles": ["Good"], "seed": 1}).json()["id"]
    client.put("/api/v1/styles", json=[])
    request = studio.job(job_id)[0].request
    assert isinstance(request, Txt2Img) and request.style_texts[0].prompt == "{prompt}, masterpiece"
    assert studio.check(request) == request
    refused = client.post("/api/v1/jobs", json={"kind": "txt2img", "styles": ["Good"]})
    assert refused.status_code == 422 and refused.json()["field"] == "styles"


def test_png_info_fits_what_it_reads_to_this_server(client: TestClient) -> None:
    line = "a cat\nSteps: 7, Sampler: Euler a, CFG scale: 6, Seed: 5, Size: 64x64, Model: tiny"
    answer = client.post("/api/v1/png-info", content=line.encode()).json()
    assert answer["kind"] == "a1111" and answer["text"] == line and answer["comments"] == []
    assert answer["request"]["checkpoint"] == "tiny.safetensors" and answer["request"]["sampler"] == "Euler a"
    client.patch("/api/v1/settings", json={"infotext_skip_pasting": ["Seed"]})
    assert client.post("/api/v1/png-info", content=line.encode()).json()["request"]["seed"] == -1
    assert client.post("/api/v1/png-info", content=b"\x89PNG\r\n\x1a\nbroken").json()["kind"] == "none"


def test_the_settings_page_comes_from_the_schema(client: TestClient) -> None:
    found = {entry["key"]: entry for section in client.get("/api/v1/settings/schema").json() for entry in section["settings"]}
    assert set(found) == set(client.get("/api/v1/settings").json())
    assert "Euler a" in found["hide_samplers"]["choices"] and found["quicksettings_list"]["choices"][0] == "sd_model_checkpoint"
    assert "CLIP_stop_at_last_layers" in found["quicksettings_list"]["choices"]


def test_what_a_page_begins_with(client: TestClient, data: Path) -> None:
    assert client.get("/api/v1/page").json()["form"] == {}
    assert client.put("/api/v1/defaults", json={"steps": 30}).status_code == 200
    assert client.get("/api/v1/page").json()["form"] == {"steps": {"value": 30}}
    (data / "ui-config.json").write_text('{"txt2img/Width/value": 768, "txt2img/Height/value": 3}')
    facts = client.get("/api/v1/page")
    assert facts.json()["form"] == {"width": {"value": 768}} and "Height" in facts.json()["complaints"][0]
    assert facts.headers["cache-control"] == "no-store"
    wrong = client.put("/api/v1/defaults", json={"steps": 0})
    assert wrong.status_code == 422 and wrong.json()["field"] == "steps"
    client.delete("/api/v1/defaults")
    assert client.get("/api/v1/page").json()["form"] == {}
    client.patch("/api/v1/settings", json={"hide_samplers": ["Euler"]})
    assert client.get("/api/v1/page").json()["settings"]["hide_samplers"] == ["Euler"]
    assert "Euler" in client.get("/api/v1/samplers").json()
    submit(client, sampler="Euler")


def test_styles_are_put_into_prompts_and_counted(client: TestClient) -> None:
    client.put("/api/v1/styles", json=[{"name": "Good", "prompt": "{prompt}, masterpiece", "negative_prompt": "lowres"}])
    done = client.post("/api/v1/styles/apply", json={"prompt": "a cat", "negative_prompt": "dog", "styles": ["Good"]}).json()
    assert done == {"prompt": "a cat, masterpiece", "negative_prompt": "dog, lowres", "styles": []}
    assert client.post("/api/v1/styles/apply", json={"styles": ["Bad"]}).json()["field"] == "styles"
    counts = client.post("/api/v1/tokens", json={"texts": ["a cat", "dog"], "negative": [1], "styles": ["Good"]}).json()["counts"]
    plain = client.post("/api/v1/tokens", json={"texts": ["a cat, masterpiece", "dog, lowres"], "negative": [1]}).json()["counts"]
    assert counts == plain and counts[0]["tokens"] == 4


def test_the_save_button_writes_log_csv_only_if_wanted(client: TestClient, studio: Studio, data: Path) -> None:
    record = add_picture(studio, submit(client), data / "pictures")
    client.patch("/api/v1/settings", json={"save_write_log_csv": False, "outdir_save": "kept"})
    assert client.post(f"/api/v1/pictures/{record.id}/save").json()["path"] == "kept/00000-5.png"
    assert not (data / "kept" / "log.csv").exists()
    client.patch("/api/v1/settings", json={"save_write_log_csv": True})
    client.post(f"/api/v1/pictures/{record.id}/save")
    assert (data / "kept" / "log.csv").is_file()


def test_a_page_begins_with_what_the_default_checkpoint_suggests(client: TestClient, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    own = studio.checkpoints()[0]
    suggests = Suggestions(prompts=("a red house", "a cat"), width=256, height=320, cfg_scale=5)
    monkeypatch.setattr(studio, "checkpoints", lambda: [own.revise(suggests=suggests)])
    monkeypatch.setattr(studio, "default_checkpoint", lambda: own.name)
    client.put("/api/v1/defaults", json={"height": 640})
    form = client.get("/api/v1/page").json()["form"]
    own_form = {"prompt": {"value": "a red house"}, "width": {"value": 256}, "height": {"value": 640}, "cfg_scale": {"value": 5.0}}
    other = {"img2img/width": {"value": 256}, "img2img/height": {"value": 320}, "img2img/cfg_scale": {"value": 5.0}}
    assert form == own_form | other


def test_what_is_kept_for_a_checkpoint(client: TestClient, data: Path) -> None:
    """It is in the list, the page begins with it, and jobs without a VAE of their own carry it."""
    (data / "models" / "VAE").mkdir(exist_ok=True)
    (data / "models" / "VAE" / "soft.safetensors").touch()
    values = {"steps": 7, "clip_skip": 2, "vae": "soft.safetensors"}
    assert client.put("/api/v1/checkpoints/preferences", json={"checkpoint": "tiny", "values": values}).status_code == 200
    listed = client.get("/api/v1/checkpoints").json()[0]["suggests"]
    assert {name: value for name, value in listed.items() if value} == values
    assert client.get("/api/v1/page").json()["form"]["steps"] == {"value": 7}
    job = client.post("/api/v1/jobs", json={"prompt": "x"}).json()["id"]
    assert client.get(f"/api/v1/jobs/{job}").json()["request"]["settings"] == {}
    (data / "models" / "VAE" / "soft.safetensors").unlink()
    refused = client.post("/api/v1/jobs", json={"prompt": "x"})
    assert (refused.status_code, refused.json()["field"]) == (422, "settings.sd_vae")
    assert client.put("/api/v1/checkpoints/preferences", json={"checkpoint": "tiny", "values": None}).status_code == 200
    assert client.get("/api/v1/checkpoints").json()[0]["suggests"] is None
    assert client.put("/api/v1/checkpoints/preferences", json={"checkpoint": "tiny", "values": {"width": 7}}).status_code == 422
    assert client.put("/api/v1/checkpoints/preferences", json={"checkpoint": "gone", "values": values}).status_code == 422


def test_vaes_can_be_chosen(client: TestClient, studio: Studio, data: Path) -> None:
    (data / "models" / "VAE").mkdir(exist_ok=True)
    (data / "models" / "VAE" / "soft.safetensors").touch()
    schema = {setting["key"]: setting for section in client.get("/api/v1/settings/schema").json() for setting in section["settings"]}
    assert schema["sd_vae"]["choices"] == ["Automatic", "None", "soft.safetensors"]
    job = client.post("/api/v1/jobs", json={"prompt": "x", "settings": {"sd_vae": "soft.safetensors"}}).json()["id"]
    found, _ = studio.job(job)
    assert found.settings.sd_vae == "soft.safetensors"
    refused = client.post("/api/v1/jobs", json={"prompt": "x", "settings": {"sd_vae": "sofd.safetensors"}})
    assert refused.status_code == 422
    assert "soft.safetensors" in refused.json()["hint"]


def refused(client: TestClient, **request: object) -> str | None:
    """The field at which a request for a job is refused; None when it is taken."""
    answer = client.post("/api/v1/jobs", json=request)
    assert answer.status_code in (200, 201, 202, 422), answer.text
    return answer.json()["field"] if answer.status_code == 422 else None


def test_a_mask_with_nothing_in_it_is_refused_before_it_waits(client: TestClient, studio: Studio) -> None:
    def store(image: Image.Image) -> dict[str, object]:
        return studio.images.put(bytes_of(image)).model_dump()

    image = store(Image.new("RGB", (64, 64), "red"))
    black, white, clear = store(Image.new("L", (64, 64))), store(Image.new("L", (64, 64), 255)), store(Image.new("RGBA", (64, 64)))
    strokes = store(Image.new("RGBA", (64, 64), (9, 9, 9, 255)))
    asked = {"kind": "img2img", "image": image, "width": 64, "height": 64}
    for mode in ("inpaint", "inpaint_upload"):
        assert refused(client, **asked, mode=mode, mask=black) == "mask"
        assert refused(client, **asked, mode=mode, mask=clear) == "mask"
        assert refused(client, **asked, mode=mode, mask=white, inpainting_mask_invert=True) == "mask"
        assert refused(client, **asked, mode=mode, mask=white) is None
        assert refused(client, **asked, mode=mode, mask=black, inpainting_mask_invert=True) is None
    assert refused(client, **asked, mode="inpaint_sketch", colour=clear) == "colour"
    assert refused(client, **asked, mode="inpaint_sketch", colour=strokes, mask_alpha=100) == "colour"
    assert refused(client, **asked, mode="inpaint_sketch", colour=strokes) is None
    assert refused(client, **asked, mode="img2img", mask=black) is None  # not used


def test_face_restoration_without_its_files_is_refused_before_it_waits(client: TestClient, studio: Studio, data: Path) -> None:
    assert refused(client, prompt="x", restore_faces=True) == "restore_faces"
    assert refused(client, prompt="x", settings={"face_restoration": True}) == "settings.face_restoration"
    assert refused(client, prompt="x", restore_faces=False, settings={"face_restoration": True}) is None
    for name in ("Codeformer/codeformer.pth", "opencv/face_detection_yunet_2023mar.onnx"):
        (data / "models" / name).parent.mkdir(exist_ok=True)
        (data / "models" / name).write_bytes(b"")
    answer = client.post("/api/v1/jobs", json={"prompt": "x", "restore_faces": True})
    assert studio.job(answer.json()["id"])[0].settings.face_restoration
    assert refused(client, prompt="x", restore_faces=True, settings={"face_restoration_model": "GFPGAN"}) == "restore_faces"


def test_a_depth_model_without_an_estimator_is_refused_before_it_waits(client: TestClient, studio: Studio, data: Path) -> None:
    write_checkpoint(data / "models" / "Stable-diffusion" / "depth.safetensors", KINDS["tiny"]["sd2-depth"], 5)
    image = studio.images.put(bytes_of(Image.new("RGB", (64, 64), "red"))).model_dump()
    asked = {"kind": "img2img", "image": image, "width": 64, "height": 64, "checkpoint": "depth.safetensors"}
    assert refused(client, **asked) == "depth"
    assert refused(client, **asked, depth=image) is None
    assert refused(client, prompt="x", checkpoint="depth.safetensors") is None
    assert refused(client, prompt="x", checkpoint="depth.safetensors", enable_hr=True) == "enable_hr"


def bytes_of(image: Image.Image) -> bytes:
    """As a PNG."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
