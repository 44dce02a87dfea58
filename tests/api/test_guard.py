"""The guard: passwords on every route, foreign pages refused."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.routing import Mount

from webui.api import guard as module
from webui.api.guard import COOKIE, LOCAL_HOSTS, Access, Guard, load_secret
from webui.main import make_app, make_folders
from webui.options import parse_options
from webui.services.studio import Studio

BASE = "http://127.0.0.1:7860"
SECRET = b"s" * 32


def client_for(access: Access, base: str = BASE) -> TestClient:
    """A client of a small app behind the guard."""
    app = FastAPI()

    @app.api_route("/thing", methods=["GET", "POST"])
    def thing() -> str:
        return "secret"

    @app.get("/sdapi/v1/options")
    def options() -> str:
        return "options"

    app.add_middleware(Guard, access=access, secret=SECRET)
    return TestClient(app, base_url=base, follow_redirects=False)


def basic(user: str, password: str) -> dict[str, str]:
    """The header."""
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def whole(studio: Studio, data: Path) -> Iterator[TestClient]:
    """The whole application, page included, with a password."""
    options = parse_options(["--data-dir", str(data), "--gradio-auth", "ada:pässword"])
    app = make_app(studio, options, make_folders(options))
    with TestClient(app, base_url=BASE, follow_redirects=False) as client:
        yield client


def all_routes(app: FastAPI) -> list[tuple[str, str]]:
    """Every method and path there is, Gradio's included."""
    found: list[tuple[str, str]] = []

    def walk(routes: list[object], prefix: str) -> None:
        for route in routes:
            holder = getattr(route, "original_router", None) or (route.app if isinstance(route, Mount) else None)
            if holder is not None:  # FastAPI keeps an included router as one entry, Starlette a mounted app
                walk(list(getattr(holder, "routes", [])), prefix + (getattr(route, "path", None) or ""))
            else:
                for method in getattr(route, "methods", None) or {"GET"}:
                    found.append((method, prefix + getattr(route, "path", "")))

    walk(list(app.routes), "")
    return found


def test_without_a_password_every_route_answers_401(whole: TestClient) -> None:
    routes = all_routes(whole.app)  # type: ignore[arg-type]
    paths = {path for _, path in routes}
    assert {"/api/v1/events", "/api/v1/jobs", "/web/{path:path}", "/api/openapi.json"} <= paths and any("/config" in path for path in paths)
    assert len(routes) > 50
    for method, path in routes:
        concrete = path.replace("{path:path}", "x").replace("{", "").replace("}", "")
        assert whole.request(method, concrete).status_code == 401, (method, path)


def test_the_page_asks_and_lets_in(whole: TestClient) -> None:
    page = whole.get("/", headers={"accept": "text/html"})
    assert page.status_code == 401 and '<form method="post"' in page.text
    wrong = whole.post("/login", data={"username": "ada", "password": "x"})
    assert wrong.status_code == 401 and COOKIE not in wrong.cookies and "not the right" in wrong.text
    right = whole.post("/login", data={"username": "ada", "password": "pässword"})
    assert right.status_code == 303 and right.headers["location"] == "/"
    assert "httponly" in right.headers["set-cookie"].lower() and "samesite" in right.headers["set-cookie"].lower()
    assert whole.get("/api/v1/ping").status_code == 200
    assert whole.get("/config").status_code == 200


def test_basic_works_for_programs(whole: TestClient) -> None:
    assert whole.get("/api/v1/ping", headers=basic("ada", "pässword")).status_code == 200
    refused = whole.get("/api/v1/ping", headers=basic("ada", "no"))
    assert refused.status_code == 401 and refused.headers["www-authenticate"].startswith("Basic")
    assert "www-authenticate" not in whole.get("/api/v1/ping", headers={"sec-fetch-mode": "cors"}).headers


@pytest.mark.parametrize("value", ["", "x", "YQ==.9999999999.00", "YWRh.9999999999." + "0" * 64, "YWRh.abc.def", "é.1.2"])
def test_forged_cookies(value: str) -> None:
    client = client_for(Access(users={"ada": "pw"}))
    assert client.get("/thing", headers={"cookie": f"{COOKIE}={value}".encode()}).status_code == 401  # type: ignore[dict-item] # bytes as they come


def test_a_session_ends_with_time_and_with_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_for(Access(users={"ada": "pw"}))
    client.post("/login", data={"username": "ada", "password": "pw"})
    assert client.get("/thing").status_code == 200
    changed = client_for(Access(users={"ada": "new"}))
    changed.cookies = client.cookies
    assert changed.get("/thing").status_code == 401
    now = module.time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + module.SESSION_SECONDS + 1)
    assert client.get("/thing").status_code == 401


def test_a_huge_login_body_is_not_read_on() -> None:
    client = client_for(Access(users={"ada": "pw"}))
    assert client.post("/login", content=b"username=ada&password=" + b"x" * 1_000_000).status_code == 401


def test_api_auth_is_for_sdapi_only() -> None:
    client = client_for(Access(api_users={"prog": "pw"}))
    assert client.get("/thing").status_code == 200
    assert client.get("/sdapi/v1/options").status_code == 401
    assert client.get("/sdapi/v1/options", headers=basic("prog", "pw")).status_code == 200
    both = client_for(Access(users={"ada": "a"}, api_users={"prog": "pw"}))
    assert both.get("/sdapi/v1/options", headers=basic("prog", "pw")).status_code == 200
    assert both.get("/sdapi/v1/options", headers=basic("ada", "a")).status_code == 200
    assert both.get("/thing", headers=basic("prog", "pw")).status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "169.254.1.1"])
def test_another_host_name_is_refused_on_a_local_server(host: str) -> None:
    client = client_for(Access(hosts=LOCAL_HOSTS))
    assert client.get("/thing", headers={"host": host}).status_code == 403
    assert client.get("/thing", headers={"host": "localhost:1234"}).status_code == 200
    assert client.get("/thing", headers={"host": "[::1]:1234"}).status_code == 200


def test_a_foreign_page_may_not_change_anything() -> None:
    client = client_for(Access(hosts=None), "http://192.0.2.7:7860")
    assert client.post("/thing", headers={"origin": "http://192.0.2.7:7860"}).status_code == 200
    assert client.post("/thing").status_code == 200
    for origin in ("http://evil.example", "null", "http://192.0.2.7:9999"):
        assert client.post("/thing", headers={"origin": origin}).status_code == 403
    assert client.post("/thing", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.get("/thing", headers={"origin": "http://evil.example"}).status_code == 200


def test_the_secret_is_made_once_and_is_private(tmp_path: Path) -> None:
    secret = load_secret(tmp_path / "secret")
    assert len(secret) == 32 and load_secret(tmp_path / "secret") == secret
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0
