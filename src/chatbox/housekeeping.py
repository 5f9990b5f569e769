"""What has to be done from time to time: settle, end, forget and remove what its time has come for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
import structlog

from chatbox.errors import NotFound, StorageError
from chatbox.hub import Hub
from chatbox.reply import Replies
from chatbox.room import Room
from chatbox.session import Session, now_ms
from chatbox.sessions import Sessions
from chatbox.storage.base import SessionQuery, Storage

log = structlog.get_logger(component="housekeeping")

BATCH = 500
DAY_MS = 86_400_000
WATCH = 2.0
"""Seconds between two looks for what no process sees to; a question may wait so long for its turn."""


class Periods(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, but for ``retention_days`` (0 keeps for ever)."""

    interval: float
    session_ttl: float
    reconnect_timeout: float
    retention_days: int = 0


class Housekeeping:
    """A sweep every ``interval``; it ends with the app. A failed sweep is logged and tried again at the next."""

    def __init__(
        self,
        storage: Storage,
        hub: Hub,
        sessions: Sessions,
        replies: Replies,
        periods: Periods,
    ) -> None:
        self._storage = storage
        self._hub = hub
        self._sessions = sessions
        self._replies = replies
        self._periods = periods

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(self._periods.interval)
            try:
                await self.sweep()
            except StorageError as error:
                log.warning("a sweep failed", error=str(error))

    async def sweep(self) -> None:
        """Do everything that is due."""
        now = now_ms()
        away = now - round(self._periods.reconnect_timeout * 1000)
        await self.settle()
        await self._end_abandoned(away)
        await self._remove(SessionQuery(empty=True, idle_since=away))
        if days := self._periods.retention_days:
            await self._remove(SessionQuery(idle_since=now - days * DAY_MS))
        await self._evict()

    async def watch(self) -> None:
        """See to what no process sees to any more, in the sessions with someone listening here, until cancelled."""
        while True:
            await asyncio.sleep(WATCH)
            for room in self._hub.rooms():
                if room.listeners and self._neglected(room):
                    await self._see_to(room)

    def _neglected(self, room: Room) -> bool:
        """Whether somebody else writes the room's answer, or nobody; or a question has waited too long for its turn."""
        asked_at = room.owing.asked_at
        late = asked_at is not None and not room.owing.assisted and time.monotonic() - asked_at > WATCH
        return self._replies.running(room.session_id) is None and (late or room.owing.open_answer is not None)

    async def _see_to(self, room: Room) -> None:
        index = room.index
        try:
            if room.owing.open_answer:
                session = await self._replies.settle_answer(room.session_id, room.owing.open_answer)
            else:
                session = await self._storage.get(room.session_id)
            if session and not await self._replies.look(session) and room.index == index:
                room.owing.asked_at = None
        except (StorageError, NotFound) as error:
            log.warning("an unfinished answer can't be closed yet", session=room.session_id, error=str(error))

    async def settle(self) -> int:
        """Close the answers that are not running any more: their process died, or their store failed for too long.
        Returns how many were found unfinished."""
        found = 0
        async for session in self._all(SessionQuery(answering=True)):
            found += 1
            if ended := session.answer_id and await self._replies.settle_answer(session.id, session.answer_id):
                await self._replies.look(ended)
        return found

    async def _end_abandoned(self, away: int) -> None:
        async for session in self._all(SessionQuery(active=True, idle_since=away)):
            if await self._sessions.abandoned(session):
                with suppress(NotFound):
                    await self._sessions.close(session)

    async def _remove(self, query: SessionQuery) -> None:
        async for session in self._all(query):
            if await self._sessions.abandoned(session):
                await self._sessions.remove(session)

    async def _evict(self) -> None:
        """Forget the rooms that nobody has needed for ``session_ttl``."""
        for session_id in self._hub.idle(self._periods.session_ttl):
            await self._hub.evict(session_id)

    async def _all(self, query: SessionQuery) -> AsyncIterator[Session]:
        query = msgspec.structs.replace(query, limit=BATCH)
        while found := await self._storage.find(query):
            for session in found:
                yield session
            query = msgspec.structs.replace(query, before=(found[-1].last_activity, found[-1].id))
