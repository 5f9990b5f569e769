"""Staff sockets in tests: frames of many conversations on one line, each checked against its own copy."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp

from chatbox.session import new_id
from tests.live import token
from tests.world import Copy


class StaffCopy(Copy):
    """A watched conversation by the wire contract alone, notes included."""

    def take(self, frame):
        if frame["type"] == "connection_status" and "messages" in frame:
            sent = self.sent
            self.__init__()
            self.sent = sent
            for message in frame["messages"]:
                if message.get("metadata", {}).get("event", "note") == "note":
                    self._put(message["message_id"], message["content"])
                if finish := message.get("metadata", {}).get("finish_reason"):
                    self.ended[message["message_id"]] = finish
        super().take(frame)

    _note = Copy._user_message


class Frames:
    """What a staff socket has received. ``copies`` are the watched conversations; what does not follow on the frame
    before it is in their ``broken``."""

    def __init__(self):
        self.frames = []
        self.copies = {}
        self.closed = None
        self._news = asyncio.Event()

    def take(self, frame):
        self.frames.append(frame)
        session_id = frame.get("session_id")
        if frame["type"] == "connection_status":
            self.copies.setdefault(session_id, StaffCopy())
        if session_id in self.copies:
            self.copies[session_id].take(frame)
        self._news.set()

    def end(self, code):
        self.closed = code
        self._news.set()

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


class Desk(Frames):
    """A staff socket as a program sees it."""

    def __init__(self, line):
        super().__init__()
        self.line = line

    async def read(self):
        async for message in self.line:
            self.take(json.loads(message.data))
        self.end(self.line.close_code)

    async def say(self, kind, **fields):
        fields.setdefault("message_id", new_id())
        copy = self.copies.get(fields.get("session_id"))
        if copy and kind in ("user_message", "note"):
            copy.sent[fields["message_id"]] = fields["content"]
        await self.line.send_str(json.dumps({"type": kind, **fields}))
        return fields["message_id"]

    async def ask(self, kind, **fields):
        """Say something; its answer, whatever kind it is."""
        message_id = await self.say(kind, **fields)
        return await self.hear(lambda frame: frame.get("message_id") == message_id)

    async def watch(self, session_id, **fields):
        """Watch a session; the answer."""
        return await self.ask("watch", session_id=session_id, **fields)


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
