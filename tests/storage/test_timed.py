"""How long the operations of a store take is measured, and nothing else about them changes."""

from __future__ import annotations

import pytest

from chatbox.errors import NotFound
from chatbox.metrics import Metrics
from chatbox.session import Change, Kind
from chatbox.storage.base import Partial, SessionQuery, Storage
from chatbox.storage.memory import MemoryStorage
from chatbox.storage.overview import Overview, StaffQuery
from chatbox.storage.records import Record, Records
from chatbox.storage.timed import TimedStorage
from tests.storage.values import NOON, answer, entry, session, turn


def counted(metrics: Metrics, name: str) -> dict[str, float]:
    """How many of each operation a histogram has."""
    (family,) = getattr(metrics, name).collect()
    counts = (sample for sample in family.samples if sample.name.endswith("_count"))
    return {sample.labels["operation"]: sample.value for sample in counts}


async def test_every_operation_is_measured_and_gives_what_it_gave() -> None:
    metrics, inner = Metrics(mongodb=True), MemoryStorage()
    async with TimedStorage(inner, metrics.storage_timers) as storage:
        new = await storage.create(session())
        await storage.append(entry(new.id), Change(active=True))
        taken = await storage.append(turn(new.id), Change(takes_turn="answer"))
        await storage.keep(Partial(new.id, "answer", 1, "Par"))
        assert await storage.partial(new.id) == await inner.partial(new.id) != None  # noqa: E711
        await storage.append(answer(new.id), Change(ends_turn=True, tokens=3), fence=taken.session.fence)
        assert await storage.read(new.id, after=1, before=3, limit=1) == await inner.read(new.id, after=1, limit=1)
        assert await storage.find(SessionQuery()) == [await storage.get(new.id)]
        assert await storage.usage("ada", "2026-09-21") == 3
        await storage.check()
        await storage.delete(new.id)
        with pytest.raises(NotFound):
            await storage.append(entry(new.id))
    operations = {name for name in Storage.__abstractmethods__ if not isinstance(getattr(Storage, name), property)}
    expected = dict.fromkeys(operations, 1.0) | {"append": 4.0}
    assert counted(metrics, "storage_operation_seconds") == counted(metrics, "mongodb_operation_seconds") == expected


async def test_every_operation_on_records_is_measured_and_gives_what_it_gave() -> None:
    metrics, inner = Metrics(mongodb=False), MemoryStorage()
    records = TimedStorage(inner, metrics.storage_timers).records
    old, new = [Record(kind="alert", id=name, key=name, at=NOON, due=NOON + place) for place, name in enumerate("ab")]
    assert [await records.add(one) for one in (old, new, old)] == [True, True, False]
    assert await records.get("alert", "a") == old
    assert await records.find("alert", key="b", since=NOON, before=(NOON, "c"), limit=1) == [new]
    assert await records.due("alert", NOON + 1, 1) == [old]
    assert await records.replace(old)
    assert await records.remove("alert", "a")
    expected = {f"records_{name}": 1.0 for name in Records.__abstractmethods__} | {"records_add": 3.0}
    assert counted(metrics, "storage_operation_seconds") == expected


@pytest.mark.parametrize("mongodb", [False, True])
def test_operations_are_counted_under_mongodbs_name_too_when_that_is_the_store(mongodb: bool) -> None:
    metrics = Metrics(mongodb=mongodb)
    names = [metrics.storage_operation_seconds, metrics.mongodb_operation_seconds][: 1 + mongodb]
    assert metrics.storage_timers == names


async def test_every_question_of_staff_is_measured_and_gives_what_it_gave() -> None:
    metrics, inner = Metrics(mongodb=False), MemoryStorage()
    overview = TimedStorage(inner, metrics.storage_timers).overview
    new = await inner.create(session())
    await inner.append(entry(new.id, kind=Kind.ADMIN_JOIN), Change(active=True, joins="bea", admin_name="Bea"))
    assert await overview.sessions(StaffQuery(), NOON) == [await inner.get(new.id)]
    assert await overview.count(StaffQuery(active=False)) == 0
    assert (await overview.figures(NOON - 1, NOON + 1, NOON)).total_sessions == 1
    assert len(await overview.series(NOON, NOON + 60_000, 60_000, NOON)) == 2
    assert [one.admin_id for one in await overview.takeovers(session_id=new.id, admin_id="bea", limit=1)] == ["bea"]
    expected = {f"overview_{name}": 1.0 for name in Overview.__abstractmethods__}
    assert counted(metrics, "storage_operation_seconds") == expected
