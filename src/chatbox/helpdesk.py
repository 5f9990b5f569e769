"""What becomes of a call for help, told truthfully.

    asked ("nobody has been told yet") ──► told ("staff were told at …") ──► joined, by a takeover
      └── the user takes it back: none

The log is the source: whoever asked and has not been seen to is found in the store, by every replica and after every
restart, and the alert about it has an id that follows from the request. So a process that dies in between changes
nothing. ``told`` gets into the log when an alert was delivered to somebody, not when it was sent off, or when somebody
has the dashboard open, which shows who waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog

from chatbox.commits import Commits
from chatbox.entries import system_entry
from chatbox.errors import Fenced, NotFound, StorageError
from chatbox.hours import Hours
from chatbox.notify.alerts import Alerts, Desk
from chatbox.notify.base import Alert, Event
from chatbox.protocol import rfc3339
from chatbox.session import MAX_MESSAGE_ID, Change, Help, Kind, Session, Staff, now_ms
from chatbox.storage.base import AI, Appended, SessionQuery, Storage
from chatbox.storage.paging import sessions_of

log = structlog.get_logger(component="helpdesk")

SCAN, EASE = 5.0, 20.0
"""Seconds between two looks for calls that no news came of; at least so many times as long as a look takes."""
MOST_HEARD = 10_000
"""Calls that wait to be seen to; a look finds those above that."""
AGAIN = 300.0
"""Who takes a call back and asks again within so many seconds raises the next alert when they have passed."""
AT_ONCE = 100
DISCREET = ("email", "log")
"""Channels that wake nobody, for calls when nobody is there."""


class Helpdesk(Desk):
    """Who waits for help, and what they have been told. ``opening`` without any hours: always open."""

    def __init__(self, storage: Storage, commits: Commits, opening: Hours) -> None:
        self._storage = storage
        self._commits = commits
        self._opening = opening

    async def waits(self, session_id: str, since: int) -> bool:
        session = await self._storage.get(session_id)
        return session is not None and session.help_since == since

    async def told(self, session_id: str, since: int, at: int) -> None:
        session = await self._storage.get(session_id)
        if session is None or session.help_since != since or session.help_state is not Help.ASKED:
            return
        fields = {"state": str(Help.TOLD), "at": rfc3339(at), **self.hours(at)}
        stored = await self._append(session_id, f"told:{since}", fields, Change(help_state=Help.TOLD, by=AI))
        if stored and stored.fresh and stored.session.help_state is not Help.TOLD:
            state = {"state": str(stored.session.help_state)}
            await self._append(session_id, f"untold:{since}", state, Change())

    async def closed(self, session: Session, since: int) -> None:
        """Tell the user that nobody is there, and when somebody will be."""
        fields = {"state": str(session.help_state), **self.hours(since)}
        await self._append(session.id, f"closed:{since}", fields, Change(by=AI))

    def opens(self, at: int) -> int | None:
        """When somebody is there again, of a time at which nobody is."""
        return self._opening.begin(at) if self._opening and not self._opening.cover(at) else None

    def hours(self, at: int) -> dict[str, str]:
        """What users are told about the opening hours: nothing while it is open."""
        opens = self.opens(at)
        return {} if opens is None else {"open": "false", "opens_at": rfc3339(opens)}

    async def _append(self, session_id: str, what: str, fields: dict[str, str], change: Change) -> Appended | None:
        """Store news of a call, once. None: staff have the session now, or it is gone."""
        own_id = what.rjust(MAX_MESSAGE_ID + 1, ":")  # no client may send so long a one
        entry = system_entry(session_id, Kind.NOTIFICATION, own_id, {"event": "help_state", **fields})
        with suppress(Fenced, NotFound):
            return await self._commits.commit(None, entry, change)
        return None


class Calls:
    """Turns calls for help into alerts. After ``escalation`` s, counted from when somebody is there, the second one.
    ``online`` says who has the dashboard open."""

    def __init__(
        self,
        storage: Storage,
        desk: Helpdesk,
        alerts: Alerts,
        online: Callable[[], Awaitable[Sequence[Staff]]],
        *,
        escalation: float,
    ) -> None:
        self._storage = storage
        self._desk = desk
        self._alerts = alerts
        self._online = online
        self._escalation = round(escalation * 1000)
        self._seen: set[tuple[str, int]] = set()
        self._last: dict[str, float] = {}
        self._heard: dict[str, Session] = {}
        self._news = asyncio.Event()

    def heard(self, news: object) -> None:
        """Something was stored here: see to it at once if it is a call."""
        if isinstance(news, Appended) and news.entry.metadata.get("state") == Help.ASKED and news.session.help_since:
            if len(self._heard) < MOST_HEARD:
                self._heard[news.session.id] = news.session
            self._news.set()

    async def run(self) -> None:
        """See to calls as they come, and look for the others from time to time, until cancelled."""
        next_look = time.monotonic()
        while True:
            try:
                await self._see_to_heard()
                if time.monotonic() >= next_look:
                    begun = time.monotonic()
                    await self.look()
                    next_look = time.monotonic() + max(SCAN, EASE * (time.monotonic() - begun))
            except StorageError as error:
                log.warning("calls for help can't be seen to", error=str(error))
                next_look = time.monotonic() + SCAN
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, next_look - time.monotonic())):
                    await self._news.wait()

    async def look(self) -> None:
        """See to all who wait."""
        waiting: set[tuple[str, int]] = set()
        online = bool(await self._online())
        some: list[Session] = []
        async for session in sessions_of(self._storage, SessionQuery(waiting=True)):
            waiting.add(_call_of(session))
            some.append(session)
            if len(some) == AT_ONCE:
                await self._see_to(some, online)
                some = []
        await self._see_to(some, online)
        self._seen = waiting
        self._forget()

    async def _see_to_heard(self) -> None:
        self._news.clear()
        heard, self._heard = list(self._heard.values()), {}
        if heard:
            online = bool(await self._online())
            for start in range(0, len(heard), AT_ONCE):
                await self._see_to(heard[start : start + AT_ONCE], online)
            self._seen |= {_call_of(session) for session in heard}

    async def _see_to(self, some: Sequence[Session], online: bool) -> None:
        """See to several calls at once: what they store shares its way to the disk."""
        outcomes = await asyncio.gather(*[self._one(session, online) for session in some], return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _one(self, session: Session, online: bool) -> None:
        session_id, since = call = _call_of(session)
        if call not in self._seen:
            await self._call(session, since)
        if online and session.help_state is Help.ASKED:
            await self._desk.told(session_id, since, now_ms())

    async def _call(self, session: Session, since: int) -> None:
        opens = self._desk.opens(since)
        if opens is None:
            await self._raise_soon(alert(Event.HELP, session, since), None)
        else:
            await self._desk.closed(session, since)
            await self._raise_soon(alert(Event.HELP, session, since), DISCREET)
            await self._alerts.raise_(alert(Event.HELP_REMINDER, session, since), due=opens)
        later = (since if opens is None else opens) + self._escalation
        await self._alerts.raise_(alert(Event.HELP_UNANSWERED, session, since), due=later)

    async def _raise_soon(self, call: Alert, channels: Sequence[str] | None) -> None:
        """Now, or as soon as ``AGAIN`` seconds have passed since the last alert about this session."""
        now = time.monotonic()
        at = max(now, self._last.get(call.session_id, now - AGAIN) + AGAIN)
        if await self._alerts.raise_(call, due=now_ms() + round((at - now) * 1000), channels=channels):
            self._last[call.session_id] = at

    def _forget(self) -> None:
        limit = time.monotonic() - AGAIN
        self._last = {session: at for session, at in self._last.items() if at > limit}


def _call_of(session: Session) -> tuple[str, int]:
    return session.id, session.help_since or 0


def alert(event: Event, session: Session, since: int) -> Alert:
    """An alert about a call for help."""
    return Alert(
        id=f"{event}:{session.id}:{since}",
        event=event,
        at=since,
        session_id=session.id,
        since=since,
        user_id=session.user_id,
        user_name=session.user_name,
    )
