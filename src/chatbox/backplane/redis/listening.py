"""The sessions that this node listens to: others are told so, and asked from time to time how far these have come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from chatbox.backplane.base import Behind, Event, Piece, Receiver, Stored, Turn
from chatbox.backplane.redis.line import LIVES, Line, Reply, Timing, answer, chunks, ms
from chatbox.backplane.redis.link import Link
from chatbox.backplane.redis.scripts import LISTEN, Argument, Keys
from chatbox.errors import BackplaneDown


class Listening:
    """Gives events to the one receiver, if their sessions are listened to."""

    def __init__(self, link: Link, node: str, timing: Timing) -> None:
        self.receiver: Receiver = _nobody
        self._link = link
        self._node = node
        self._timing = timing
        self._newest: dict[str, int] = {}  # a session, and the newest position of it that was heard
        self._unread: dict[str, bool] = {}  # where something could not be read lately, and whether again
        self._unsaid: set[str] = set()  # where the others do not know yet that this node listens
        self._doubt = asyncio.Event()

    def __len__(self) -> int:
        return len(self._newest)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._newest))

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._newest

    async def add(self, session_id: str) -> None:
        def said(reply: Reply) -> None:
            if isinstance(reply, BackplaneDown):
                self._unsaid.add(session_id)

        self._newest.setdefault(session_id, 0)
        await self._link.send(self._alive(session_id), said)

    async def remove(self, session_id: str) -> None:
        if self._newest.pop(session_id, None) is not None:
            await self._link.send(("ZREM", Keys.of(session_id).nodes, self._node), lambda _: None)

    def tell(self, session_id: str, event: Event) -> None:
        """What happened here, or was heard from another node."""
        newest = self._newest.get(session_id)
        if newest is None:
            return
        if isinstance(event, Piece | Turn):
            self._newest[session_id] = max(newest, event.seq)
        elif isinstance(event, Stored):
            self._newest[session_id] = max(newest, event.entry.seq)
        self.receiver(session_id, event)

    def missed(self, session_id: str) -> None:
        """An event could not be read. The receiver is told at once, and when it comes again, at the next beacon."""
        if session_id in self._unread:
            self._unread[session_id] = True
        elif session_id in self._newest:
            self._unread[session_id] = False
            self.receiver(session_id, Behind())

    def doubt(self) -> None:
        """Events may have been lost in any session."""
        if self._newest:
            self._doubt.set()

    async def greet(self, line: Line) -> None:
        """Say on a new line where this node listens. Raises ``BackplaneDown``."""
        self._unsaid.clear()
        await self._each(lambda session_id: line.send(self._alive(session_id), answer))

    def risen(self) -> None:
        """The link is up: say what came up during the greeting, and that events may have been lost."""
        unsaid, self._unsaid = self._unsaid, set()
        for session_id in unsaid & self._newest.keys():
            self._link.send(self._alive(session_id), lambda _: None)
        self.doubt()

    async def leave(self) -> None:
        """Say that this node listens no more."""
        await self._each(lambda session_id: self.remove(session_id))

    # -- from time to time ---------------------------------------------------------------------------------------------

    async def keep_doubting(self) -> None:
        """Tell the receiver when it may be behind everywhere, until cancelled."""
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            for chunk in chunks(self):
                for session_id in chunk:
                    self.tell(session_id, Behind())
                await asyncio.sleep(0)

    async def pulse(self) -> None:
        """Say that this node lives, until cancelled. Where the others had forgotten it, it missed what happened."""
        while True:
            await asyncio.sleep(self._timing.pulse)
            await self._each(self._renew)

    async def beacon(self) -> None:
        """Look how far the sessions have come, until cancelled."""
        while True:
            await asyncio.sleep(self._timing.beacon)
            unread, self._unread = self._unread, {}
            for session_id in [session_id for session_id, again in unread.items() if again]:
                self.tell(session_id, Behind())
            for chunk in chunks(self):
                command = ("MGET", *[Keys.of(session_id).at for session_id in chunk])
                await self._link.send(command, partial(self._compare, chunk))

    def _compare(self, sessions: list[str], reply: Reply) -> None:
        if isinstance(reply, BackplaneDown):
            return
        for session_id, at in zip(sessions, reply, strict=True):
            newest = self._newest.get(session_id)
            if newest is not None and at is not None and at.isdigit() and int(at) > newest:
                self.tell(session_id, Behind(int(at)))

    def _renew(self, session_id: str) -> Awaitable[None]:
        def renewed(reply: Reply) -> None:
            if reply == 1:
                self.tell(session_id, Behind())

        return self._link.send(self._alive(session_id), renewed)

    def _alive(self, session_id: str) -> tuple[Argument, ...]:
        return LISTEN.call((Keys.of(session_id).nodes,), self._node, ms(LIVES * self._timing.pulse))

    async def _each(self, work: Callable[[str], Awaitable[object]]) -> None:
        for chunk in chunks(self):
            await asyncio.gather(*[work(session_id) for session_id in chunk if session_id in self])


def _nobody(session_id: str, event: Event) -> None:
    """The receiver before ``connect``."""
