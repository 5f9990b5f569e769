"""Records as documents of MongoDB.

Each try of a write may have been done when its answer got lost. So a new document's ``_id``, and the ``stamp`` of a
replacement, are made before the first try: by them a later one finds out that it was this call's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bson import ObjectId
from msgspec.structs import asdict

from chatbox.storage.mongo.client import Document
from chatbox.storage.mongo.database import BY_KEY, BY_TIME, DUE, RECORD, Database
from chatbox.storage.records import Record, Records, data_from, data_text

NEWEST_FIRST = [("at", -1), ("id", -1)]


class MongoRecords(Records):
    """``database`` gives the database while the store is open."""

    def __init__(self, database: Callable[[], Database]) -> None:
        self._database = database

    async def add(self, record: Record) -> bool:
        db, document = self._database(), record_document(record) | {"_id": ObjectId()}
        if await db.inserted(lambda: db.records.insert_one(document)):
            return True
        return await self._is_there(record, _id=document["_id"])

    async def get(self, kind: str, record_id: str) -> Record | None:
        db = self._database()
        found = await db.run(lambda: db.records.find_one({"kind": kind, "id": record_id}))
        return record_from(found) if found else None

    async def replace(self, record: Record) -> bool:
        db, stamp = self._database(), ObjectId()
        values = record_document(record) | {"version": record.version + 1, "stamp": stamp}
        update: Document = {"$set": values} | ({"$unset": {"due": ""}} if record.due is None else {})
        place = {"kind": record.kind, "id": record.id, "version": record.version}
        result = await db.run(lambda: db.records.update_one(place, update))
        return result.matched_count == 1 or await self._is_there(record, stamp=stamp)

    async def remove(self, kind: str, record_id: str) -> bool:
        db = self._database()
        result = await db.run(lambda: db.records.delete_one({"kind": kind, "id": record_id}))
        return result.deleted_count == 1

    async def find(
        self,
        kind: str,
        *,
        key: str | None = None,
        since: int | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[Record]:
        db, wanted = self._database(), conditions(kind, key, since, before)
        hint = BY_TIME if key is None else BY_KEY

        async def found() -> list[Document]:
            return await db.records.find(wanted, hint=hint).sort(NEWEST_FIRST).limit(limit).to_list()

        return list(map(record_from, await db.run(found)))

    async def due(self, kind: str, now: int, limit: int) -> list[Record]:
        db, wanted = self._database(), {"kind": kind, "due": {"$exists": True, "$lte": now}}

        async def found() -> list[Document]:
            return await db.records.find(wanted, hint=DUE).sort([("due", 1), ("id", 1)]).limit(limit).to_list()

        return list(map(record_from, await db.run(found)))

    async def _is_there(self, record: Record, **own: Any) -> bool:
        db, place = self._database(), {"kind": record.kind, "id": record.id, **own}
        return await db.run(lambda: db.records.find_one(place, {"_id": True})) is not None


async def after(db: Database, place: tuple[str, str], limit: int) -> list[Record]:
    """The next ones in the order of (kind, id)."""
    kind, record_id = place
    wanted = {"kind": {"$gte": kind}, "$or": [{"kind": {"$gt": kind}}, {"id": {"$gt": record_id}}]}

    async def found() -> list[Document]:
        return await db.records.find(wanted, hint=RECORD).sort([("kind", 1), ("id", 1)]).limit(limit).to_list()

    return list(map(record_from, await db.run(found)))


def conditions(kind: str, key: str | None, since: int | None, before: tuple[int, str] | None) -> Document:
    """The filter of a list."""
    wanted: Document = {"kind": kind}
    if key is not None:
        wanted["key"] = key
    times: Document = {} if since is None else {"$gte": since}
    if before is not None:
        at, record_id = before
        times["$lte"] = at
        wanted["$or"] = [{"at": {"$lt": at}}, {"id": {"$lt": record_id}}]
    return wanted | ({"at": times} if times else {})


def record_document(record: Record) -> Document:
    values = asdict(record) | {"data": data_text(record.data)}
    return {name: value for name, value in values.items() if value is not None}


def record_from(document: Document) -> Record:
    values = {name: document[name] for name in Record.__struct_fields__ if name in document}
    return Record(**values | {"data": data_from(document["data"])})
