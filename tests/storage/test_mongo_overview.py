"""Staff's view of the store in MongoDB: which index each query uses, and what is counted by several processes."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import Any

import pytest

from chatbox.errors import StorageBusy
from chatbox.session import Change, Kind
from chatbox.storage.mongo import MongoStorage
from chatbox.storage.mongo import overview as mongo_overview
from chatbox.storage.mongo.database import INDEXES
from chatbox.storage.mongo.tallies import REMEMBERED
from chatbox.storage.overview import HOUR, MINUTE, SortBy, StaffQuery
from tests.storage.mongo import shared
from tests.storage.values import NOON, entry, session

START, END = NOON - 10 * HOUR, NOON
FLAGS = (None, True, False)
DAY = 24 * HOUR
DECLARED = {index.name for index in INDEXES}


def plans_in(explained: Any) -> str:
    """What the winning plan says, without the plans that were not taken."""
    return str(explained["queryPlanner"]["winningPlan"])


def explained(mongo: MongoStorage, plan: mongo_overview.Plan) -> Any:
    """How the server would go about the first page."""
    return mongo._db.sessions.find(plan.wanted, hint=plan.hint).sort(plan.order).limit(100).explain()


async def some(mongo: MongoStorage) -> None:
    """Sessions to look at; of none, there is nothing to be explained."""
    for number in range(3):
        new = await mongo.create(session(user_id=f"user{number}"))
        await mongo.append(entry(new.id), Change(active=True))
    await mongo.append(entry(new.id, kind=Kind.NOTIFICATION), Change(active=False))


ORDERED = {
    SortBy.START_TIME: "by_start",
    SortBy.END_TIME: "by_end",
    SortBy.LAST_ACTIVITY: "by_activity",
    SortBy.DURATION: "by_duration",
    SortBy.MESSAGE_COUNT: "by_messages",
    SortBy.TOTAL_TOKENS: "by_tokens",
    SortBy.USER_ID: "by_user",
}


@pytest.mark.parametrize("user_id", [None, "ada"])
async def test_every_filter_in_every_order_uses_a_declared_index(mongo: MongoStorage, user_id: str | None) -> None:
    await some(mongo)
    spans: tuple[dict[str, int], ...] = ({}, {"start_from": START}, {"start_from": START, "start_to": END})
    for active, assisted, asked, span, by in product(FLAGS, FLAGS, FLAGS, spans, SortBy):
        query = StaffQuery(
            user_id=user_id, active=active, admin_assisted=assisted, help_requested=asked, sort_by=by, **span
        )
        plan = await mongo_overview.plan_of(mongo._db, query)
        if by is SortBy.DURATION:  # that of active sessions is added to this
            plan.wanted.setdefault("is_active", False)
        found = plans_in(await explained(mongo, plan))
        assert f"'indexName': '{plan.hint}'" in found, query
        assert plan.hint in DECLARED
        assert "COLLSCAN" not in found, query


async def test_a_page_in_the_order_of_an_index_sorts_nothing(mongo: MongoStorage) -> None:
    await some(mongo)
    for by, descending in product(SortBy, (True, False)):
        for narrower in ({}, {"help_requested": False}, {"admin_assisted": False, "active": False}):
            query = StaffQuery(sort_by=by, descending=descending, **narrower)  # type: ignore[arg-type]
            plan = await mongo_overview.plan_of(mongo._db, query)
            if by is SortBy.DURATION:
                plan.wanted.setdefault("is_active", False)
            found = plans_in(await explained(mongo, plan))
            assert f"'indexName': '{ORDERED[by]}'" in found, query
            assert "SORT" not in found, query


async def test_a_wide_range_is_walked_in_the_wanted_order_and_a_narrow_one_is_sorted(
    mongo: MongoStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await some(mongo)
    query = StaffQuery(start_from=START, start_to=END, sort_by=SortBy.TOTAL_TOKENS)
    assert (await mongo_overview.plan_of(mongo._db, query)).hint == "by_start"
    monkeypatch.setattr(mongo_overview, "FEW", 3)
    assert (await mongo_overview.plan_of(mongo._db, query)).hint == "by_tokens"


async def test_counts_and_levels_use_declared_indexes(mongo: MongoStorage) -> None:
    looked_at: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("sessions", {"period.2": {"$gte": START}, "period.1": {"$lt": END}}, "by_period"),
        ("periods", {"end": {"$gte": START}, "start": {"$lt": END}}, "in_time"),
        ("takeovers", {"admin_id": "bea", "start": {"$lte": END}}, "of_admin"),
        ("takeovers", {"start": {"$lte": END}}, "in_time"),
        ("tallies", {"width": HOUR, "at": {"$gte": START, "$lt": END}}, "in_time"),
        ("sessions", {"start_time": {"$gte": START}}, "by_start"),
    )
    for name, wanted, index in looked_at:
        cursor = getattr(mongo._db, name).find(wanted, hint=index)
        assert f"'indexName': '{index}'" in plans_in(await cursor.explain())


async def test_processes_count_together_and_what_one_counted_outlives_it() -> None:
    where, minute = shared.settings(), NOON - NOON % MINUTE
    async with MongoStorage(where) as one:
        async with MongoStorage(where) as other:
            for number, store in enumerate((one, other, other)):
                new = await store.create(session(user_id=f"user{number}"))
                await store.append(entry(new.id, timestamp=minute), Change(active=True, tokens=5))
        for _ in range(2):
            figures = await one.overview.figures(minute, minute + MINUTE, NOON)
            assert (figures.tally.messages, figures.tally.tokens) == (3, 15)


async def test_what_is_counted_while_the_server_is_away_is_written_later(
    mongo: MongoStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute, run = NOON - NOON % MINUTE, mongo._db.run
    new = await mongo.create(session())

    async def away(operation: Any) -> Any:
        if "bulk_write" in operation.__code__.co_names:
            raise StorageBusy("told to be busy")
        return await run(operation)

    monkeypatch.setattr(mongo._db, "run", away)
    await mongo.append(entry(new.id, timestamp=minute), Change(active=True))
    with pytest.raises(StorageBusy):
        await mongo._tallies.flush()
    monkeypatch.setattr(mongo._db, "run", run)
    assert (await mongo.overview.figures(minute, minute + MINUTE, NOON)).tally.messages == 1


async def test_a_minute_that_was_forgotten_is_gone_on_with(mongo: MongoStorage) -> None:
    new, minute = await mongo.create(session()), NOON - NOON % MINUTE
    for number in range(REMEMBERED):
        mongo._tallies.count(entry(new.id, timestamp=minute + number * MINUTE), Change())
    await mongo._tallies.flush()
    mongo._tallies.count(entry(new.id, timestamp=minute), Change())
    assert len(mongo._tallies._totals) <= REMEMBERED
    figures = await asyncio.wait_for(mongo.overview.figures(minute, minute + DAY, NOON), 60)
    assert figures.tally.messages == REMEMBERED + 1
