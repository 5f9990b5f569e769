"""The outbox: alerts that wait to be delivered, kept in the store until they are.

An alert is a record whose id is the alert's, so it is there at most once, whoever raises it and however often. Every
replica looks for what is due and claims it by moving ``due`` on. While it delivers it renews the claim; when it dies,
another one begins again. So an alert is delivered at least once, each time with its id.

    open ──► held, under its digest's id, until that is sent ──► sent
      ├────► void: nobody needs to know any more
      ├────► sent
      └────► dead: some address refused it for good, or was tried ``MOST_TRIES`` times

Records may wait in vain when the clock was set back meanwhile. So each one also says how long it meant to wait.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import NamedTuple

import msgspec
import structlog

from chatbox.errors import StorageError
from chatbox.metrics import Metrics
from chatbox.notify.base import Alert, Channel, Event, Message, NotDelivered
from chatbox.notify.claims import (
    DEAD,
    KIND,
    LONGEST_PAUSE,
    MOST_TRIES,
    OPEN,
    SENT,
    VOID,
    Claim,
    Lost,
    Progress,
    after,
    alert_of,
    backoff,
    begun,
    data_of,
    given_up,
    pages,
    record_of,
)
from chatbox.notify.words import message_of
from chatbox.session import now_ms
from chatbox.storage.records import Record, Records
from chatbox.tasks import Tasks

log = structlog.get_logger(component="outbox")

POLL = 2.0
AT_ONCE = 16
PATIENCE = 60.0
SLACK = 600.0
"""Seconds after its digest's time in which a held alert should have been told of."""
SWEEP = 60.0
KEPT = 30 * 86_400_000
"""How long (ms) what was settled is kept."""


class Way(NamedTuple):
    """A channel with the addresses of those who are told, and of those who are told too when nobody comes."""

    channel: Channel
    addresses: tuple[str, ...]
    beyond: tuple[str, ...] = ()


Channels = Mapping[str, Way]
"""Ways by their channels' names."""


class Outcome(NamedTuple):
    """What came of a try at a channel."""

    name: str
    addresses: Sequence[str]
    failures: Mapping[str, NotDelivered]


class Held(msgspec.Struct, frozen=True):
    """An alert is to be told of in a digest at this time."""

    until: int


class Gate(ABC):
    """Who decides what becomes of an alert."""

    @abstractmethod
    async def admit(self, alert: Alert, now: int) -> Alert | Held | None:
        """What is to be sent now; or when to send it with others; None: nobody needs to know any more."""

    @abstractmethod
    async def delivered(self, alert: Alert, at: int) -> None:
        """Somebody has been told. Comes again when what it does failed."""


class Outbox:
    """``panel_url`` is where the staff's pages are."""

    def __init__(self, records: Records, channels: Channels, metrics: Metrics, panel_url: str) -> None:
        self._records = records
        self._channels = channels
        self._metrics = metrics
        self._panel_url = panel_url
        self._news = asyncio.Event()
        self._in_hand: set[str] = set()

    async def put(self, alert: Alert, *, due: int | None = None, channels: Sequence[str] | None = None) -> bool:
        """Keep an alert until it is delivered; false when it is there already. Raises ``StorageError``."""
        progress = Progress(channels=None if channels is None else list(channels))
        fresh = await self._records.add(record_of(alert, progress, now_ms(), due))
        if fresh:
            self._news.set()
        return fresh

    async def run(self, gate: Gate) -> None:
        """Deliver what is due until cancelled."""
        async with Tasks() as working:
            working.keep(self._sweep_regularly, "outbox sweep")
            resident = len(working)
            while True:
                self._news.clear()
                found = await self._due(AT_ONCE - (len(working) - resident))
                for record in found:
                    if claimed := await self._claim(record):
                        self._in_hand.add(record.id)
                        working.start(self._handle(claimed, gate), "alert")
                if not found:
                    await self._wait()

    async def tell(self, alert: Alert) -> bool:
        """Send an alert at once and keep nothing: for when the store can't. Whether anybody was reached."""
        outcomes = [outcome async for outcome in self._outcomes(alert, self._addresses(alert, Progress()))]
        return any(self._reaches(outcome) for outcome in outcomes)

    # -- one alert -----------------------------------------------------------------------------------------------------

    async def _due(self, room: int) -> list[Record]:
        if room <= 0:
            return []
        try:
            found = await self._records.due(KIND, now_ms(), room + len(self._in_hand))
        except StorageError as error:
            log.warning("the outbox can't be read", error=str(error))
            return []
        return [record for record in found if record.id not in self._in_hand][:room]

    async def _claim(self, record: Record) -> Claim | None:
        try:
            claim = Claim(self._records, record)
            await claim.renew()
        except (Lost, StorageError):
            return None
        return claim

    async def _handle(self, claim: Claim, gate: Gate) -> None:
        try:
            await claim.hold(self._take_further(claim, gate))
        except Lost:
            log.warning("an alert was taken over by another replica", alert=claim.alert.id)
        except StorageError as error:
            log.warning("an alert can't be settled yet", alert=claim.alert.id, error=str(error))
        finally:
            self._in_hand.discard(claim.alert.id)
            self._news.set()

    async def _take_further(self, claim: Claim, gate: Gate) -> None:
        if claim.progress.waiting is None and not await self._admitted(claim, gate):
            return
        if waiting := self._known(claim.progress.waiting or {}):
            claim.progress = begun(claim.progress, waiting)
            async with aclosing(self._outcomes(claim.alert, waiting)) as outcomes:  # who breaks off sends nothing more
                async for outcome in outcomes:
                    await self._note(claim, gate, outcome)
        await self._pass_on(claim, gate)
        await self._settle(claim)

    async def _note(self, claim: Claim, gate: Gate, outcome: Outcome) -> None:
        at = now_ms() if self._reaches(outcome) else None
        await claim.save(after(claim.progress, outcome.name, outcome.failures, at))
        with suppress(StorageError):  # said again when all channels are done
            await self._pass_on(claim, gate)

    async def _pass_on(self, claim: Claim, gate: Gate) -> None:
        """That somebody has been told is news as soon as the first channel has delivered."""
        if claim.progress.reached is not None and not claim.progress.told:
            await gate.delivered(claim.alert, claim.progress.reached)
            await claim.save(msgspec.structs.replace(claim.progress, told=True))

    async def _admitted(self, claim: Claim, gate: Gate) -> bool:
        alert = claim.alert
        if claim.record.key != OPEN and await self._digest_pending(claim):
            return False
        verdict = await gate.admit(alert, now_ms())
        if verdict is None:
            await claim.close(VOID)
        elif isinstance(verdict, Held):
            await self._hold(claim, verdict.until)
        else:
            claim.alert = verdict
            await claim.save(msgspec.structs.replace(claim.progress, waiting=self._addresses(alert, claim.progress)))
            return True
        return False

    def _addresses(self, alert: Alert, progress: Progress) -> dict[str, list[str]]:
        chosen = self._channels if progress.channels is None else progress.channels
        ways = {name: self._channels[name] for name in chosen if name in self._channels}
        if alert.event is not Event.HELP_UNANSWERED:
            return {name: list(way.addresses) for name, way in ways.items()}
        return {name: list(dict.fromkeys(way.addresses + way.beyond)) for name, way in ways.items()}

    async def _hold(self, claim: Claim, until: int) -> None:
        """Leave it to a digest. If that has been made up in this moment, the alert's own time comes a little later."""
        digest = Alert(id=f"digest:{until}", event=Event.DIGEST, at=until)
        await self._records.add(record_of(digest, Progress(), now_ms(), until))
        await claim.postpone(until + round(SLACK * 1000), key=digest.id)
        self._metrics.alerts_held_total.labels(claim.alert.event).inc()

    async def _digest_pending(self, claim: Claim) -> bool:
        """Whether a held alert's digest is still being tried, or lies among the dead: then it stays with that."""
        digest = await self._records.get(KIND, claim.record.key)
        if digest is None or digest.key not in (OPEN, DEAD):
            return False
        if digest.key == DEAD:
            await claim.close(claim.record.key)
        else:
            await claim.postpone(now_ms() + round(LONGEST_PAUSE * 1000), key=claim.record.key)
        return True

    async def _outcomes(self, alert: Alert, waiting: Mapping[str, Sequence[str]]) -> AsyncGenerator[Outcome, None]:
        """What comes of a try at these addresses, channel by channel as each is done."""
        message = message_of(alert, self._panel_url)
        tries = [asyncio.create_task(self._try(name, message, waiting[name])) for name in waiting]
        try:
            for done in asyncio.as_completed(tries):
                outcome = await done
                arrived = len(outcome.addresses) - len(outcome.failures)
                self._metrics.alerts_sent_total.labels(alert.event, outcome.name).inc(arrived)
                self._metrics.alert_failures_total.labels(outcome.name).inc(len(outcome.failures))
                yield outcome
        finally:
            for one in tries:
                one.cancel()
            await asyncio.gather(*tries, return_exceptions=True)

    def _reaches(self, outcome: Outcome) -> bool:
        """Whether a person has been told."""
        return len(outcome.failures) < len(outcome.addresses) and self._channels[outcome.name].channel.reaches_people

    def _known(self, waiting: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """The addresses as they are configured now: who is not among them any more gets no alert."""
        known = {}
        for name, addresses in waiting.items():
            if way := self._channels.get(name):
                configured = way.addresses + way.beyond
                known[name] = [address for address in addresses if address in configured] or list(way.addresses)
        return known

    async def _try(self, name: str, message: Message, addresses: Sequence[str]) -> Outcome:
        try:
            async with asyncio.timeout(PATIENCE):
                return Outcome(name, addresses, await self._channels[name].channel.send(message, addresses))
        except TimeoutError:
            failure = NotDelivered(f"not done within {PATIENCE:.0f} s", transient=True)
        except Exception as error:
            log.exception("a channel failed", channel=name)
            failure = NotDelivered(type(error).__name__, transient=True)
        return Outcome(name, addresses, dict.fromkeys(addresses, failure))

    async def _settle(self, claim: Claim) -> None:
        progress = claim.progress
        if progress.waiting and progress.attempts < MOST_TRIES:
            pause = max(backoff(progress.attempts), progress.pause)
            log.warning("an alert is tried again", alert=claim.alert.id, after=round(pause), error=progress.error)
            await claim.postpone(now_ms() + round(pause * 1000), key=OPEN)
            return
        if progress.waiting:
            claim.progress = progress = given_up(progress)
        if progress.refused:
            for name, addresses in progress.refused.items():
                self._metrics.alerts_dead_total.labels(claim.alert.event, name).inc(len(addresses))
            log.error("an alert can't be delivered", alert=claim.alert.id, error=progress.error)
        await claim.close(DEAD if progress.refused else SENT)

    # -- time ----------------------------------------------------------------------------------------------------------

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL):
                await self._news.wait()

    async def _sweep_regularly(self) -> None:
        while True:
            try:
                await self.sweep(now_ms())
            except StorageError as error:
                log.warning("the outbox can't be swept", error=str(error))
            await asyncio.sleep(SWEEP)

    async def sweep(self, now: int) -> None:
        """Take what waits in vain since the clock was set back; forget what was settled long ago."""
        async for record in pages(self._records, OPEN):
            waits = record.data.get("wait", 0)
            if record.due is not None and record.due - now > waits + 1000:
                await self._records.replace(msgspec.structs.replace(record, due=now))
        for key in (SENT, VOID):
            async for record in pages(self._records, key, before=now - KEPT):
                await self._records.remove(KIND, record.id)


async def retry(records: Records, alert_id: str) -> bool:
    """Try a dead alert again at the addresses that refused it; false when it is not among the dead."""
    record = await records.get(KIND, alert_id)
    if record is None or record.key != DEAD:
        return False
    progress = msgspec.convert(record.data, Progress)
    waiting = {name: list(addresses) for name, addresses in progress.refused.items()}
    again = msgspec.structs.replace(progress, waiting=waiting, refused={}, attempts=0, error="", wait=0)
    data = data_of(alert_of(record), again)
    return await records.replace(msgspec.structs.replace(record, key=OPEN, due=now_ms(), data=data))
