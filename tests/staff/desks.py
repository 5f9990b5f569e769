"""Staff sockets in tests: frames of many conversations on one line, each checked against its own copy."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp

from chatbox.session import new_id
from tests.live import token
from tests.world import Copy


class Desk:
    """A staff socket as a program sees it. ``copies`` are the watched conversations by the wire contract alone; what
    does not follow on the frame before it is in their ``broken``."""

    def __init__(self, line):
        self.line = line
        self.frames = []
        self.copies = {}
        self.messages = {}
        self.closed = None
        self._news = asyncio.Event()

    async def read(self):
        async for message in self.line:
            self.take(json.loads(message.data))
        self.closed = self.line.close_code
        self._news.set()

    def take(self, frame):
        self.frames.append(frame)
        session_id = frame.get("session_id")
        if frame["type"] == "connection_status":
            copy = self.copies.setdefault(session_id, Copy())
            if frame["metadata"]["resumed"] == "false" and "messages" in frame:
                copy = self.copies[session_id] = Copy()
                self.messages[session_id] = frame["messages"]
                for message in frame["messages"]:
                    if message["sender"] != "system" and "event" not in message.get("metadata", {}):
                        copy._put(message["message_id"], message["content"])
            copy.take(frame)
        elif session_id in self.copies:
            self.copies[session_id].take(frame)
        self._news.set()

    async def say(self, kind, **fields):
        fields.setdefault("message_id", new_id())
        await self.line.send_str(json.dumps({"type": kind, **fields}))
        return fields["message_id"]

    async def ask(self, kind, **fields):
        """Say something; its answer, whatever kind it is."""
        message_id = await self.say(kind, **fields)
        return await self.hear(lambda frame: frame.get("message_id") == message_id)

    async def watch(self, session_id, **fields):
        """Watch a session; the answer."""
        return await self.ask("watch", session_id=session_id, **fields)

    async def hear(self, wanted, patience=20):
        """The first frame of a kind, or for which ``wanted`` is true."""
        matches = wanted if callable(wanted) else lambda frame: frame["type"] == wanted
        async with asyncio.timeout(patience):
            while not (found := next(filter(matches, self.frames), None)):
                assert self.closed is None, f"closed with {self.closed}"
                self._news.clear()
                await self._news.wait()
        return found

    async def ended(self, patience=20):
        """The close code."""
        async with asyncio.timeout(patience):
            while self.closed is None:
                self._news.clear()
                await self._news.wait()
        return self.closed

    def of(self, kind, session_id=None):
        return [f for f in self.frames if f["type"] == kind and session_id in (None, f.get("session_id"))]

    @property
    def broken(self):
        return [problem for copy in self.copies.values() for problem in copy.broken]


@asynccontextmanager
async def desk(live, user="bea", *, roles=("chat_admin",), lifetime=3600.0, bearer=None, headers=None):
    """An open staff socket."""
    head = {"Authorization": f"Bearer {bearer or token(user, roles=roles, lifetime=lifetime)}", **(headers or {})}
    async with live.session.ws_connect(f"{live.http}/admin/ws", headers=head, max_msg_size=0) as line:
        made = Desk(line)
        reading = asyncio.create_task(made.read())
        try:
            yield made
            assert made.broken == []
        finally:
            await line.close()
            await reading


async def refused(live, **head):
    """The status with which a handshake is refused."""
    try:
        async with live.session.ws_connect(f"{live.http}/admin/ws", headers=head):
            return 101
    except aiohttp.WSServerHandshakeError as error:
        return error.status
