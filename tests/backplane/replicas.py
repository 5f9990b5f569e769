"""Replicas for the tests of backplanes: each hears what it hears, and all agree when they have heard everything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

from chatbox.backplane.base import Backplane, Behind, Event, Piece, Signal
from chatbox.keyring import Keyring

KEYRING = Keyring([("one", b"0" * 32)])
PATIENCE = 60.0
BARRIER = "barrier"

numbers = count()


class Replica:
    """A backplane and what its receiver got: ``heard`` are the events, ``behind`` the hints that some are missing."""

    def __init__(self, plane: Backplane) -> None:
        self.plane = plane
        self.heard: list[tuple[str, Event]] = []
        self.behind: list[tuple[str, int | None]] = []
        self.barriers: set[str] = set()
        self._news = asyncio.Event()
        plane.connect(self._hear)

    def _hear(self, session_id: str, event: Event) -> None:
        if isinstance(event, Behind):
            self.behind.append((session_id, event.seq))
        elif session_id == BARRIER and isinstance(event, Signal):
            self.barriers.add(event.frame)
        else:
            self.heard.append((session_id, event))
        self._news.set()

    def events(self, session_id: str = "s") -> list[Event]:
        return [event for heard, event in self.heard if heard == session_id]

    def pieces(self, session_id: str = "s") -> list[Piece]:
        return [event for event in self.events(session_id) if isinstance(event, Piece)]

    async def until(self, seen: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not seen():
                self._news.clear()
                await self._news.wait()


async def all_heard(*replicas: Replica, from_: Replica | None = None) -> None:
    """Return when everything that was told before, by all of them or one, has been heard by each: nothing overtakes
    what its own replica said."""
    told = [(replica, f"barrier {next(numbers)}") for replica in ([from_] if from_ else replicas)]
    for replica, barrier in told:
        await replica.plane.publish(BARRIER, Signal(barrier))
    for replica in replicas:
        await replica.until(lambda heard=replica.barriers: heard.issuperset([barrier for _, barrier in told]))


async def eventually(holds: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(patience):
        while not holds():
            await asyncio.sleep(0.01)
