"""What changes in any session, told to the boards of all replicas while staff are online.

The first change of a session is told at once, what follows at most once in ``PERIOD``, and always the newest. While
nobody is online, what changed lately is kept: one who comes has read a list that may be a little older.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice

import msgspec
import structlog

from chatbox.backplane.base import Backplane, Signal
from chatbox.errors import StorageError
from chatbox.protocol import Frame
from chatbox.session import MESSAGES, Entry, Session
from chatbox.staff import protocol
from chatbox.staff.view import Views
from chatbox.storage.base import Appended, Storage
from chatbox.storage.telling import Deleted

log = structlog.get_logger(component="news")

TOPIC = "*staff"
PERIOD = 1.0
KEPT = 10.0
"""Seconds for which changes are kept that nobody was there for."""
PREVIEW = 140
"""Characters of what was said last."""
AT_ONCE = 50


class Fresh(msgspec.Struct, frozen=True):
    """What is to be told of a session. ``session`` None: look at how it is now."""

    at: float
    session: Session | None = None
    said: Mapping[str, str] = {}
    gone: bool = False


class News:
    """``wanted`` is whether any staff are online; ``want`` changes it. ``run`` has to be kept running."""

    def __init__(self, storage: Storage, backplane: Backplane, views: Views) -> None:
        self._storage = storage
        self._backplane = backplane
        self._views = views
        self._due: dict[str, Fresh] = {}
        self._held: dict[str, Fresh | None] = {}  # told lately, and what has come since
        self._releases: deque[tuple[float, str]] = deque()
        self._visits: deque[tuple[float, str]] = deque()
        self._wake = asyncio.Event()
        self.wanted = False

    def want(self, wanted: bool) -> None:
        """Begin to tell, or stop."""
        self.wanted = wanted
        if wanted:
            self._wake.set()

    def take(self, news: Appended | Deleted) -> None:
        """Hear what was stored."""
        now = time.monotonic()
        if isinstance(news, Deleted):
            self._put(news.session_id, Fresh(now, gone=True))
        else:
            self._put(news.session.id, Fresh(now, news.session, _said(news.entry) if news.fresh else {}))
            for session_id in news.closed:
                self._put(session_id, Fresh(now))

    def look(self, session_id: str) -> None:
        """A session's user has come or gone: tell of it in a moment, when it is known everywhere."""
        if self.wanted:
            self._visits.append((time.monotonic() + PERIOD, session_id))
            self._wake.set()

    def _put(self, session_id: str, fresh: Fresh) -> None:
        if session_id in self._held:
            self._held[session_id] = _newest(self._held[session_id], fresh)
            return
        self._due[session_id] = _newest(self._due.pop(session_id, None), fresh)
        if self.wanted:
            self._wake.set()
        else:
            self._forget(fresh.at - KEPT)

    def _forget(self, before: float) -> None:
        while self._due and self._due[oldest := next(iter(self._due))].at < before:
            del self._due[oldest]

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            first = min((waiting[0][0] for waiting in (self._releases, self._visits) if waiting), default=math.inf)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(KEPT, max(0.0, first - time.monotonic()))):
                    await self._wake.wait()
            self._wake.clear()
            self._release(time.monotonic())
            if not self.wanted:
                self._forget(time.monotonic() - KEPT)
            while self.wanted and self._due:
                await self._tell()
                self._release(time.monotonic())

    def _release(self, now: float) -> None:
        while self._releases and self._releases[0][0] <= now:
            _, session_id = self._releases.popleft()
            if fresh := self._held.pop(session_id):
                self._due[session_id] = fresh
        while self._visits and self._visits[0][0] <= now:
            self._put(self._visits.popleft()[1], Fresh(now))

    async def _tell(self) -> None:
        now = time.monotonic()
        batch = [(session_id, self._due.pop(session_id)) for session_id in list(islice(self._due, AT_ONCE))]
        for session_id, _ in batch:
            self._held[session_id] = None
            self._releases.append((now + PERIOD, session_id))
        await asyncio.gather(*[self._publish(session_id, fresh) for session_id, fresh in batch])

    async def _publish(self, session_id: str, fresh: Fresh) -> None:
        try:
            frame = await self._frame(session_id, fresh)
        except StorageError as error:
            log.warning("staff are not told of a change", session=session_id, error=str(error))
            return
        if frame:
            await self._backplane.publish(TOPIC, Signal(str(frame)))

    async def _frame(self, session_id: str, fresh: Fresh) -> Frame | None:
        session = fresh.session or (None if fresh.gone else await self._storage.get(session_id))
        if session is None:
            return protocol.session_gone(session_id)
        if not session.last_index:  # it is in no list yet
            return None
        return protocol.session_update(session, await self._views.of(session), fresh.said)


def _newest(old: Fresh | None, new: Fresh) -> Fresh:
    """What is known of a session from two pieces of news, the second heard last."""
    if old is None or new.gone:
        return new
    if old.gone:
        return old
    if old.session and new.session and old.session.last_index > new.session.last_index:
        return msgspec.structs.replace(old, at=new.at, said=old.said or new.said)
    return msgspec.structs.replace(new, said=new.said or old.said)


def _said(entry: Entry) -> dict[str, str]:
    if entry.kind not in MESSAGES:
        return {}
    return {"preview": entry.content[:PREVIEW], "preview_sender": str(entry.sender)}
