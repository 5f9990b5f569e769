"""The overview of the store in MongoDB, as the sessions' documents tell. Each query names the index that it uses.

How many sessions were open at once is found from all periods that reach into the time asked for: the last closed one of
each session lies in its document, the earlier ones are documents of their own. One may for a moment be both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from chatbox.session import Session, Takeover, takeover_of
from chatbox.storage.concurrency import Period, open_at, shared_time, stretches_of, tops
from chatbox.storage.mongo import documents
from chatbox.storage.mongo.client import Document
from chatbox.storage.mongo.database import (
    ACTIVE,
    ASKED,
    ASSISTED,
    BY_ACTIVITY,
    BY_DURATION,
    BY_END,
    BY_MESSAGES,
    BY_PERIOD,
    BY_START,
    BY_TOKENS,
    BY_USER,
    EMPTY,
    IN_TIME,
    OF_ADMIN,
    OF_USER,
    WERE_ASSISTED,
    Collection,
    Database,
)
from chatbox.storage.mongo.tallies import Tallies
from chatbox.storage.overview import Bucket, Figures, Overview, SortBy, StaffQuery, Tally, grid, place, spans

FEW = 20_000
"""So many sessions are rather sorted than looked for among all."""

ORDERS = {
    SortBy.START_TIME: ("start_time", BY_START),
    SortBy.END_TIME: ("end_time", BY_END),
    SortBy.LAST_ACTIVITY: ("last_activity", BY_ACTIVITY),
    SortBy.DURATION: ("duration_ms", BY_DURATION),
    SortBy.MESSAGE_COUNT: ("message_count", BY_MESSAGES),
    SortBy.TOTAL_TOKENS: ("total_tokens", BY_TOKENS),
    SortBy.USER_ID: ("user_id", BY_USER),
}
NEWEST_FIRST = [("start", -1), ("session", -1), ("index", -1)]

Opened = Callable[[], tuple[Database, Tallies]]


class Plan(NamedTuple):
    """A query as MongoDB gets it."""

    wanted: Document
    order: list[tuple[str, int]]
    hint: str


class MongoOverview(Overview):
    """``opened`` gives the database, and what was counted, while the store is open."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    async def sessions(self, query: StaffQuery, now: int) -> list[Session]:
        db, _ = self._opened()
        if query.sort_by is SortBy.DURATION:
            found = await _longest(db, query, now)
        else:
            plan = await plan_of(db, query)
            found = await _found(db.sessions, db, plan, skip=query.offset, limit=query.limit)
        return [documents.session_from(document) for document in found]

    async def count(self, query: StaffQuery) -> int:
        return await _count(self._opened()[0], query)

    async def figures(self, start: int, end: int, now: int) -> Figures:
        db, tallies = self._opened()
        end = max(start, end)
        begun = StaffQuery(start_from=start, start_to=end - 1)
        periods, until = await _periods(db, start, end, now), min(end, now)
        return Figures(
            total_sessions=await _count(db, begun),
            active_sessions=await _count(db, StaffQuery(active=True)),
            admin_assisted_count=await _count(db, StaffQuery(start_from=start, start_to=end - 1, admin_assisted=True)),
            avg_concurrent=shared_time(periods, start, until) / (until - start) if start < until else 0.0,
            max_concurrent=max(_tops(periods, [start] if start < end else [], end), default=0),
            tally=await tallies.total(spans(start, end)),
        )

    async def series(self, start: int, end: int, step: int, now: int) -> list[Bucket]:
        db, tallies = self._opened()
        steps = grid(start, end, step)
        if not steps:
            return []
        periods = await _periods(db, steps.start, steps.stop, now)
        begun, counted, highest = await _begun(db, steps), await tallies.steps(steps), _tops(periods, steps, steps.stop)
        return [
            Bucket(start=at, sessions=begun.get(number, 0), max_concurrent=most, tally=counted.get(number, Tally()))
            for number, (at, most) in enumerate(zip(steps, highest, strict=True))
        ]

    async def takeovers(
        self,
        *,
        session_id: str | None = None,
        admin_id: str | None = None,
        before: tuple[int, str, int] | None = None,
        limit: int = 100,
    ) -> list[Takeover]:
        db, _ = self._opened()
        ended = await _ended(db, session_id, admin_id, before, limit)
        going_on = await _going_on(db, session_id, admin_id)
        every = {(one.session_id, one.index): one for one in (*going_on, *ended)}.values()
        found = [one for one in every if before is None or place(one) < before]
        return sorted(found, key=place, reverse=True)[:limit]


def conditions(query: StaffQuery) -> Document:
    """The filter of a query, but for that a session has entries."""
    flags = (
        ("user_id", query.user_id),
        ("is_active", query.active),
        ("admin_assisted", query.admin_assisted),
        ("help_requested", query.help_requested),
    )
    wanted: Document = {name: value for name, value in flags if value is not None}
    limits = (("$gte", query.start_from), ("$lte", query.start_to))
    if began := {name: value for name, value in limits if value is not None}:
        wanted["start_time"] = began
    return wanted


async def plan_of(db: Database, query: StaffQuery) -> Plan:
    """The page of a query: by the index of its order, unless few sessions match, which are then sorted.

    The index that is named already has equal values by id, and not every server that speaks MongoDB's protocol sees
    that it need not sort when it is asked for that too.
    """
    (column, index), way = ORDERS[query.sort_by], -1 if query.descending else 1
    wanted = conditions(query) | {"last_index": {"$gt": 0}}
    if hint := await _selective(db, query):
        return Plan(wanted, [(column, way), ("_id", way)], hint)
    return Plan(wanted, [(column, way)], index)


async def _selective(db: Database, query: StaffQuery) -> str | None:
    """An index by which few sessions are looked at."""
    if index := selective(query):
        return index
    if query.sort_by is SortBy.START_TIME or (query.start_from is None and query.start_to is None):
        return None
    began = conditions(StaffQuery(start_from=query.start_from, start_to=query.start_to))
    some = await db.run(lambda: db.sessions.count_documents(began, hint=BY_START, limit=FEW))
    return BY_START if some < FEW else None


def selective(query: StaffQuery) -> str | None:
    """An index that holds few sessions, all that match among them."""
    fitting = (
        (query.user_id is not None, OF_USER),
        (query.active, ACTIVE),
        (query.admin_assisted, WERE_ASSISTED),
        (query.help_requested, ASKED),
    )
    return next((index for fits, index in fitting if fits), None)


async def _count(db: Database, query: StaffQuery) -> int:
    """Those without entries are counted by themselves: their number is in no other index."""
    wanted, index = conditions(query), selective(query) or BY_START
    every = await db.run(lambda: db.sessions.count_documents(wanted, hint=index))
    empty = wanted | {"last_index": 0}
    return every - await db.run(lambda: db.sessions.count_documents(empty, hint=EMPTY))


async def _longest(db: Database, query: StaffQuery, now: int) -> list[Document]:
    """By duration: that of active sessions grows. So the others are merged with these."""
    fields, found = {"duration_ms": True, "opened_at": True}, list[Document]()
    plan = await plan_of(db, query)
    reach = query.offset + query.limit
    if query.active is not False:
        active = Plan(plan.wanted | {"is_active": True}, [], OF_USER if query.user_id is not None else ACTIVE)
        found += await _found(db.sessions, db, active, fields=fields)
    if query.active is not True:
        over = plan._replace(wanted=plan.wanted | {"is_active": False})
        found += await _found(db.sessions, db, over, fields=fields, limit=reach)

    def longest(document: Document) -> tuple[int, str]:
        running = now - document["opened_at"] if "opened_at" in document else 0
        return document["duration_ms"] + running, document["_id"]

    shown = sorted(found, key=longest, reverse=query.descending)[query.offset : reach]
    ids = [document["_id"] for document in shown]
    whole = await db.run(lambda: db.sessions.find({"_id": {"$in": ids}}).to_list())
    by_id = {document["_id"]: document for document in whole}
    return [by_id[one] for one in ids if one in by_id]


async def _periods(db: Database, start: int, end: int, now: int) -> list[Period]:
    """All that reach into a time."""
    last = Plan({"period.2": {"$gte": start}, "period.1": {"$lt": end}}, [], BY_PERIOD)
    earlier = Plan({"end": {"$gte": start}, "start": {"$lt": end}}, [], IN_TIME)
    running = Plan({"is_active": True, "last_index": {"$gt": 0}, "opened_at": {"$lte": now}}, [], ACTIVE)
    closed = {
        (one["session"], one["number"]): (one["start"], one["end"]) for one in await _found(db.periods, db, earlier)
    }
    for one in await _found(db.sessions, db, last, fields={"period": True}):
        number, first, until = one["period"]
        closed[one["_id"], number] = first, until
    opened = await _found(db.sessions, db, running, fields={"opened_at": True})
    return [*closed.values(), *((one["opened_at"], now) for one in opened)]


def _tops(periods: Sequence[Period], starts: Sequence[int], end: int) -> list[int]:
    if not starts:
        return []
    return tops(open_at(periods, starts[0]), stretches_of(periods, starts[0], end), starts)


async def _begun(db: Database, steps: range) -> dict[int, int]:
    """How many sessions began in each step, by its place."""
    passed = {"$subtract": ["$start_time", steps.start]}
    stages: list[Document] = [
        {"$match": {"start_time": {"$gte": steps.start, "$lt": steps.stop}, "last_index": {"$gt": 0}}},
        {"$group": {"_id": {"$subtract": [passed, {"$mod": [passed, steps.step]}]}, "sessions": {"$sum": 1}}},
    ]

    async def grouped() -> list[Document]:
        return await (await db.sessions.aggregate(stages, hint=BY_START)).to_list()

    return {int(one["_id"]) // steps.step: one["sessions"] for one in await db.run(grouped)}


async def _ended(
    db: Database, session_id: str | None, admin_id: str | None, before: tuple[int, str, int] | None, limit: int
) -> list[Takeover]:
    named = (("session", session_id), ("admin_id", admin_id))
    wanted: Document = {name: value for name, value in named if value is not None}
    if before is not None:
        at, session, index = before
        wanted["start"] = {"$lte": at}
        wanted["$or"] = [
            {"start": {"$lt": at}},
            {"session": {"$lt": session}},
            {"session": session, "index": {"$lt": index}},
        ]
    hint = "of_session" if session_id is not None else OF_ADMIN if admin_id is not None else IN_TIME
    found = await _found(db.takeovers, db, Plan(wanted, NEWEST_FIRST, hint), limit=limit)
    return [documents.takeover_from(document) for document in found]


async def _going_on(db: Database, session_id: str | None, admin_id: str | None) -> list[Takeover]:
    wanted: Document = {"assisting_admin_id": {"$exists": True} if admin_id is None else admin_id}
    if session_id is not None:
        wanted["_id"] = session_id
    found = await _found(db.sessions, db, Plan(wanted, [], ASSISTED))
    takeovers = (takeover_of(documents.session_from(document)) for document in found)
    return [takeover for takeover in takeovers if takeover]


async def _found(
    collection: Collection, db: Database, plan: Plan, *, fields: Any = None, skip: int = 0, limit: int = 0
) -> list[Document]:
    """The documents of a plan; all of them without a ``limit``."""

    def found() -> Awaitable[list[Document]]:
        cursor = collection.find(plan.wanted, fields, hint=plan.hint).skip(skip).limit(limit)
        return (cursor.sort(plan.order) if plan.order else cursor).to_list()

    return await db.run(found)
