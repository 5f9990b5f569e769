"""What holds for every request: security headers, the host, errors as answers, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from chatbox.errors import Code, DatabaseUnavailable, InvalidFormat, NotFound, Refusal, StorageError
from chatbox.metrics import Metrics

log = structlog.get_logger(component="http")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"cross-origin"),
]

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Surroundings:
    """Adds the security headers, counts and logs. ``hosts`` None lets any ``Host`` pass."""

    def __init__(self, app: ASGIApp, metrics: Metrics, hosts: frozenset[str] | None) -> None:
        self._app = app
        self._metrics = metrics
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.monotonic(), 500

        async def guarded(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        try:
            if self._hosts is None or host_of(scope) in self._hosts:
                await self._app(scope, receive, guarded)
            else:
                await _answer(NotFound("This host is not served here."), 421)(scope, receive, guarded)
        finally:
            self._observe(scope, status, time.monotonic() - start)

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.http_request_duration_seconds.labels(route, scope["method"]).observe(seconds)
        log.info("request", method=scope["method"], path=scope["path"], status=status, ms=round(seconds * 1000, 1))


def host_of(scope: Scope) -> str:
    """The host that was asked for, without its port."""
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    return host.rsplit(":", 1)[0] if not host.endswith("]") else host


def answer_errors(app: FastAPI) -> None:
    """Turn every error into ``{"error", "code"}``."""

    @app.exception_handler(Refusal)
    async def refused(_request: Request, error: Refusal) -> JSONResponse:
        return _answer(error)

    @app.exception_handler(StorageError)
    async def store_failed(_request: Request, error: StorageError) -> JSONResponse:
        log.error("the store failed", error=str(error))
        return _answer(DatabaseUnavailable("The store is not available now. Try again.", retry_after=1000))

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        texts = [f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors()]
        return _answer(InvalidFormat("; ".join(texts)))

    @app.exception_handler(HTTPException)
    async def plain(_request: Request, error: HTTPException) -> JSONResponse:
        code = Code.NOT_FOUND if error.status_code == 404 else Code.INVALID_FORMAT
        return JSONResponse({"error": error.detail, "code": code}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failed(_request: Request, error: Exception) -> JSONResponse:
        log.error("a request failed", exc_info=error)
        return JSONResponse({"error": "Something went wrong. Try again.", "code": Code.SERVICE_ERROR}, 500)


def _answer(refusal: Refusal, status: int | None = None) -> JSONResponse:
    headers = {} if refusal.retry_after is None else {"Retry-After": str(-(-refusal.retry_after // 1000))}
    return JSONResponse({"error": refusal.message, "code": refusal.code}, status or refusal.status, headers)
