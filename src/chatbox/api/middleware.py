"""What holds for every request: headers, the host, the body's size, errors as answers, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from chatbox.api.guard import RateLimitExceeded
from chatbox.errors import Code, DatabaseUnavailable, InvalidFormat, InvalidToken, NotFound, Refusal, StorageError
from chatbox.metrics import Metrics

log = structlog.get_logger(component="http")

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
}
"""Every answer has them; a route may give another value."""

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBES = frozenset({"/healthz", "/readyz", "/metrics/prometheus"})
"""Asked every few seconds for ever; worth a line when something is wrong."""


class Surroundings:
    """``hosts`` None lets any ``Host`` pass. ``max_body`` in bytes. A HEAD is a GET whose body stays here."""

    def __init__(self, app: ASGIApp, metrics: Metrics, *, hosts: frozenset[str] | None, max_body: int) -> None:
        self._app = app
        self._metrics = metrics
        self._hosts = hosts
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, head = time.monotonic(), scope["method"] == "HEAD"
        scope = {**scope, "method": "GET"} if head else scope
        answer = _Answer(send, head=head)
        try:
            await self._inside(scope)(scope, _bounded(receive, self._max_body), answer.send)
        except Exception:
            log.exception("a request failed")
        finally:
            self._observe(scope, "HEAD" if head else scope["method"], answer.status, time.monotonic() - start)

    def _inside(self, scope: Scope) -> ASGIApp:
        """What answers this request."""
        if self._hosts is not None and host_of(scope) not in self._hosts:
            return _answer(NotFound("This host is not served here."), 421)
        length = _header(scope, b"content-length")
        if length.isdecimal() and int(length) > self._max_body:
            return _answer(InvalidFormat(TOO_LARGE), 413)
        return self._app

    def _observe(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        label = method if method in METHODS else "other"
        self._metrics.http_request_duration_seconds.labels(route, label).observe(seconds)
        tell = log.debug if route in PROBES and status == 200 else log.info
        tell("request", method=method, route=route, status=status, ms=round(seconds * 1000, 1))


class _Answer:
    """Sends an answer on, with the headers that all have."""

    def __init__(self, send: Send, *, head: bool) -> None:
        self._send = send
        self._head = head
        self.status = 500

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = list(message.get("headers", []))
            names = {name.lower() for name, _ in given}
            message["headers"] = given + [(name, value) for name, value in HEADERS.items() if name not in names]
        elif self._head:
            message["body"] = b""
        await self._send(message)


TOO_LARGE = "The body is too large."


def _bounded(receive: Receive, limit: int) -> Receive:
    size = 0

    async def bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise HTTPException(413, TOO_LARGE)
        return message

    return bounded


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for found, value in scope["headers"] if found == name), "")


def host_of(scope: Scope) -> str:
    """The host that was asked for, without its port."""
    host = _header(scope, b"host")
    return host.rsplit(":", 1)[0] if not host.endswith("]") else host


def answer_errors(app: FastAPI) -> None:
    """Turn every error into ``{"error", "code"}``."""

    @app.exception_handler(Refusal)
    async def refused(_request: Request, error: Refusal) -> JSONResponse:
        return _answer(error)

    @app.exception_handler(RateLimitExceeded)
    async def limited(_request: Request, error: RateLimitExceeded) -> JSONResponse:
        body = {"error": "rate_limit_exceeded", "message": error.message, "retry_after_ms": error.retry_after}
        return JSONResponse(body, 429, _retry_after(error))

    @app.exception_handler(StorageError)
    async def store_failed(_request: Request, error: StorageError) -> JSONResponse:
        log.error("the store failed", error=str(error))
        return _answer(DatabaseUnavailable("The store is not available now. Try again.", retry_after=1000))

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        texts = [f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors()]
        return _answer(InvalidFormat("; ".join(texts)))

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> JSONResponse:
        code = Code.NOT_FOUND if error.status_code == 404 else Code.INVALID_FORMAT
        headers = {"Allow": ", ".join(_allowed(app, request))} if error.status_code == 405 else error.headers
        return JSONResponse({"error": error.detail, "code": code}, error.status_code, headers)

    @app.exception_handler(Exception)
    async def failed(_request: Request, _error: Exception) -> JSONResponse:
        return JSONResponse({"error": "Something went wrong. Try again.", "code": Code.SERVICE_ERROR}, 500)


def _allowed(app: FastAPI, request: Request) -> list[str]:
    """The methods of all routes with this path; the router names those of the first one only."""

    def takes(method: str) -> bool:
        scope = {**request.scope, "method": "GET" if method == "HEAD" else method}
        return any(route.matches(scope)[0] is Match.FULL for route in app.routes)

    return [method for method in sorted(METHODS) if takes(method)]


def _answer(refusal: Refusal, status: int | None = None) -> JSONResponse:
    headers = _retry_after(refusal)
    if isinstance(refusal, InvalidToken):
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": refusal.message, "code": refusal.code}, status or refusal.status, headers)


def _retry_after(refusal: Refusal) -> dict[str, str]:
    return {} if refusal.retry_after is None else {"Retry-After": str(-(-refusal.retry_after // 1000))}
