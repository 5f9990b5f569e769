"""What the stand-ins share: an HTTP server with a script of what to say and what to refuse."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

KEY = "sk-canary-4f1d0c7a"


@dataclass
class Failure:
    """An answer with an error instead of the model's."""

    status: int
    kind: str
    message: str = "told to fail"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Script:
    """How the model answers: ``words`` with ``pause`` seconds between; then ``error`` inside the stream, or the end.

    ``cut`` closes the connection where the end would be. ``hold`` says nothing after the words.
    """

    words: tuple[str, ...] = ("Paris ", "is ", "the ", "capital.")
    pause: float = 0.0
    finish: str = ""
    error: Failure | None = None
    cut: bool = False
    hold: bool = False
    files: tuple[str, ...] = ()


class StandIn:
    """A vendor's server. ``failures`` come first, one a request; ``requests`` keeps what was asked."""

    def __init__(self) -> None:
        self.script = Script()
        self.failures: deque[Failure] = deque()
        self.requests: list[dict[str, Any]] = []
        self.running = 0
        self.connections: set[Any] = set()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes(self.routes())
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def routes(self) -> list[web.RouteDef]:
        raise NotImplementedError

    async def asked(self, request: web.Request) -> dict[str, Any]:
        body = await request.json()
        self.requests.append({"headers": dict(request.headers), "query": request.query_string, "body": body})
        self.connections.add(request.transport)
        return body

    async def streamed(self, request: web.Request, events: AsyncIterator[str]) -> web.StreamResponse:
        """Send the events; what a client that went away does not take is not made."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        self.running += 1
        try:
            await response.prepare(request)
            async for event in events:
                await response.write(event.encode())
            if self.script.hold:
                await gone(request)
            if self.script.cut:
                request.transport.abort()
        finally:
            self.running -= 1
        return response

    async def spoken(self) -> AsyncIterator[str]:
        for word in self.script.words:
            await asyncio.sleep(self.script.pause)
            yield word


async def gone(request: web.Request) -> None:
    """Wait for the client to go."""
    while request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(0.01)


def data(value: object) -> str:
    return f"data: {json.dumps(value)}\n\n"
