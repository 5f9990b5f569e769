"""Which alerts go out at once, which together, and which not at all.

Of one event at most ``MOST`` alerts are sent in any ``WINDOW`` seconds, counted in the store: over all replicas, and
over restarts, so that a server that crashes again and again does not flood anybody. What is above that is told of in a
digest at the end of the running five minutes. In quiet hours everything but help waits for their end, in a digest too.
An alert about help goes out only while its user still waits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec
import structlog

from chatbox.hours import Hours
from chatbox.notify.base import HELP_EVENTS, Alert, Event
from chatbox.notify.claims import SENT, alert_of, pages
from chatbox.notify.outbox import Gate, Held, Outbox
from chatbox.session import now_ms
from chatbox.storage.records import Record, Records

log = structlog.get_logger(component="alerts")

MOST = 5
WINDOW = 300.0
COUNTS = "alert_count"
"""The kind of the records that count, one an event."""
NAMED = 50
"""Held-back alerts that a digest keeps whole."""


class Desk(ABC):
    """What alerts about help have to know, and to tell."""

    @abstractmethod
    async def waits(self, session_id: str, since: int) -> bool:
        """Whether the user who asked for help at ``since`` (Unix ms) is still waiting."""

    @abstractmethod
    async def told(self, session_id: str, since: int, at: int) -> None:
        """Staff were told of that request. May be said twice."""


class Alerts(Gate):
    """``quiet`` are the hours in which only help is worth waking somebody for."""

    def __init__(self, records: Records, outbox: Outbox, desk: Desk, quiet: Hours) -> None:
        self._records = records
        self._outbox = outbox
        self._desk = desk
        self._quiet = quiet

    async def raise_(self, alert: Alert, *, due: int | None = None, channels: Sequence[str] | None = None) -> bool:
        """See that staff are told, now or at ``due``; false when they are already. ``channels`` None: by all of them.
        Raises ``StorageError``."""
        return await self._outbox.put(alert, due=due, channels=channels)

    async def shout(self, alert: Alert) -> bool:
        """Tell staff without the store, once, unless it is quiet; whether anybody was reached."""
        if self._quiet.cover(now_ms()):
            log.error("an alert without a store in quiet hours", alert=alert.id)
            return False
        return await self._outbox.tell(alert)

    async def run(self) -> None:
        """Deliver until cancelled."""
        await self._outbox.run(self)

    async def admit(self, alert: Alert, now: int) -> Alert | Held | None:
        if alert.event is Event.DIGEST:
            return await self._collected(alert)
        if alert.since and not await self._desk.waits(alert.session_id, alert.since):
            return None
        if self._silent(alert, now):
            return Held(self._quiet.end(now))
        if await self._counted(alert.event, now):
            return alert
        window = round(WINDOW * 1000)
        until = (now // window + 1) * window
        return Held(self._quiet.end(until) if self._silent(alert, until) else until)

    async def delivered(self, alert: Alert, at: int) -> None:
        if alert.since:
            await self._desk.told(alert.session_id, alert.since, at)
        if alert.event is Event.DIGEST:
            async for record in pages(self._records, alert.id):
                await self._told_of(record, at)

    def _silent(self, alert: Alert, at: int) -> bool:
        return alert.event not in HELP_EVENTS and self._quiet.cover(at)

    async def _told_of(self, record: Record, at: int) -> None:
        held = alert_of(record)
        if held.since:
            await self._desk.told(held.session_id, held.since, at)
        await self._records.replace(msgspec.structs.replace(record, key=SENT, due=None))

    async def _collected(self, digest: Alert) -> Alert | None:
        """The digest with what was held back for it, oldest first; None when nobody needs to know of any of it."""
        found: list[Alert] = []
        count = 0
        async for record in pages(self._records, digest.id):
            held = alert_of(record)
            if held.since and not await self._desk.waits(held.session_id, held.since):
                continue
            count += 1
            found = [*found, held][:NAMED]
        if not count:
            return None
        users = {held.user_id for held in found if held.user_id}
        return msgspec.structs.replace(
            digest, held=tuple(reversed(found)), count=count, users=tuple(sorted(users)), affected=len(users)
        )

    async def _counted(self, event: Event, now: int) -> bool:
        """Count an alert, if there were not too many lately. Times that lie a little ahead are another one's who counts
        now, those far ahead are of a clock that was set back."""
        while True:
            record = await self._records.get(COUNTS, event)
            times = [at for at in record.data["times"] if abs(now - at) < WINDOW * 1000] if record else []
            if len(times) >= MOST:
                return False
            data = {"times": [*times, now]}
            if record is None:
                done = await self._records.add(Record(kind=COUNTS, id=event, at=now, data=data))
            else:
                done = await self._records.replace(msgspec.structs.replace(record, at=now, data=data))
            if done:
                return True
