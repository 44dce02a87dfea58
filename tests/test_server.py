"""The whole server as a process: from a request to a picture, and every bad day of issue "the spine" section 5 that needs a real process."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.serving import Server, furnish, run_app


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Iterator[Server]:
    """One server for the tests that leave it running."""
    data = tmp_path_factory.mktemp("data")
    furnish(data, tiny_checkpoint)
    server = Server(data).start()
    yield server
    assert server.stop(signal.SIGINT) == 0


def complaint(error: pytest.ExceptionInfo[httpx.HTTPStatusError]) -> dict[str, str]:
    """The body of a refused request."""
    return error.value.response.json()


def test_a_request_becomes_a_picture_with_its_story(server: Server) -> None:
    page = server.wait(server.submit(prompt="a red house", seed=7, batch_size=2, sampler="Euler"))
    assert page["job"]["status"] == "done", page
    first = page["pictures"][0]
    path = next((server.data / "outputs" / "txt2img-images").rglob(first["name"]))
    with Image.open(path) as image:
        assert image.size == (64, 64)
        assert image.text["parameters"].startswith("a red house\nSteps: 4, Sampler: Euler, CFG scale: 7.0, Seed: 7, Size: 64x64, Model hash: ")
        assert json.loads(image.text["easel"])["request"]["checkpoint"] == "tiny.safetensors"
    assert [picture["seed"] for picture in page["pictures"]] == [7, 8]


def test_the_event_stream_is_not_packed_and_speaks_at_once(server: Server) -> None:
    with httpx.stream("GET", f"{server.url}/api/v1/events", headers={"Accept-Encoding": "gzip"}, timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream") and "content-encoding" not in answer.headers
        assert next(answer.iter_raw()).startswith(b"data: {")


def test_the_same_request_gives_the_same_bytes(server: Server) -> None:
    pages = [server.wait(server.submit(seed=3)) for _ in range(2)]
    files = [next((server.data / "outputs").rglob(page["pictures"][0]["name"])) for page in pages]
    assert files[0] != files[1]
    with Image.open(files[0]) as first, Image.open(files[1]) as second:
        assert first.tobytes() == second.tobytes()


def test_a_picture_is_made_from_a_picture_and_again_from_its_file(server: Server) -> None:
    given, mask = Image.effect_noise((96, 64), 60).convert("RGB"), Image.new("L", (96, 64))
    mask.paste(255, (20, 20, 60, 50))
    asked = {"kind": "img2img", "mode": "inpaint", "image": server.upload(given), "mask": server.upload(mask), "mask_blur": 0, "width": 96}
    page = server.wait(server.submit(**asked, settings={"save_init_img": True, "save_mask": True}))
    assert page["job"]["status"] == "done", page
    picture = page["pictures"][0]
    assert "Denoising strength: 0.75" in picture["infotext"]
    path = next((server.data / "outputs" / "img2img-images").rglob(picture["name"]))
    made, was, kept = np.asarray(Image.open(path)), np.asarray(given), np.asarray(mask) == 0
    assert (made[kept] == was[kept]).all() and (made[~kept] != was[~kept]).any()
    assert len(list(path.parent.glob("*-mask.png"))) == 1
    digest = hashlib.md5(given.tobytes(), usedforsecurity=False).hexdigest()
    assert f"Init image hash: {digest}" in picture["infotext"]
    assert Image.open(server.data / "outputs" / "init-images" / f"{digest}.png").tobytes() == given.tobytes()
    replayed = server.post(f"pictures/{picture['id']}/replay")["id"]
    assert server.wait(replayed)["job"]["status"] == "done"
    assert server.get(f"pictures/{picture['id']}/replay")["identical"]


def test_interrupt_keeps_the_partial_picture(server: Server) -> None:
    job_id = server.submit(steps=1000, width=256, height=256)
    while not (server.get("state")["progress"] or {}).get("step"):
        pass
    server.post(f"jobs/{job_id}/interrupt")
    page = server.wait(job_id)
    assert page["job"]["status"] == "interrupted" and [picture["partial"] for picture in page["pictures"]] == [True]


def test_a_script_runs_its_lines(server: Server) -> None:
    ext = {"prompts_from_file": {"text": "a tree\na boat", "iterate_seed": True}}
    page = server.wait(server.submit(prompt="", seed=1, script="prompts_from_file", ext=ext))
    assert [(picture["key"], picture["seed"]) for picture in page["pictures"]] == [("line-1/0", 1), ("line-2/0", 2)]
    wrong = server.wait(server.submit(script="prompts_from_file", ext={"prompts_from_file": {"text": "--colour red"}}))
    assert wrong["job"]["status"] == "failed" and "Line 1" in wrong["job"]["error"]["message"]


def test_bad_checkpoints_are_named_and_the_server_goes_on(server: Server, tiny_checkpoint: Path) -> None:
    folder = server.data / "models" / "Stable-diffusion"
    (folder / "cut.safetensors").write_bytes(tiny_checkpoint.read_bytes()[:100_000])
    (folder / "text.safetensors").write_text("<html>not found</html>")
    shutil.copy(tiny_checkpoint, folder / "gone.safetensors")
    server.post("checkpoints/refresh")
    (folder / "gone.safetensors").unlink()
    for name in ("cut.safetensors", "text.safetensors", "gone.safetensors"):
        with pytest.raises(httpx.HTTPStatusError) as caught:
            server.submit(checkpoint=name)
        body = complaint(caught)
        assert body["field"] == "checkpoint" and name in body["message"], body
    assert server.wait(server.submit())["job"]["status"] == "done"


def test_a_checkpoint_deleted_while_the_job_waits(server: Server, tiny_checkpoint: Path) -> None:
    folder = server.data / "models" / "Stable-diffusion"
    shutil.copy(tiny_checkpoint, folder / "soon-gone.safetensors")
    running = server.submit(steps=300, width=128, height=128)
    waiting = server.submit(checkpoint="soon-gone.safetensors")
    (folder / "soon-gone.safetensors").unlink()
    server.wait(running, "running")
    server.post(f"jobs/{running}/interrupt")
    page = server.wait(waiting)
    assert page["job"]["status"] == "failed" and "soon-gone" in page["job"]["error"]["message"]


def test_two_servers_on_one_data_folder(server: Server) -> None:
    second = run_app("--data-dir", str(server.data))
    assert second.returncode == 1 and "Another Easel already uses" in second.stderr and "Traceback" not in second.stderr


def test_a_taken_port(server: Server, tmp_path: Path) -> None:
    second = run_app("--data-dir", str(tmp_path), "--port", str(server.port))
    assert second.returncode == 1 and str(server.port) in second.stderr and "Traceback" not in second.stderr


def test_outputs_that_cannot_be_written_fail_the_job_with_words(server: Server) -> None:
    folder = server.data / "outputs" / "txt2img-images"
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder.rename(folder.with_name("aside"))
    folder.write_text("in the way")
    page = server.wait(server.submit())
    assert page["job"]["status"] == "failed" and "txt2img-images" in page["job"]["error"]["message"] and page["job"]["error"]["hint"]
    folder.unlink()
    server.post(f"jobs/{page['job']['id']}/requeue")
    assert server.wait(page["job"]["id"], "done")["pictures"]
    shutil.copytree(aside, folder, dirs_exist_ok=True)
    shutil.rmtree(aside)


def test_a_damaged_database_and_settings_are_set_aside_and_said(tmp_path: Path) -> None:
    (tmp_path / ".easel").mkdir()
    (tmp_path / ".easel" / "library.db").write_bytes(b"not a database" * 300)
    (tmp_path / "config.json").write_text("{")
    server = Server(tmp_path).start()
    notices = {notice["id"]: notice["message"] for notice in server.get("state")["notices"]}
    assert "library.db.damaged" in notices["database"] and "config.json.damaged" in notices["settings"]
    server.stop()
    assert next((tmp_path / ".easel").glob("library.db.damaged-*")).read_bytes().startswith(b"not a database")


def test_kill_in_mid_job_with_the_real_engine(server: Server) -> None:
    running = server.submit(batch_count=12, steps=10, seed=-1)
    waiting = server.submit(seed=5)
    while len(server.get(f"jobs/{running}")["pictures"]) < 2:
        pass
    server.kill()
    server.start()
    page = server.get(f"jobs/{running}")
    assert page["job"]["status"] == "interrupted" and page["job"]["error"]["hint"]
    before = page["pictures"]
    assert len(before) >= 2 and all(next((server.data / "outputs").rglob(picture["name"])).is_file() for picture in before)
    assert server.wait(waiting)["job"]["status"] == "done"
    server.post(f"jobs/{running}/requeue")
    after = server.wait(running, "done", seconds=120)["pictures"]
    assert after[: len(before)] == before and [picture["seed"] - before[0]["seed"] for picture in after] == list(range(12))


def test_broken_plugins_do_not_take_the_server_with_them(tmp_path: Path, tiny_checkpoint: Path) -> None:
    furnish(tmp_path, tiny_checkpoint)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "broken.py").write_text("raise ValueError('at import')")
    (tmp_path / "scripts" / "drawn.py").write_text(
        "from typing import Annotated\nfrom webui.sdk import Dropdown, Params, Script\n"
        "class P(Params):\n    x: Annotated[str, Dropdown(label='x', source='nothing')] = ''\n"
        "class S(Script):\n    id = 'drawn'\n    title = 'Drawn'\n    Params = P\n    def run(self, run, request, params):\n        pass\n"
    )
    server = Server(tmp_path).start()
    assert httpx.get(server.url).status_code == 200
    notices = " ".join(notice["message"] for notice in server.get("state")["notices"])
    assert "at import" in notices and "“nothing”" in notices
    assert [script["id"] for script in server.get("scripts")] == ["prompts_from_file"]
    server.stop()
