"""One layer in front of everything: Gradio, our API, the event stream, files, and the A1111 edge. Who may call (password), and from where
(Host and Origin, against DNS rebinding and forms on foreign pages). Pure ASGI, so that streams pass untouched."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import html
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from webui.schema.errors import StorageError
from webui.services.folders import write_atomically

COOKIE = "easel_session"
SESSION_SECONDS = 30 * 24 * 3600
LOGIN_BYTES = 4096
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
LOGIN_PAGE = Path(__file__).with_name("login.html")


@dataclass(frozen=True)
class Access:
    """Who may do what. `users` sign in to everything; `api_users` only to /sdapi, in A1111's way (--api-auth)."""

    users: Mapping[str, str] = field(default_factory=dict)
    api_users: Mapping[str, str] = field(default_factory=dict)
    hosts: frozenset[str] | None = LOCAL_HOSTS
    """Host names this server answers to; None = any (it listens on the network)."""

    secure: bool = False
    """Served over TLS: the cookie is only sent there."""


class Guard:
    """The middleware."""

    def __init__(self, app: ASGIApp, access: Access, secret: bytes) -> None:
        self._app = app
        self._access = access
        self._secret = secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the call through, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refuse_place(scope, headers)
        if refusal:
            await _answer(scope, send, 403, {"type": "ForbiddenError", "message": refusal, "field": None, "hint": None})
        elif scope["type"] == "http" and scope["path"] == "/login" and scope["method"] == "POST":
            await self._login(receive, send, headers)
        elif self._known(scope["path"], headers):
            await self._app(scope, receive, send)
        else:
            await self._ask(scope, send, headers)

    def _refuse_place(self, scope: Scope, headers: Mapping[str, str]) -> str | None:
        host = _host_name(headers.get("host", ""))
        if self._access.hosts is not None and host not in self._access.hosts:
            return f"This server does not answer to the name “{host[:80]}”. Open it by its own address, or start it with --listen."
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
            return "A page of another origin may not change anything here."
        if headers.get("sec-fetch-site") == "cross-site":
            return "A page of another site may not change anything here."
        return None

    def _known(self, path: str, headers: Mapping[str, str]) -> bool:
        access = self._access
        if path.startswith("/sdapi/") and access.api_users and _basic(headers, {**access.users, **access.api_users}):
            return True
        if path.startswith("/sdapi/") and access.api_users and not access.users:
            return False
        return not access.users or _basic(headers, access.users) or self._session(headers)

    def _session(self, headers: Mapping[str, str]) -> bool:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        name, _, rest = (morsel.value if morsel else "").partition(".")
        until, _, signature = rest.partition(".")
        try:
            user = base64.urlsafe_b64decode(name.encode()).decode()
            alive = int(until) > time.time()
        except (ValueError, binascii.Error):
            return False
        return alive and user in self._access.users and hmac.compare_digest(signature, self._sign(user, int(until)))

    def _sign(self, user: str, until: int) -> str:
        # The password is part of it: a changed password ends every session.
        message = json.dumps([user, until, self._access.users.get(user)]).encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()

    async def _login(self, receive: Receive, send: Send, headers: Mapping[str, str]) -> None:
        body = b""
        while len(body) <= LOGIN_BYTES:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        form = {key: values[0] for key, values in parse_qs(body[:LOGIN_BYTES].decode("utf-8", "replace"), keep_blank_values=True).items()}
        user = form.get("username", "")
        if not _matches(self._access.users, user, form.get("password", "")):
            await _send(send, 401, login_page("That is not the right name and password.").encode(), "text/html; charset=utf-8")
            return
        until = int(time.time()) + SESSION_SECONDS
        value = f"{base64.urlsafe_b64encode(user.encode()).decode()}.{until}.{self._sign(user, until)}"
        secure = "; Secure" if self._access.secure else ""
        cookie = f"{COOKIE}={value}; Path=/; Max-Age={SESSION_SECONDS}; HttpOnly; SameSite=Lax{secure}"
        await _send(send, 303, b"", "text/plain", {"Location": headers.get("x-forwarded-prefix", "") + "/", "Set-Cookie": cookie})

    async def _ask(self, scope: Scope, send: Send, headers: Mapping[str, str]) -> None:
        wants_page = scope["type"] == "http" and scope["method"] == "GET" and "text/html" in headers.get("accept", "")
        if wants_page:
            await _send(send, 401, login_page().encode(), "text/html; charset=utf-8")
        else:
            # A page's own call gets no challenge: the browser would open its own password box over ours.
            challenge = {} if "sec-fetch-mode" in headers else {"WWW-Authenticate": 'Basic realm="Easel"'}
            body = {"type": "Unauthorized", "message": "Sign in first.", "field": None, "hint": "HTTP Basic, or POST /login."}
            await _answer(scope, send, 401, body, challenge)


def login_page(message: str = "") -> str:
    """The sign-in page, with a message."""
    return LOGIN_PAGE.read_text(encoding="utf-8").replace("{message}", html.escape(message))


def load_secret(path: Path) -> bytes:
    """The key that signs sessions: made once, readable only by its owner."""
    try:
        if path.exists() and path.stat().st_size >= 32:
            return path.read_bytes()
        secret = secrets.token_bytes(32)
        write_atomically(path, secret)
        path.chmod(0o600)
    except OSError as error:
        raise StorageError(f"The file {path} cannot be used: {error.strerror or error}.") from error
    return secret


def _host_name(host: str) -> str:
    return (urlsplit(f"//{host}").hostname or "").lower()


def _basic(headers: Mapping[str, str], users: Mapping[str, str]) -> bool:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        user, _, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except (ValueError, binascii.Error):
        return False
    return _matches(users, user, password)


def _matches(users: Mapping[str, str], user: str, password: str) -> bool:
    expected = users.get(user)
    return hmac.compare_digest((expected or secrets.token_hex(8)).encode(), password.encode()) and expected is not None


async def _answer(scope: Scope, send: Send, status: int, body: Mapping[str, str | None], headers: Mapping[str, str] | None = None) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await _send(send, status, json.dumps(body).encode(), "application/json", headers)


async def _send(send: Send, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
    lines = {"content-type": kind, "content-length": str(len(body)), "cache-control": "no-store", **(headers or {})}
    pairs = [(name.lower().encode(), value.encode()) for name, value in lines.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
