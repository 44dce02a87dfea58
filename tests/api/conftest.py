"""A studio without an engine behind the real routes: jobs are queued and nobody runs them, unless the test does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from webui.api.server import make_api
from webui.main import make_folders, make_studio
from webui.options import parse_options
from webui.services.studio import Studio


@pytest.fixture
def data(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    """A data folder with one small checkpoint."""
    models = tmp_path / "models" / "Stable-diffusion"
    models.mkdir(parents=True)
    (models / "tiny.safetensors").symlink_to(tiny_checkpoint)
    return tmp_path


@pytest.fixture
def studio(data: Path) -> Iterator[Studio]:
    """The studio, its workers not started."""
    options = parse_options(["--data-dir", str(data), "--safe-mode"])
    folders = make_folders(options)
    folders.create()
    studio = make_studio(options, folders)
    yield studio
    studio.close()


@pytest.fixture
def client(studio: Studio, tmp_path: Path) -> TestClient:
    """A client of the routes."""
    web = tmp_path / "web"
    web.mkdir()
    (web / "main.js").write_text("export const answer = 42;\n")
    (tmp_path / "secret.txt").write_text("no")
    return TestClient(make_api(studio, web), raise_server_exceptions=False)
