"""What has to be done from time to time: end, forget and remove what its time has come for."""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from chatbox.chat import Chat
from chatbox.errors import NotFound, StorageError
from chatbox.hub import Hub
from chatbox.limits import SlidingWindow
from chatbox.metrics import Metrics
from chatbox.reply import Replies
from chatbox.session import Session, now_ms
from chatbox.storage.base import SessionQuery, Storage

log = structlog.get_logger(component="housekeeping")

BATCH = 500
DAY_MS = 86_400_000


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
        chat: Chat,
        replies: Replies,
        limiters: list[SlidingWindow],
        periods: Periods,
        metrics: Metrics,
    ) -> None:
        self._storage = storage
        self._hub = hub
        self._chat = chat
        self._replies = replies
        self._limiters = limiters
        self._periods = periods
        self._metrics = metrics

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(self._periods.interval)
            try:
                await self.sweep()
            except StorageError as error:
                log.warning("a sweep failed", error=str(error))

    async def recover(self) -> int:
        """At start: close the answers whose process died. Returns how many."""
        unfinished = await self._storage.find(SessionQuery(answering=True, limit=BATCH))
        for session in unfinished:
            await self._replies.settle(session)
        return len(unfinished) + (await self.recover() if len(unfinished) == BATCH else 0)

    async def sweep(self) -> None:
        """Do everything that is due."""
        now = now_ms()
        away = now - round(self._periods.reconnect_timeout * 1000)
        await self._end_abandoned(away)
        await self._remove(SessionQuery(empty=True, idle_since=away, limit=BATCH))
        if days := self._periods.retention_days:
            await self._remove(SessionQuery(idle_since=now - days * DAY_MS, limit=BATCH))
        await self._hub.evict(self._periods.session_ttl)
        for limiter in self._limiters:
            limiter.sweep()
        self._metrics.active_sessions_total.set(len(self._hub))

    async def _end_abandoned(self, away: int) -> None:
        query = SessionQuery(active=True, idle_since=away, limit=BATCH)
        while sessions := await self._storage.find(query):
            for session in sessions:
                if self._chat.abandoned(session):
                    await _gently(self._chat.close(session))
            oldest = sessions[-1]
            query = msgspec.structs.replace(query, before=(oldest.last_activity, oldest.id))

    async def _remove(self, query: SessionQuery) -> None:
        while sessions := await self._storage.find(query):
            for session in sessions:
                if self._unused(session):
                    await _gently(self._chat.delete(session))
            oldest = sessions[-1]
            query = msgspec.structs.replace(query, before=(oldest.last_activity, oldest.id))

    def _unused(self, session: Session) -> bool:
        room = self._hub.room(session.id)
        return not (room and room.listeners) and self._chat.abandoned(session)


async def _gently(work: asyncio.Future[object] | object) -> None:
    """A session that is gone meanwhile is no error."""
    try:
        await work  # type: ignore[misc]
    except NotFound:
        pass
