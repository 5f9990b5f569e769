"""Alerts as records: how far each has got, and who works on it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from chatbox.errors import StorageBusy, StorageError
from chatbox.notify.base import Alert, NotDelivered
from chatbox.session import new_id, now_ms
from chatbox.storage.records import Record, Records

KIND = "alert"
OPEN, SENT, VOID, DEAD = "open", "sent", "void", "dead"
"""The states of alerts: keys of their records. A held one has its digest's id for a key."""

LEASE, RENEWAL = 20.0, 5.0
"""Seconds that a claim holds, and between two renewals."""
FIRST_PAUSE, LONGEST_PAUSE, MOST_TRIES = 10.0, 1800.0, 20
"""Tries are so many seconds apart, each pause twice the one before: twenty tries take about six hours."""
PAUSES = (0.1, 0.5, 2.0)
"""Seconds between tries to store how far an alert has got."""
PAGE = 100


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an alert has got. ``channels`` are those that it goes through, None: all.

    ``waiting`` are the addresses by channel that are still to be reached, None: not admitted yet; ``refused`` says by
    address why it never will be. ``reached`` is when the first person was, ``told`` whether that has been passed on.
    ``pause`` is how long (s) the other side asked to be left alone, ``wait`` for how long (ms) ``due`` was set.
    ``by`` names the claim that wrote this, so that no other one takes it for its own.
    """

    channels: list[str] | None = None
    waiting: dict[str, list[str]] | None = None
    refused: dict[str, dict[str, str]] = {}
    attempts: int = 0
    error: str = ""
    reached: int | None = None
    told: bool = False
    pause: float = 0.0
    wait: int = 0
    by: str = ""


class Lost(Exception):
    """Another replica has the alert now."""


class Claim:
    """An alert that this process works on. Each of these raises ``Lost`` when another one does by now."""

    def __init__(self, records: Records, record: Record) -> None:
        self._records = records
        self.record = record
        self.alert = alert_of(record)
        self.progress = msgspec.convert(record.data, Progress)
        self._id = new_id()
        self._writing = asyncio.Lock()
        self._done = False

    async def renew(self) -> None:
        """Go on having it, unless it has been let go of."""
        async with self._writing:
            if not self._done:
                await self._replace(self.record.key, now_ms() + round(LEASE * 1000))

    async def save(self, progress: Progress) -> None:
        """Keep how far it has got on its way."""
        async with self._writing:
            self.progress = progress
            await self._replace(OPEN, now_ms() + round(LEASE * 1000))

    async def postpone(self, due: int, key: str) -> None:
        """Let go of it until then."""
        await self._let_go(key, due)

    async def close(self, key: str) -> None:
        """Nothing more is to be done with it."""
        await self._let_go(key, None)

    async def _let_go(self, key: str, due: int | None) -> None:
        async with self._writing:
            self._done = True
            await self._replace(key, due)

    async def hold(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work while the claim is renewed; it is given up when the claim is lost."""
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait({task}, timeout=RENEWAL))[0]:
                with suppress(StorageError):
                    await self.renew()
            await task
        finally:
            while not task.done():  # a driver may take a cancellation for an error of its own, and go on
                task.cancel()
                await asyncio.wait({task}, timeout=1.0)

    async def _replace(self, key: str, due: int | None) -> None:
        wait = 0 if due is None else max(0, due - now_ms())
        progress = msgspec.structs.replace(self.progress, wait=wait, by=self._id)
        record = msgspec.structs.replace(self.record, key=key, due=due, data=data_of(self.alert, progress))
        if not (await self._stored(record) or await self._stands(record)):
            raise Lost
        self.record = msgspec.structs.replace(record, version=record.version + 1)

    async def _stored(self, record: Record) -> bool:
        """What was delivered and is not kept will be delivered again: so try for a while."""
        for pause in PAUSES:
            try:
                return await self._records.replace(record)
            except StorageBusy:
                await asyncio.sleep(pause)
        return await self._records.replace(record)

    async def _stands(self, record: Record) -> bool:
        """Whether an earlier try, whose answer got lost, has stored it."""
        stored = await self._records.get(record.kind, record.id)
        return stored is not None and stored.version == record.version + 1 and stored.data == record.data


async def pages(records: Records, key: str, before: int | None = None) -> AsyncIterator[Record]:
    """All alerts under a key, the newest first; those from ``before`` that time."""
    place = None if before is None else (before, "")
    while found := await records.find(KIND, key=key, before=place, limit=PAGE):
        for record in found:
            yield record
        place = (found[-1].at, found[-1].id)


def record_of(alert: Alert, progress: Progress, now: int, due: int | None) -> Record:
    """A new alert as it is stored; ``due`` None: now."""
    due = now if due is None else due
    progress = msgspec.structs.replace(progress, wait=max(0, due - now))
    return Record(kind=KIND, id=alert.id, key=OPEN, at=alert.at, due=due, data=data_of(alert, progress))


def data_of(alert: Alert, progress: Progress) -> dict[str, Any]:
    """What is stored of both, as it comes back."""
    made = {**msgspec.to_builtins(alert), **msgspec.to_builtins(progress)}
    return msgspec.json.decode(msgspec.json.encode(made), type=dict[str, Any])


def alert_of(record: Record) -> Alert:
    """The alert that a record keeps."""
    return msgspec.convert(record.data, Alert)


def begun(progress: Progress, waiting: Mapping[str, Sequence[str]]) -> Progress:
    """How far an alert has got when a try at these addresses begins."""
    left = {name: list(addresses) for name, addresses in waiting.items()}
    return msgspec.structs.replace(progress, waiting=left, attempts=progress.attempts + 1, pause=0.0)


def after(progress: Progress, name: str, failures: Mapping[str, NotDelivered], at: int | None) -> Progress:
    """How far an alert has got when a channel is done with it. ``at`` is when it reached a person, None: it did not."""
    waiting = {other: addresses for other, addresses in (progress.waiting or {}).items() if other != name}
    refused = {other: dict(addresses) for other, addresses in progress.refused.items()}
    error, pause = progress.error, progress.pause
    for address, failure in failures.items():
        error = f"{name} {address}: {failure}"
        pause = max(pause, failure.retry_after)
        if failure.transient:
            waiting.setdefault(name, []).append(address)
        else:
            refused.setdefault(name, {})[address] = str(failure)
    reached = at if progress.reached is None else progress.reached
    return msgspec.structs.replace(
        progress, waiting=waiting, refused=refused, error=error, pause=pause, reached=reached
    )


def given_up(progress: Progress) -> Progress:
    """What still waited is refused, with what was wrong last."""
    refused = {name: dict(addresses) for name, addresses in progress.refused.items()}
    for name, addresses in (progress.waiting or {}).items():
        for address in addresses:
            refused.setdefault(name, {})[address] = f"given up after {progress.attempts} tries: {progress.error}"
    return msgspec.structs.replace(progress, waiting={}, refused=refused)


def backoff(attempts: int) -> float:
    """Seconds to wait after so many tries, give or take a tenth."""
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempts - 1, 16))
    return pause * random.uniform(0.9, 1.1)  # noqa: S311 - spreads tries
