"""The real server as a process of its own, for tests that start, use, kill and restart it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
START_SECONDS = 60.0


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`app.py` on a data folder. Start it, use `get` and `post`, `stop` or `kill` it, start it again."""

    def __init__(self, data: Path, *flags: str, port: int | None = None) -> None:
        self.data = data
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.flags = flags
        self.log = data / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        """Start it and wait until it answers. Fails with the log when it does not."""
        command = [sys.executable, str(ROOT / "app.py"), "--no-browser", "--port", str(self.port), "--data-dir", str(self.data), *self.flags]
        environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"the server ended: {self.log.read_text()}"
            try:
                self.get("/api/v1/ping")
                return self
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        raise AssertionError(f"the server does not answer: {self.log.read_text()}")

    def get(self, path: str) -> Any:
        """GET, as JSON."""
        return self._call("GET", path)

    def post(self, path: str, body: object = None) -> Any:
        """POST, as JSON. Raises `urllib.error.HTTPError`."""
        return self._call("POST", path, body)

    def submit(self, **fields: object) -> str:
        """Queue a small job; its id."""
        small = {"prompt": "a house", "width": 64, "height": 64, "steps": 4, "sampler": "Euler"}
        return self.post("/api/v1/jobs", small | fields)["id"]

    def wait(self, job_id: str, *statuses: str, seconds: float = 60.0) -> Any:
        """Wait until a job is in one of these states (by default: ended); its page."""
        wanted = statuses or ("done", "failed", "cancelled", "interrupted")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            answer = self.get(f"/api/v1/jobs/{job_id}")
            if answer["job"]["status"] in wanted:
                return answer
            time.sleep(0.05)
        raise AssertionError(f"job {job_id} is {answer['job']['status']}, not {wanted}: {self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ctrl+C. The exit status."""
        return self._end(signal.SIGINT)

    def _end(self, signal_number: int) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(signal_number)
        try:
            return self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"the server did not stop: {self.log.read_text()[-3000:]}") from None
        finally:
            self._process = None

    def _call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")


def run_app(*flags: str) -> subprocess.CompletedProcess[str]:
    """`app.py` when it is expected to end by itself."""
    return subprocess.run([sys.executable, str(ROOT / "app.py"), *flags], capture_output=True, text=True, timeout=60, cwd=ROOT)


def add_checkpoint(data: Path, checkpoint: Path, names: Sequence[str] = ("tiny.safetensors",)) -> None:
    """Put a checkpoint into the models folder of a data folder."""
    folder = data / "models" / "Stable-diffusion"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).symlink_to(checkpoint)
