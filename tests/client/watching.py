"""A client of a real server, and all that it sees."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from chatbox.client import ChatClient
from tests.live import token


class Seen:
    """Reads a client's events all the time."""

    def __init__(self, chat):
        self.events = []
        self._news = asyncio.Condition()
        self.reading = asyncio.create_task(self._read(chat))

    async def _read(self, chat):
        async for event in chat.events():
            async with self._news:
                self.events.append(event)
                self._news.notify_all()

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind, count=1, patience=20):
        """The ``count``-th event of a kind, once it is there."""
        async with asyncio.timeout(patience), self._news:
            await self._news.wait_for(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]


@asynccontextmanager
async def chatting(live, user="ann", port=None, **options):
    """A client, and what it sees."""
    base = live.http.replace(str(live.port), str(port or live.port))
    options.setdefault("token", token(user))
    async with ChatClient(base, **options) as chat:
        seen = Seen(chat)
        try:
            yield chat, seen
        finally:
            seen.reading.cancel()
