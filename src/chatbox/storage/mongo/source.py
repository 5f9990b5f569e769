"""What the store holds, for a copy of it."""

from __future__ import annotations

from collections import defaultdict

from chatbox.session import Takeover
from chatbox.storage.base import Copy, Spent
from chatbox.storage.mongo import documents
from chatbox.storage.mongo.client import Document
from chatbox.storage.mongo.database import Database
from chatbox.storage.mongo.states import runs, state_from


async def sizes(db: Database) -> tuple[int, int]:
    sessions = await db.run(lambda: db.sessions.estimated_document_count())
    return sessions, await db.run(lambda: db.messages.estimated_document_count())


async def copies(db: Database, after: str, limit: int) -> list[Copy]:
    """As the sessions' documents tell."""

    async def next_ones() -> list[Document]:
        return await db.sessions.find({"_id": {"$gt": after}}).sort("_id").limit(limit).to_list()

    found = await db.run(next_ones)
    ids = {"$in": [document["_id"] for document in found]}
    copies = {document["_id"]: _copy(document) for document in found}
    earlier: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for one in await db.run(lambda: db.periods.find({"session": ids}).sort("number").to_list()):
        earlier[one["session"]].append((one["start"], one["end"]))
    takeovers: defaultdict[str, list[Takeover]] = defaultdict(list)
    for one in await db.run(lambda: db.takeovers.find({"session": ids}).sort("index").to_list()):
        takeovers[one["session"]].append(documents.takeover_from(one))
    kept = map(documents.partial_from, await db.run(lambda: db.partials.find({"_id": ids}).to_list()))
    partials = {one.session_id: one for one in kept if runs(copies[one.session_id].session, one)}
    return [
        Copy(copy.session, (*earlier[name], *copy.periods), partials.get(name), tuple(takeovers[name]))
        for name, copy in copies.items()
    ]


async def spent(db: Database, after: tuple[str, str], limit: int) -> list[Spent]:
    user_id, day = after
    stages: list[Document] = [
        {"$match": {"$or": [{"user_id": {"$gt": user_id}}, {"user_id": user_id, "day": {"$gt": day}}]}},
        {"$group": {"_id": {"user_id": "$user_id", "day": "$day"}, "tokens": {"$sum": "$tokens"}}},
        {"$sort": {"_id.user_id": 1, "_id.day": 1}},
        {"$limit": limit},
    ]

    async def next_ones() -> list[Document]:
        return await (await db.usage.aggregate(stages)).to_list()

    found = await db.run(next_ones)
    return [Spent(one["_id"]["user_id"], one["_id"]["day"], one["tokens"]) for one in found]


def _copy(document: Document) -> Copy:
    """What a session's document tells: of the periods the last."""
    state = state_from(document)
    return Copy(state.summary, ((state.period.start, state.period.end),) if state.period else ())
