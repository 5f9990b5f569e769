"""What is read."""

from __future__ import annotations

from chatbox.session import Entry, Session
from chatbox.storage.base import SessionQuery
from chatbox.storage.mongo import documents
from chatbox.storage.mongo.client import Document
from chatbox.storage.mongo.database import (
    ACTIVE,
    ANSWERING,
    ASSISTED,
    BY_ACTIVITY,
    EMPTY,
    OF_USER,
    SHARE_HASH,
    SHARE_TOKEN,
    WAITING,
    Database,
)

KEY_CHECKS = "key_checks"
NEWEST_FIRST = [("last_activity", -1), ("_id", -1)]


async def find(db: Database, query: SessionQuery) -> list[Session]:
    """As the sessions' documents tell."""
    hint = index_for(query)

    async def found() -> list[Document]:
        cursor = db.sessions.find(conditions(query), hint=hint).sort(NEWEST_FIRST).limit(query.limit)
        return await cursor.to_list()

    return [documents.session_from(document) for document in await db.run(found)]


async def read(db: Database, session_id: str, after: int, before: int | None, limit: int) -> list[Entry]:
    if before is None:
        places = {"$gt": after, "$lte": after + limit}
        found = await _entries(db, session_id, places, 1, limit)
    else:
        found = (await _entries(db, session_id, {"$gt": after, "$lt": before}, -1, limit))[::-1]
    return [documents.entry_from(document) for document in found]


async def exists(db: Database, session_id: str) -> bool:
    found = await db.run(lambda: db.sessions.find_one({"_id": session_id}, {"_id": True}))
    return found is not None


async def usage(db: Database, user_id: str, day: str) -> int:
    stages: list[Document] = [
        {"$match": {"user_id": user_id, "day": day}},
        {"$group": {"_id": None, "tokens": {"$sum": "$tokens"}}},
    ]

    async def summed() -> list[Document]:
        return await (await db.usage.aggregate(stages)).to_list()

    return sum(found["tokens"] for found in await db.run(summed))


async def key_checks(db: Database) -> dict[str, str]:
    found = await db.run(lambda: db.state.find_one({"_id": KEY_CHECKS}))
    return dict(found["values"]) if found else {}


async def _entries(db: Database, session_id: str, places: Document, order: int, limit: int) -> list[Document]:
    """Entries of a session that exists: those of one that is being deleted are none."""

    async def found() -> list[Document]:
        place = {"session": session_id, "index": places}
        return await db.messages.find(place, {"change": False}).sort("index", order).limit(limit).to_list()

    entries = await db.run(found)
    return entries if entries and await exists(db, session_id) else []


def conditions(query: SessionQuery) -> Document:
    """The filter of a query."""
    wanted: Document = {}
    for name, value in (("user_id", query.user_id), ("share_token", query.share_token), ("is_active", query.active)):
        if value is not None:
            wanted[name] = value
    for name, there in (
        ("answer_id", query.answering),
        ("assisting_admin_id", query.assisted),
        ("help_since", query.waiting),
    ):
        if there is not None:
            wanted[name] = {"$exists": there}
    if query.empty is not None:
        wanted["last_index"] = 0 if query.empty else {"$gt": 0}
    if query.share_hashes is not None:
        wanted["share_hash"] = {"$in": list(query.share_hashes)}
    if query.idle_since is not None:
        wanted["last_activity"] = {"$lt": query.idle_since}
    if query.before is not None:
        at, session_id = query.before
        wanted["$or"] = [{"last_activity": {"$lt": at}}, {"last_activity": at, "_id": {"$lt": session_id}}]
    return wanted


def index_for(query: SessionQuery) -> str:
    """The index that has to look at the fewest sessions: the planner might go through all of them, in their order."""
    fitting = (
        (query.share_token is not None, SHARE_TOKEN),
        (query.share_hashes is not None, SHARE_HASH),
        (query.active, ACTIVE),
        (query.empty, EMPTY),
        (query.user_id is not None, OF_USER),
        (query.answering, ANSWERING),
        (query.waiting, WAITING),
        (query.assisted, ASSISTED),
    )
    return next((index for fits, index in fitting if fits), BY_ACTIVITY)
