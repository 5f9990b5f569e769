"""Events that wait for whoever reads them."""

from __future__ import annotations

import asyncio
from collections import deque

from chatbox.client.events import Event, Piece

LIMIT = 1000


class _Pieces:
    """Neighbouring pieces of an answer."""

    __slots__ = ("message_id", "texts")

    def __init__(self, first: Piece) -> None:
        self.message_id = first.message_id
        self.texts = [first.text]


class Inbox:
    """Keeps at most about ``limit`` events, in order; neighbouring pieces of an answer become one.

    Full means that ``room`` waits: the client stops reading its socket, the server merges in its turn and in the end
    closes a socket that stays full; the client then resumes. Nothing is lost.
    """

    __slots__ = ("_arrived", "_events", "_limit", "_roomy", "_stopped")

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._events: deque[Event | _Pieces] = deque()
        self._arrived = asyncio.Event()
        self._roomy = asyncio.Event()
        self._roomy.set()
        self._stopped = False

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event) -> None:
        """Add an event; never waits. See ``room``."""
        last = self._events[-1] if self._events else None
        if not isinstance(event, Piece):
            self._events.append(event)
        elif isinstance(last, _Pieces) and last.message_id == event.message_id:
            last.texts.append(event.text)
        else:
            self._events.append(_Pieces(event))
        if len(self._events) >= self._limit:
            self._roomy.clear()
        self._arrived.set()

    async def room(self) -> None:
        """Wait while the inbox is full."""
        await self._roomy.wait()

    async def get(self) -> Event | None:
        """The next event; None when there will be no more."""
        while not self._events and not self._stopped:
            self._arrived.clear()
            await self._arrived.wait()
        if not self._events:
            return None
        event = self._events.popleft()
        if len(self._events) <= self._limit // 2:
            self._roomy.set()
        return Piece(event.message_id, "".join(event.texts)) if isinstance(event, _Pieces) else event

    def stop(self) -> None:
        """Nothing more comes; what is here can still be read."""
        self._stopped = True
        self._arrived.set()
