"""The real server as a process of its own, as a person would start it: for tests that use, stop, kill and restart it."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 180.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """`python app.py` on a data folder, or what `tests/late.py` makes of it. It can be stopped (or killed) and started again on the same port."""

    def __init__(self, data: Path, *flags: str) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.flags = flags
        self.log = data / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        # One client for all questions: to make one takes 50 ms of CPU, most of it for certificates. No connection is kept, since the server may be
        # another one by now.
        alone = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.Client(base_url=self.url, timeout=30, verify=False, trust_env=False, limits=alone)

    def start(self) -> Server:
        """Start it and wait for its first answer."""
        environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "GRADIO_SSR_MODE": "False"}
        program = ["-m", "tests.late"] if "EASEL_LATE" in os.environ else ["app.py"]
        command = [sys.executable, *program, "--port", str(self.port), "--no-browser", "--data-dir", str(self.data), *self.flags]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=self.log.open("ab"), stderr=subprocess.STDOUT)
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit:
            try:
                self.http.get("/api/v1/ping", timeout=2).raise_for_status()
                return self
            except httpx.HTTPError:
                assert self.process.poll() is None, f"the server ended: {self.log.read_text()[-3000:]}"
                time.sleep(0.1)
        raise AssertionError(f"the server does not answer: {self.log.read_text()[-3000:]}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it and wait until it is gone; its exit status."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        process.send_signal(how)
        return process.wait(60)

    def kill(self) -> None:
        """kill -9."""
        self.stop(signal.SIGKILL)

    def get(self, path: str) -> dict:
        """An answer of the HTTP API."""
        return self.http.get(f"/api/v1/{path}").raise_for_status().json()

    def post(self, path: str, body: dict | None = None) -> dict:
        """An answer of the HTTP API."""
        return self.http.post(f"/api/v1/{path}", json=body).raise_for_status().json()

    def upload(self, image: Image.Image) -> dict:
        """Put a picture into the store; its ref."""
        content = io.BytesIO()
        image.save(content, "PNG")
        return self.http.post("/api/v1/images", content=content.getvalue()).raise_for_status().json()

    def submit(self, **request: object) -> str:
        """Queue a small picture past the page; returns the job's id."""
        return self.post("jobs", {"prompt": "a house", "width": 64, "height": 64, "steps": 4} | request)["id"]

    def jobs(self) -> list[dict]:
        """Running, waiting and ended jobs."""
        return self.get("state")["jobs"]

    def wait(self, job_id: str, *statuses: str, seconds: float = 60.0) -> dict:
        """The job once its status is one of `statuses` (an end, if none is given)."""
        wanted = statuses or ("done", "failed", "cancelled", "interrupted")
        limit = time.monotonic() + seconds
        while (found := self.get(f"jobs/{job_id}"))["job"]["status"] not in wanted and time.monotonic() < limit:
            time.sleep(0.05)
        if found["job"]["status"] in wanted:
            return found
        raise AssertionError(f"job {job_id} is {found['job']['status']}, not {wanted}")

    def calm(self) -> None:
        """Nothing runs and nothing waits: what every test begins with."""
        self.post("forever/stop")
        active = [job for job in self.jobs() if job["status"] in ("queued", "running")]
        for job in reversed(active):
            if job["status"] == "queued":
                self.http.post(f"/api/v1/jobs/{job['id']}/cancel", timeout=10)  # it may have started since
        self.post("interrupt")
        for job in active:
            self.wait(job["id"])


def run_app(*flags: str) -> subprocess.CompletedProcess[str]:
    """`app.py` when it is expected to end by itself."""
    return subprocess.run([sys.executable, "app.py", "--no-browser", *flags], capture_output=True, text=True, timeout=60, cwd=ROOT)


def furnish(data: Path, checkpoint: Path) -> Path:
    """Put a checkpoint into the models folder of a data folder; returns the data folder."""
    folder = data / "models" / "Stable-diffusion"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(checkpoint, folder)
    return data
