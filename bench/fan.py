"""A server that sends one prepared event to all of its sockets: Chatbox, or the bare stack that it stands on.

`python -m bench.fan chatbox` is the whole service. `python -m bench.fan bare` is the same uvicorn with the same
settings and nothing but an ASGI app that sends. Both take ``POST /fan?events=N`` and print their port when ready.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any, Protocol
from urllib.parse import parse_qs

import uvicorn
import uvloop

from chatbox import protocol
from chatbox.app import App, create_app
from chatbox.backplane.base import Signal
from chatbox.config import Config
from chatbox.logs import configured
from chatbox.server import settings_for
from chatbox.session import Sender

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

SESSION_ID_LENGTH = 22


class Stage(Protocol):
    """Where the sockets are."""

    async def sockets(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket."""

    async def event(self, session_id: str) -> None:
        """Send the prepared event to all of the session's sockets."""


class Whole:
    """Chatbox: through backplane, hub, outbox and socket."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def sockets(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def event(self, session_id: str) -> None:
        frame = protocol.typing_indicator(session_id, Sender.AI)
        await self._app.backplane.publish(session_id, Signal(frame))


class Bare:
    """Nothing between the event and uvicorn's ``send``."""

    def __init__(self) -> None:
        session_id = "x" * SESSION_ID_LENGTH
        self._sends: dict[int, Send] = {}
        self._greeting = str(protocol.notice(session_id, "greeting"))
        self._message = {"type": "websocket.send", "text": str(protocol.typing_indicator(session_id, Sender.AI))}

    async def sockets(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": self._greeting})
        self._sends[id(send)] = send
        while (await receive())["type"] != "websocket.disconnect":
            pass
        del self._sends[id(send)]

    async def event(self, session_id: str) -> None:
        for send in list(self._sends.values()):
            await send(self._message)


class Fan:
    """The ASGI app: sockets go to the stage, ``POST /fan`` starts the events."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._stage.sockets(scope, receive, send)
            return
        query = parse_qs(scope["query_string"].decode())
        self._running = asyncio.create_task(self._fan(query["session_id"][0], int(query["events"][0])))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def _fan(self, session_id: str, events: int) -> None:
        for _ in range(events):
            await self._stage.event(session_id)
            await asyncio.sleep(0)


async def serve(kind: str) -> None:
    config = Config.load(os.environ, None, {"mode": "development"})
    app = create_app(config)
    settings = settings_for(app)
    async with AsyncExitStack() as stack:
        stack.enter_context(configured(config.log_level, config.log_format, config.log_file))
        if kind == "bare":
            settings.http, settings.ws = "httptools", "websockets-sansio"
            settings.app = Fan(Bare())
        else:
            await stack.enter_async_context(app.running())
            settings.app = Fan(Whole(app))
        listening = socket.create_server(("127.0.0.1", 0), backlog=settings.backlog)
        print(listening.getsockname()[1], flush=True)
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        await uvicorn.Server(settings).serve(sockets=[listening])


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
