"""The store while it takes over what another one holds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime

from bson import ObjectId
from msgspec.structs import asdict
from pymongo import DeleteMany, InsertOne, ReplaceOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from chatbox.errors import StorageError
from chatbox.session import Entry, Session
from chatbox.storage.base import Copy, Counted, Spent, Target
from chatbox.storage.mongo import documents
from chatbox.storage.mongo.attempts import DUPLICATE
from chatbox.storage.mongo.client import Document
from chatbox.storage.mongo.database import Collection
from chatbox.storage.mongo.documents import NO_CHANGE, Logged, Period
from chatbox.storage.mongo.records import record_document
from chatbox.storage.mongo.states import USAGE_KEPT
from chatbox.storage.mongo.storage import MIGRATION, MongoStorage
from chatbox.storage.mongo.sweep import SWEEP
from chatbox.storage.records import Record

Operation = InsertOne[Document] | ReplaceOne[Document] | DeleteMany


class MongoTarget(MongoStorage, Target):
    """Its ``migration`` document says where the sessions come from, and up to which one they are there."""

    async def begin(self, origin: str) -> str:
        begun = await self._db.run(lambda: self._db.state.find_one({"_id": MIGRATION}))
        if begun is None:
            await self._refuse_others()
            begun = {"_id": MIGRATION, "origin": origin, "reached": ""}
            await self._db.inserted(lambda: self._db.state.insert_one(begun))
        if begun["origin"] != origin:
            raise StorageError(f"{begun['origin']} was being copied to there; finish that, or empty the database")
        return str(begun["reached"])

    async def put(self, copies: Sequence[Copy]) -> None:
        try:
            await self._replace(copies)
        except DuplicateKeyError:
            for copy in copies:
                await self._remove_rivals(copy.session)
            await self._replace(copies)

    async def put_entries(self, entries: Sequence[Entry]) -> None:
        found = [documents.entry_document(Logged(ObjectId(), entry, NO_CHANGE)) for entry in entries]
        with suppress(DuplicateKeyError):
            await self._write(self._db.messages, [InsertOne(document) for document in found], ordered=False)

    async def reached(self, session_id: str) -> None:
        update = {"$set": {"reached": session_id}}
        await self._db.run(lambda: self._db.state.update_one({"_id": MIGRATION}, update))

    async def put_spent(self, spent: Sequence[Spent]) -> None:
        found = [
            {"_id": f"{one.day}:{one.user_id}", **asdict(one), "expires": datetime.now(UTC) + USAGE_KEPT}
            for one in spent
        ]
        await self._write(self._db.usage, [ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in found])

    async def put_counted(self, counted: Sequence[Counted]) -> None:
        await self._tallies.replace(counted)

    async def put_recorded(self, records: Sequence[Record]) -> None:
        found = [({"kind": record.kind, "id": record.id}, record_document(record)) for record in records]
        await self._write(self._db.records, [ReplaceOne(place, record, upsert=True) for place, record in found])

    async def finish(self) -> None:
        looked = {"$set": {"at": datetime.now(UTC)}}
        await self._db.put(lambda: self._db.state.update_one({"_id": SWEEP}, looked, upsert=True))
        await self._db.run(lambda: self._db.state.delete_one({"_id": MIGRATION}))

    async def _begin(self, stack: AsyncExitStack) -> None:
        """Nothing is looked for: it is not whole yet."""

    async def _refuse_others(self) -> None:
        kept = (self._db.sessions, self._db.messages, self._db.usage, self._db.tallies, self._db.records)
        if any([await self._holds(held) for held in kept]):
            others = "name another database or collection by MONGO_DATABASE or MONGO_COLLECTION"
            raise StorageError(f"the target holds conversations already; {others}")

    async def _holds(self, collection: Collection) -> bool:
        return await self._db.run(lambda: collection.find_one({}, {"_id": True})) is not None

    async def _replace(self, copies: Sequence[Copy]) -> None:
        ids = {"$in": [copy.session.id for copy in copies]}
        sessions = [session_document(copy) for copy in copies]
        await self._write(self._db.sessions, [ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in sessions])
        periods = [InsertOne(document) for copy in copies for document in period_documents(copy)]
        await self._write(self._db.periods, [DeleteMany({"session": ids}), *periods])
        takeovers = [InsertOne(documents.takeover_document(one)) for copy in copies for one in copy.takeovers]
        await self._write(self._db.takeovers, [DeleteMany({"session": ids}), *takeovers])
        partials = [InsertOne(documents.partial_document(copy.partial)) for copy in copies if copy.partial]
        await self._write(self._db.partials, [DeleteMany({"_id": ids}), *partials])

    async def _remove_rivals(self, session: Session) -> None:
        """Sessions that were copied before the source gave to this one what its user has only one of."""
        marks: list[Document] = [{"is_active": True}] if session.is_active else []
        marks += [{"last_index": 0}] if session.last_index == 0 else []
        if not marks:
            return
        rivals = {"user_id": session.user_id, "_id": {"$ne": session.id}, "$or": marks}
        for found in await self._db.run(lambda: self._db.sessions.find(rivals, {"_id": True}).to_list()):
            await self.delete(found["_id"])

    async def _write(self, collection: Collection, operations: Sequence[Operation], *, ordered: bool = True) -> None:
        """Many writes. ``DuplicateKeyError`` when nothing else went wrong; when unordered, all others are done then."""

        async def write() -> None:
            try:
                await collection.bulk_write(operations, ordered=ordered)
            except BulkWriteError as error:
                if not of_duplicates(error):
                    raise
                raise DuplicateKeyError("there already", DUPLICATE) from error

        if operations:
            await self._db.run(write)


def session_document(copy: Copy) -> Document:
    last = {"period": [len(copy.periods), *copy.periods[-1]]} if copy.periods else {}
    return documents.session_document(copy.session) | {"revision": 0} | last


def period_documents(copy: Copy) -> list[Document]:
    """All but the last, which is in the session's."""
    earlier = enumerate(copy.periods[:-1], start=1)
    return [documents.period_document(copy.session.id, Period(number, *period)) for number, period in earlier]


def of_duplicates(error: BulkWriteError) -> bool:
    """Whether all that went wrong is that documents were there."""
    details = error.details or {}
    codes = {failed["code"] for failed in details.get("writeErrors", ())}
    return codes == {DUPLICATE} and not details.get("writeConcernErrors")
