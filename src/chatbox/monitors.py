"""What goes wrong without anybody asking for help: models that fail, a store that fails, traffic that is unusual.

Each monitor says exactly what it takes for an alert, which is one in ``REPEAT`` seconds however long it lasts.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator

import structlog

from chatbox.errors import StorageError
from chatbox.metrics import Metrics
from chatbox.notify.alerts import Alerts
from chatbox.notify.base import Alert, Event
from chatbox.notify.words import clock
from chatbox.session import Finish, Kind, now_ms
from chatbox.storage.base import Appended, Storage

log = structlog.get_logger(component="monitors")

REPEAT = 1800.0
"""Seconds until what goes on is told again."""

MODEL_WINDOW, MODEL_FAILURES, MODEL_SHARE = 300.0, 5, 0.5
"""A model fails when of its answers in so many seconds at least so many, and more than this share, failed."""
MODEL_ANSWERS = 10_000
"""Answers remembered a model."""

CHECK, CHECK_AGAIN, CHECK_PATIENCE = 5.0, 1.0, 5.0
"""Seconds between two checks of the store, between them while it fails, and that a check may take."""
DATABASE_FAILS = 10.0
"""Seconds that the store has to fail without a break."""

MINUTE = 60.0
HISTORY, LEAST_HISTORY = 60, 10
"""Minutes that a minute is compared with, and before which there is nothing to compare with."""
TIMES_USUAL = 5.0
FLOORS = {"Connections opened": 600, "Frames received": 6000, "Requests refused by limits": 300}
"""Traffic is unusual when a minute has more than so many, and more than ``TIMES_USUAL`` times the median of before."""


class Repeats:
    """Which things were told of lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[str, float] = {}

    def due(self, what: str) -> bool:
        """Whether it is time to tell of this, again or for the first time."""
        return self._clock() - self._told.get(what, -REPEAT) >= REPEAT

    def done(self, what: str) -> None:
        """It has been told."""
        self._told[what] = self._clock()


class ModelMonitor:
    """Counts answers as they are stored."""

    def __init__(self, alerts: Alerts, clock: Callable[[], float] = time.monotonic) -> None:
        self._alerts = alerts
        self._clock = clock
        self._answers: defaultdict[str, deque[tuple[float, str]]] = defaultdict(lambda: deque(maxlen=MODEL_ANSWERS))
        self._repeats = Repeats(clock)
        self._news = asyncio.Event()

    def heard(self, news: object) -> None:
        """Something was stored: an answer counts, and a failed one is a reason to look."""
        if not isinstance(news, Appended) or not news.fresh or news.entry.kind is not Kind.AI_RESPONSE:
            return
        failed = news.entry.metadata.get("finish_reason") in (Finish.ERROR, Finish.TIMEOUT)
        user = news.session.user_id if failed else ""
        self._answers[news.entry.model_id or ""].append((self._clock(), user))
        if failed:
            self._news.set()

    async def run(self) -> None:
        """Look after each failure, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            for model in list(self._answers):
                await _try(self._look(model))

    async def _look(self, model: str) -> None:
        answers = self._answers[model]
        while answers and self._clock() - answers[0][0] > MODEL_WINDOW:
            answers.popleft()
        failed = [user for _, user in answers if user]
        if len(failed) < MODEL_FAILURES or len(failed) <= MODEL_SHARE * len(answers) or not self._repeats.due(model):
            return
        users = sorted(set(failed))
        facts = {
            "Model": model,
            "Failed": f"{len(failed)} of {len(answers)} answers in {MODEL_WINDOW / 60:.0f} minutes",
        }
        now = now_ms()
        await self._alerts.raise_(
            Alert(
                id=f"{Event.LLM_FAILING}:{model}:{_period(now)}",
                event=Event.LLM_FAILING,
                at=now,
                facts=facts,
                users=tuple(users[:50]),
                affected=len(users),
            )
        )
        self._repeats.done(model)


class DatabaseMonitor:
    """Checks the store. While it fails the alert can't be kept in it, so it is sent directly; once it works again, what
    happened is told through the outbox. ``connected`` counts open sockets."""

    def __init__(self, storage: Storage, alerts: Alerts, connected: Callable[[], int]) -> None:
        self._storage = storage
        self._alerts = alerts
        self._connected = connected
        self._repeats = Repeats()
        self._since: tuple[float, int] | None = None

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            problem = await self._problem()
            await (self._fails(problem) if problem else self._works())
            await asyncio.sleep(CHECK_AGAIN if problem else CHECK)

    async def _problem(self) -> str:
        try:
            async with asyncio.timeout(CHECK_PATIENCE):
                await self._storage.check()
        except TimeoutError:
            return "no answer"
        except StorageError as error:
            return type(error).__name__
        return ""

    async def _fails(self, problem: str) -> None:
        begun, since = self._since = self._since or (time.monotonic(), now_ms())
        if time.monotonic() - begun < DATABASE_FAILS or not self._repeats.due("database"):
            return
        facts = {"Problem": problem, "Since": clock(since), "Seen by": socket.gethostname()}
        await self._alerts.shout(self._alert(f"{since}", facts))
        self._repeats.done("database")

    async def _works(self) -> None:
        if self._since is None:
            return
        begun, since = self._since
        if time.monotonic() - begun >= DATABASE_FAILS:
            facts = {"Since": clock(since), "Until": clock(now_ms()), "Seen by": socket.gethostname()}
            if not await _try(self._alerts.raise_(self._alert(f"{since}:over", facts))):
                return
        self._since, self._repeats = None, Repeats()

    def _alert(self, which: str, facts: dict[str, str]) -> Alert:
        return Alert(
            id=f"{Event.DATABASE_FAILING}:{socket.gethostname()}:{which}",
            event=Event.DATABASE_FAILING,
            at=now_ms(),
            facts=facts,
            affected=self._connected(),
        )


class TrafficMonitor:
    """Compares each minute of this process with the last hour's."""

    def __init__(self, metrics: Metrics, alerts: Alerts, connected: Callable[[], int]) -> None:
        self._metrics = metrics
        self._alerts = alerts
        self._connected = connected
        self._repeats = Repeats()
        self._totals = dict(totals(metrics))
        self._minutes: dict[str, deque[float]] = {name: deque(maxlen=HISTORY) for name in FLOORS}

    async def run(self) -> None:
        """Look every minute until cancelled."""
        while True:
            await asyncio.sleep(MINUTE)
            await self.look()

    async def look(self) -> None:
        """Compare what has happened since the last look."""
        before, self._totals = self._totals, dict(totals(self._metrics))
        for name, total in self._totals.items():
            count, minutes = total - before[name], self._minutes[name]
            if unusual(name, count, minutes) and self._repeats.due(name):
                await _try(self._tell(name, count, statistics.median(minutes) if minutes else 0.0))
            minutes.append(count)

    async def _tell(self, name: str, count: float, usual: float) -> None:
        now, host = now_ms(), socket.gethostname()
        facts = {name: f"{count:.0f} in a minute", "Usual": f"{usual:.0f} in a minute", "Seen by": host}
        alert_id = f"{Event.TRAFFIC}:{name.lower().replace(' ', '_')}:{host}:{_period(now)}"
        alert = Alert(id=alert_id, event=Event.TRAFFIC, at=now, facts=facts, affected=self._connected())
        await self._alerts.raise_(alert)
        self._repeats.done(name)


def unusual(name: str, count: float, minutes: deque[float]) -> bool:
    """Whether a minute's count is. What limits refuse is so without a history too."""
    if count <= FLOORS[name]:
        return False
    if len(minutes) < LEAST_HISTORY:
        return name == "Requests refused by limits"
    return count > TIMES_USUAL * statistics.median(minutes)


def totals(metrics: Metrics) -> Iterator[tuple[str, float]]:
    """What is counted since the process began."""
    value = metrics.registry.get_sample_value
    closed = value("chatbox_websocket_connection_duration_seconds_count") or 0.0
    yield "Connections opened", closed + (value("chatbox_websocket_connections_total") or 0.0)
    yield "Frames received", value("chatbox_messages_received_total") or 0.0
    samples = [sample for metric in metrics.ratelimit_blocked_total.collect() for sample in metric.samples]
    yield "Requests refused by limits", sum(s.value for s in samples if s.name.endswith("_total"))


def _period(now: int) -> int:
    """In which half hour a time (ms) is: what several replicas notice in it is one alert."""
    return now // round(REPEAT * 1000)


async def _try(work: Awaitable[object]) -> bool:
    """Do what the store has to help with; false when it can't."""
    try:
        await work
    except StorageError as error:
        log.warning("an alert can't be kept", error=str(error))
        return False
    return True
