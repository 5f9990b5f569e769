"""Staff at work without a network: real parts, and a line that can be stopped."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

from chatbox.allowance import FRAMES
from chatbox.assist import Assist
from chatbox.audit import Audit
from chatbox.backplane.base import Pool, Window
from chatbox.backplane.memory import MemoryQuotas
from chatbox.connections import SOCKETS
from chatbox.conversations import Conversations
from chatbox.hub import Position
from chatbox.outbox import Line, Outbox
from chatbox.reply import ANSWERS
from chatbox.session import Principal, new_id
from chatbox.sessions import LISTENERS
from chatbox.staff.desk import Desk
from chatbox.staff.office import POOLS
from chatbox.staff.presence import Presence
from chatbox.staff.protocol import Join, Leave, Note, Say, Unwatch, Watch
from chatbox.staff.view import Views
from tests.staff.desks import Frames, StaffCopy
from tests.storage.values import ring
from tests.world import world


def staff(name, *roles):
    return Principal(name, name.title(), frozenset(roles or ["chat_admin"]), 2e9)


def quotas():
    pools = {SOCKETS: Pool(), LISTENERS: Pool(linger=900.0), ANSWERS: Pool(), **POOLS}
    return MemoryQuotas({FRAMES: Window(1000, 60.0)}, pools)


class Seat(Frames, Line):
    """A member of staff with a socket. While the line is ``shut``, frames wait."""

    def __init__(self, office, who, tasks):
        super().__init__()
        self.who = who
        self._office = office
        self._open = asyncio.Event()
        self._open.set()
        self.outbox = Outbox(self, self.send, tasks)
        self.watching = office.desk.watching(self.outbox)
        self.watched = set()

    def shut(self):
        self._open.clear()

    def open(self):
        self._open.set()

    def offer(self, frame):
        if not self._open.is_set():
            return False
        self.take(json.loads(frame[{126: 4, 127: 10}.get(frame[1], 2) :]))
        return True

    async def send(self, message):
        await self._open.wait()
        if message["type"] == "websocket.close":
            self.end(message["code"])
        else:
            self.take(json.loads(message["text"]))

    async def do(self, command):
        await self._office.desk.handle(self.who, self.watching, self.outbox, command)

    async def watch(self, session_id, at=None):
        self.watched.add(session_id)
        await self.do(Watch(message_id=new_id(), session_id=session_id, at=at))

    async def come_back(self, session_id):
        """Watch again from where this client is, when all that was sent has come."""
        self.open()
        await self.outbox.below(0)
        copy = self.copies[session_id]
        await self.watch(session_id, Position(copy.epoch, copy.position))

    async def unwatch(self, session_id):
        self.watched.discard(session_id)
        await self.do(Unwatch(message_id=new_id(), session_id=session_id))

    async def join(self, session_id):
        await self.do(Join(message_id=new_id(), session_id=session_id))

    async def leave(self, session_id):
        await self.do(Leave(message_id=new_id(), session_id=session_id))

    async def speak(self, session_id, content, kind=Say):
        message_id = new_id()
        self.copies.setdefault(session_id, StaffCopy()).sent[message_id] = content
        await self.do(kind(message_id=message_id, session_id=session_id, content=content))
        return message_id

    async def note(self, session_id, content):
        return await self.speak(session_id, content, Note)


class Office:
    """Where staff of one replica sit. ``here`` is the chat beside it."""

    def __init__(self, here):
        self.here = here
        self.conversations = Conversations(here.storage)
        self.audit = Audit(here.storage.records)
        self.presence = Presence(here.quotas, ring("new"))
        self.views = Views(here.quotas)
        self.desk = Desk(
            here.storage,
            here.backplane,
            here.hub,
            self.conversations,
            here.takeovers,
            self.presence,
            self.views,
            self.audit,
            Assist(here.storage, here.replies._providers, here.metrics),
        )

    def seat(self, name="bea", *roles):
        return Seat(self, staff(name, *roles), self.here.tasks)


@asynccontextmanager
async def office(storage=None, *providers, **options):
    """An open one, in a world of its own."""
    async with world(storage, *providers, quotas=quotas(), **options) as here:
        yield Office(here)
