"""Parts for the tests of alerts: a channel that keeps what it gets, a clock that can be set, an outbox at work."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from chatbox import helpdesk
from chatbox.hours import Hours
from chatbox.metrics import Metrics
from chatbox.notify import alerts as alerts_module
from chatbox.notify import claims, outbox
from chatbox.notify.alerts import Alerts, Desk
from chatbox.notify.base import Alert, Channel, Event, NotDelivered
from chatbox.notify.log import LogChannel
from chatbox.notify.outbox import Outbox, Way
from chatbox.storage.memory import MemoryStorage

NOON = 1_790_078_400_000  # 2026-09-22 12:00:00 UTC, a Tuesday; the beginning of a window
MINUTE = 60_000


class Clock:
    """Unix ms for all that tells alerts."""

    def __init__(self, monkeypatch, at=NOON):
        self.at = at
        for module in (claims, outbox, alerts_module, helpdesk):
            monkeypatch.setattr(module, "now_ms", lambda: self.at)
        monkeypatch.setattr(outbox, "POLL", 0.005)

    def passes(self, seconds):
        self.at += round(seconds * 1000)


class Box(Channel):
    """A channel that keeps what it gets. ``fail`` are the failures of the next tries, one for each address of a try."""

    name = "email"

    def __init__(self):
        self.got = []
        self.tries = 0
        self.fail = []
        self.always = None
        self.gate = None

    async def send(self, message, to):
        self.tries += 1
        if self.gate:
            await self.gate.wait()
        failures = {}
        for address in to:
            failure = self.fail.pop(0) if self.fail else self.always
            if failure:
                failures[address] = failure
            else:
                self.got.append((message, address))
        return failures

    @property
    def subjects(self):
        return [message.subject for message, _ in self.got]


class Phone(Box):
    name = "sms"


class Everyone(Desk):
    """A desk at which all wait, but those who do not."""

    def __init__(self):
        self.gone = set()
        self.heard = []

    async def waits(self, session_id, since):
        return session_id not in self.gone

    async def told(self, session_id, since, at):
        self.heard.append((session_id, since, at))


class Office:
    """An outbox with its rules."""

    def __init__(self, storage, desk=None, quiet="", channels=None):
        self.records = storage.records
        self.metrics = Metrics()
        self.box, self.phone = Box(), Phone()
        self.channels = channels or {
            "log": Way(LogChannel(), ("log",)),
            "email": Way(self.box, ("ops@example.com",), ("boss@example.com", "ops@example.com")),
            "sms": Way(self.phone, ("+4915112345678",)),
        }
        self.desk = desk or Everyone()
        self.outbox = Outbox(self.records, self.channels, self.metrics, "https://chat.example.com/chatbox/")
        self.alerts = Alerts(self.records, self.outbox, self.desk, Hours(quiet))

    async def record(self, alert_id):
        return await self.records.get("alert", alert_id)

    async def state(self, alert_id):
        return (await self.record(alert_id)).key

    @asynccontextmanager
    async def working(self):
        running = asyncio.create_task(self.alerts.run())
        try:
            yield self
        finally:
            while not running.done():
                running.cancel()
                await asyncio.wait({running}, timeout=1.0)

    async def until(self, true, patience=20):
        """Wait until something is so."""
        async with asyncio.timeout(patience):
            while not (await found if asyncio.iscoroutine(found := true()) else found):
                await asyncio.sleep(0.002)

    async def settled(self, *ids, state="sent"):
        """Wait until these alerts are."""
        for alert_id in ids:
            await self.until(lambda alert_id=alert_id: self._is(alert_id, state))

    async def _is(self, alert_id, state):
        record = await self.record(alert_id)
        return record is not None and record.key == state


@asynccontextmanager
async def office(storage=None, **options):
    async with storage or MemoryStorage() as opened:
        yield Office(opened, **options)


def help_for(session="s1", since=NOON, event=Event.HELP):
    return Alert(
        id=f"{event}:{session}:{since}",
        event=event,
        at=since,
        session_id=session,
        since=since,
        user_id=f"user of {session}",
        user_name="Ann",
    )


def crash(number, at=NOON):
    return Alert(id=f"crashed:{number}", event=Event.CRASHED, at=at)


def busy(retry_after=0.0):
    return NotDelivered("busy", transient=True, retry_after=retry_after)


def gone():
    return NotDelivered("550 gone", transient=False)
