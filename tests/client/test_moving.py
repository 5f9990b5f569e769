"""A client that moves to another socket, and what its old one brings meanwhile."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from aiohttp import web

from chatbox.client import ChatClient, Connected
from chatbox.client import client as client_module
from tests.live import token


class Leaving:
    """A server that asks its client to move, does not answer the second attempt, and takes the third. Meanwhile it
    pings the first socket and drops it."""

    def __init__(self):
        self.asked = 0

    async def chat(self, request):
        self.asked += 1
        if self.asked == 2:
            await asyncio.sleep(1)
        line = web.WebSocketResponse()
        await line.prepare(request)
        await line.send_str(json.dumps(GREETING | {"metadata": {"resumed": str(self.asked > 1).lower()}}))
        if self.asked > 1:
            await line.receive()
            return line
        await line.send_str(json.dumps(DRAIN))
        while self.asked == 1:
            await asyncio.sleep(0.01)
        await line.ping()
        await asyncio.sleep(0.1)
        request.transport.abort()
        return line


GREETING = {"type": "connection_status", "session_id": "s", "user_id": "ann", "epoch": "e", "seq": 0, "models": []}
DRAIN = {"type": "notification", "session_id": "s", "metadata": {"event": "drain", "retry_after": "0"}}


async def test_a_ping_that_can_not_be_answered_is_a_lost_connection(monkeypatch):
    monkeypatch.setattr(client_module, "MOVE", 0.5)
    app = web.Application()
    app.add_routes([web.get("/chatbox/ws", Leaving().chat)])
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}/chatbox"
    try:
        async with ChatClient(base, token=token()) as chat:
            times = 0
            async with asyncio.timeout(20):
                async for event in chat.events():
                    times += isinstance(event, Connected)
                    if times == 2:
                        return
        raise AssertionError(f"connected {times} times")
    finally:
        with suppress(TimeoutError):
            await asyncio.wait_for(runner.cleanup(), 10)
