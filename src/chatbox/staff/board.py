"""What all staff sockets of this process show: the live list, the waiting queue, and who of staff is online.

The store is the truth of the queue: it is read when the first socket opens, when news may have been lost, and every now
and then. Between that it follows the news, of which the one with the higher position is the newer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
import structlog

from chatbox.backplane.base import Backplane, Behind, Event, Signal
from chatbox.errors import StorageError
from chatbox.hub import Hub
from chatbox.protocol import Frame
from chatbox.session import STAFF_ROLES, Staff
from chatbox.sockets import OpenSocket
from chatbox.staff import news, protocol
from chatbox.staff.news import News
from chatbox.staff.presence import Presence
from chatbox.staff.protocol import Waiting
from chatbox.staff.view import Views
from chatbox.storage.base import SessionQuery, Storage
from chatbox.storage.paging import sessions_of
from chatbox.tasks import Tasks

log = structlog.get_logger(component="board")

COLLEAGUES = "*desks"
"""The topic of staff who come and go."""
LOOK = 10.0
"""Seconds between two looks at who is online and who waits, for what nobody told."""
SHOWN = 100
REMEMBERED = 10_000
PERIOD = 1.0
GONE = 1 << 53


class _Told(msgspec.Struct, frozen=True):
    """What a ``session_update`` says that the queue has to know."""

    session_id: str
    last_seq: int = GONE
    session: Mapping[str, Any] | None = None


class Board:
    """The staff sockets of this process. ``run`` and ``run_queue`` have to be kept running."""

    def __init__(
        self,
        storage: Storage,
        backplane: Backplane,
        hub: Hub,
        presence: Presence,
        views: Views,
        news: News,
        tasks: Tasks,
    ) -> None:
        self._storage = storage
        self._backplane = backplane
        self._hub = hub
        self._presence = presence
        self._views = views
        self._news = news
        self._tasks = tasks
        self._desks: dict[str, OpenSocket] = {}
        self._staff: list[Staff] = []
        self._waiting: dict[str, Mapping[str, Any]] = {}
        self._seen: dict[str, int] = {}  # the newest position that was told, by session
        self._reading: set[str] | None = None  # what was told while the queue is read
        self._lock = asyncio.Lock()
        self._moved = asyncio.Event()
        self._colleagues = asyncio.Event()
        self._subscribed = False

    def __len__(self) -> int:
        return len(self._desks)

    async def enter(self, desk: OpenSocket) -> None:
        """Send a staff socket its first frame, then all news. Raises ``StorageError``."""
        who = desk.principal
        await self._presence.arrive(who, desk.id)
        self._show(await self._presence.online())
        async with self._lock:
            if not self._desks:
                await self._begin()
            # from here on nothing may be awaited: what is told while no socket is here is not heard
            role = min(who.roles & STAFF_ROLES)
            desk.send(protocol.staff_status(who, role, self._staff, self.waiting))
            self._desks[desk.id] = desk
        await self._backplane.publish(COLLEAGUES, Signal(""))

    async def leave(self, desk: OpenSocket) -> None:
        """The socket is gone, whether it had entered or not."""
        self._desks.pop(desk.id, None)
        await self._presence.depart(desk.id)
        await self._backplane.publish(COLLEAGUES, Signal(""))

    @property
    def waiting(self) -> Waiting:
        """Who waits for a person, the longest first."""
        queue = sorted(self._waiting.values(), key=lambda view: (view["help_since"], view["id"]))
        return Waiting(queue[:SHOWN], len(queue))

    async def run(self) -> None:
        """See who of staff comes and goes, until cancelled."""
        await self._hub.subscribe(COLLEAGUES, lambda _: self._colleagues.set())
        read_at = time.monotonic()
        while True:
            await self._look()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._colleagues.wait()
            self._colleagues.clear()
            if self._desks and time.monotonic() - read_at >= LOOK:
                read_at = time.monotonic()
                await self._read_again()

    async def run_queue(self) -> None:
        """Tell of the queue when it has changed, at most once in ``PERIOD``, until cancelled."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            self._all(protocol.help_update(self.waiting))
            await asyncio.sleep(PERIOD)

    async def _look(self) -> None:
        staff = await self._presence.online()
        self._news.want(bool(staff))
        self._show(staff)

    def _show(self, staff: list[Staff]) -> None:
        if staff != self._staff:
            self._staff = staff
            self._all(protocol.staff_update(staff))

    async def _begin(self) -> None:
        """Be up to date for the first socket."""
        if not self._subscribed:
            await self._hub.subscribe(news.TOPIC, self._hear)
            self._subscribed = True
        await self._read()
        self._moved.clear()

    async def _read(self) -> None:
        """Read the queue; what is told meanwhile is newer."""
        told = self._reading = set()
        try:
            found = [session async for session in sessions_of(self._storage, SessionQuery(waiting=True))]
            views = await self._views.of_all(found)
        finally:
            self._reading = None
        late = {session.id for session in found if session.seq < self._seen.get(session.id, 0)}
        fresh = {view["id"]: view for view in views if view["id"] not in told | late}
        queue = {session_id: view for session_id, view in self._waiting.items() if session_id in told} | fresh
        if _places(queue) != _places(self._waiting):
            self._moved.set()
        self._waiting = queue

    async def _read_again(self) -> None:
        async with self._lock:
            try:
                await self._read()
            except StorageError as error:
                log.warning("the waiting queue can't be read now", error=str(error))

    def _hear(self, event: Event) -> None:
        match event:
            case Signal(text) if self._desks or self._reading is not None:
                self._take(Frame(text))
            case Behind() if self._desks:
                self._tasks.start(self._read_again(), "waiting queue")
                for desk in list(self._desks.values()):
                    desk.hint("news_lost")

    def _take(self, frame: Frame) -> None:
        told = msgspec.json.decode(frame.encode(), type=_Told)
        if told.last_seq < self._seen.get(told.session_id, 0):
            return
        self._remember(told)
        self._all(frame)
        before = self._waiting.pop(told.session_id, None)
        after = told.session if told.session and "help_since" in told.session else None
        if after:
            self._waiting[told.session_id] = after
        if _place(before) != _place(after):
            self._moved.set()

    def _remember(self, told: _Told) -> None:
        if self._reading is not None:
            self._reading.add(told.session_id)
        self._seen.pop(told.session_id, None)
        self._seen[told.session_id] = told.last_seq
        while len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def _all(self, frame: Frame) -> None:
        for desk in list(self._desks.values()):
            desk.send(frame)


def _places(queue: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, str] | None]:
    return {session_id: _place(view) for session_id, view in queue.items()}


def _place(view: Mapping[str, Any] | None) -> tuple[str, str] | None:
    """What counts as a change of the queue: since when somebody waits, and whether staff were told; None: not at
    all."""
    return (view["help_since"], view["help_state"]) if view else None
