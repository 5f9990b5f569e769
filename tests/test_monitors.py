"""What goes wrong without anybody asking for help."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from chatbox import monitors
from chatbox.errors import StorageBusy
from chatbox.monitors import FLOORS, LEAST_HISTORY, REPEAT, DatabaseMonitor, ModelMonitor, TrafficMonitor
from chatbox.session import Entry, Finish, Kind, Sender, Session
from chatbox.storage.base import Appended
from chatbox.storage.memory import MemoryStorage
from tests.notify.telling import Office


class Ticks:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def answer(number, finish=Finish.STOP, user="ann", model="gpt", fresh=True):
    entry = Entry(
        session_id="s",
        kind=Kind.AI_RESPONSE,
        message_id=str(number),
        sender=Sender.AI,
        model_id=model,
        metadata={"finish_reason": str(finish)},
    )
    return Appended(entry, Session(id="s", user_id=user, epoch="e"), fresh)


@asynccontextmanager
async def at_work(run):
    running = asyncio.create_task(run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def raised(office):
    await asyncio.sleep(0.02)
    return [record.data for record in await office.records.find("alert")]


@pytest.fixture
async def office():
    async with MemoryStorage() as storage:
        yield Office(storage)


async def model_alerts(office, *answers, ticks=None):
    monitor = ModelMonitor(office.alerts, ticks or Ticks())
    async with at_work(monitor.run):
        for one in answers:
            monitor.heard(one)
        return await raised(office)


async def test_a_model_fails_when_five_answers_and_more_than_half_do(office):
    failed = [answer(n, Finish.ERROR, f"user{n % 2}") for n in range(5)]
    [alert] = await model_alerts(office, *failed, *[answer(n) for n in range(10, 14)])
    assert (alert["event"], alert["affected"], alert["users"]) == ("llm_failing", 2, ["user0", "user1"])
    assert alert["facts"] == {"Model": "gpt", "Failed": "5 of 9 answers in 5 minutes"}


@pytest.mark.parametrize(
    "answers",
    [
        [answer(n, Finish.ERROR) for n in range(4)],
        [*[answer(n) for n in range(5)], *[answer(n, Finish.ERROR) for n in range(10, 15)]],
        [answer(n, Finish.STOPPED) for n in range(20)],
        [answer(n, Finish.INTERRUPTED) for n in range(20)],
        [answer(0, Finish.ERROR, fresh=False)] * 20,
        [answer(n, Finish.ERROR, model=f"model {n}") for n in range(20)],
        ["something else"] * 20,
    ],
    ids=["four", "half", "stopped", "our own end", "told again", "different models", "no news"],
)
async def test_fewer_failures_are_no_alert(office, answers):
    assert await model_alerts(office, *answers) == []


async def test_timeouts_are_failures_and_old_ones_do_not_count(office):
    ticks = Ticks()
    monitor = ModelMonitor(office.alerts, ticks)
    async with at_work(monitor.run):
        for number in range(4):
            monitor.heard(answer(number, Finish.TIMEOUT))
        ticks.now = 301.0
        monitor.heard(answer(4, Finish.TIMEOUT))
        assert await raised(office) == []
        for number in range(5, 9):
            monitor.heard(answer(number, Finish.TIMEOUT))
        assert len(await raised(office)) == 1


async def test_what_goes_on_is_told_again_after_half_an_hour(office, monkeypatch):
    ticks, wall = Ticks(), [0]
    monkeypatch.setattr(monitors, "now_ms", lambda: wall[0])
    monitor = ModelMonitor(office.alerts, ticks)
    told = []
    async with at_work(monitor.run):
        for minute in range(62):
            ticks.now, wall[0] = minute * 60.0, minute * 60_000
            for number in range(6):
                monitor.heard(answer(f"{minute}.{number}", Finish.ERROR))
            told.append(len(await raised(office)))
    assert [told[0], told[29], told[30], told[59], told[60]] == [1, 1, 2, 2, 3]
    assert REPEAT == 1800.0


class Failing(MemoryStorage):
    down = False

    async def check(self):
        if self.down:
            raise StorageBusy("the disk is full")
        await super().check()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(monitors, "CHECK", 0.005)
    monkeypatch.setattr(monitors, "CHECK_AGAIN", 0.005)
    monkeypatch.setattr(monitors, "DATABASE_FAILS", 0.1)


async def test_a_store_that_fails_is_told_of_directly_and_afterwards_through_the_outbox(quick):
    async with Failing() as storage:
        office = Office(storage)
        monitor = DatabaseMonitor(storage, office.alerts, lambda: 17)
        async with at_work(monitor.run):
            storage.down = True
            await office.until(lambda: office.box.got)
            assert office.box.subjects == office.phone.subjects == ["The database fails"]
            assert ("Problem", "StorageBusy") in office.box.got[0][0].facts
            assert ("Users affected", "17") in office.box.got[0][0].facts
            storage.down = False
            await office.until(lambda: _raised_one(office))
        async with office.working():
            await office.until(lambda: len(office.box.got) == 2)
        assert office.box.subjects[1] == "The database failed, and works again"


async def _raised_one(office):
    return bool(await office.records.find("alert"))


async def test_a_short_failure_of_the_store_is_no_alert(quick, monkeypatch):
    monkeypatch.setattr(monitors, "DATABASE_FAILS", 60.0)
    async with Failing() as storage:
        office = Office(storage)
        async with at_work(DatabaseMonitor(storage, office.alerts, lambda: 0).run):
            storage.down = True
            await asyncio.sleep(0.1)
            storage.down = False
            assert await raised(office) == []
            assert office.box.got == []


def frames(office, count):
    office.metrics.messages_received_total.inc(count)


async def test_a_minute_far_above_the_usual_is_unusual_traffic(office):
    monitor = TrafficMonitor(office.metrics, office.alerts, lambda: 5)
    for _ in range(LEAST_HISTORY):
        frames(office, 2000)
        await monitor.look()
    frames(office, 9900)
    await monitor.look()
    assert await raised(office) == []
    frames(office, 10_100)
    await monitor.look()
    [alert] = await raised(office)
    assert (alert["event"], alert["affected"]) == ("traffic", 5)
    assert alert["facts"]["Frames received"] == "10100 in a minute"
    assert alert["facts"]["Usual"] == "2000 in a minute"
    frames(office, 50_000)
    await monitor.look()
    assert len(await raised(office)) == 1


async def test_little_is_never_unusual_and_without_a_past_nothing_is_but_refusals(office):
    monitor = TrafficMonitor(office.metrics, office.alerts, lambda: 5)
    frames(office, 1_000_000)
    await monitor.look()
    for _ in range(LEAST_HISTORY):
        await monitor.look()
    frames(office, FLOORS["Frames received"])
    await monitor.look()
    assert await raised(office) == []
    office.metrics.ratelimit_blocked_total.labels("frames").inc(200)
    office.metrics.ratelimit_blocked_total.labels("tokens").inc(101)
    await monitor.look()
    [alert] = await raised(office)
    assert alert["facts"]["Requests refused by limits"] == "301 in a minute"


async def test_sockets_that_opened_count_though_they_have_closed(office):
    monitor = TrafficMonitor(office.metrics, office.alerts, lambda: 5)
    for _ in range(LEAST_HISTORY):
        await monitor.look()
    office.metrics.websocket_connections_total.inc(300)
    for _ in range(301):
        office.metrics.websocket_connection_duration_seconds.observe(0.1)
    await monitor.look()
    [alert] = await raised(office)
    assert alert["facts"]["Connections opened"] == "601 in a minute"
