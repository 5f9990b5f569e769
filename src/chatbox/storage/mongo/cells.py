"""Where sealed values lie in the documents, to walk and replace them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, NamedTuple

from pymongo import UpdateOne

from chatbox.storage.base import SEALED, Cell, Renewal
from chatbox.storage.mongo import documents
from chatbox.storage.mongo.client import Document
from chatbox.storage.mongo.database import Collection, Database
from chatbox.storage.records import data_from

MAPPINGS = ("context", "data")
"""Columns whose sealed text lies in a mapping."""


class Place(NamedTuple):
    """A collection with sealed values: the fields that name the session (or a record's kind) and the row, and the ones
    that are sealed."""

    collection: str
    session: str
    row: str
    columns: tuple[str, ...]

    def of(self, db: Database) -> Collection:
        found: Collection = getattr(db, self.collection)
        return found


PLACES = (
    Place("sessions", "_id", "_id", ("name", "user_name", "assisting_admin_name", "share_token", "context")),
    Place("messages", "session", "message_id", ("content",)),
    Place("partials", "_id", "answer_id", ("content",)),
    Place("records", "kind", "id", ("data",)),
)


async def walk(db: Database, prefix: str, batch: int) -> AsyncIterator[list[Cell]]:
    """All values that do not begin with ``prefix``, of about so many documents at a time."""
    for place in PLACES:
        async for window in _windows(db, place, batch):
            found = await _matching(db, place, window | _stale(place, prefix))
            cells = (cell for document in found for cell in _cells(place, document))
            if old := [cell for cell in cells if not cell.value.startswith(prefix)]:
                yield old


async def rewrite(db: Database, renewals: Sequence[Renewal]) -> int:
    """Replace each value that is still what it was read as; returns how many."""
    return sum([await _rewrite(db, place, renewals) for place in PLACES])


async def _rewrite(db: Database, place: Place, renewals: Sequence[Renewal]) -> int:
    updates = [_update(place, renewal) for renewal in renewals if renewal.cell.table == place.collection]
    if not updates:
        return 0
    result = await db.run(lambda: place.of(db).bulk_write(updates, ordered=False))
    return result.modified_count


def _update(place: Place, renewal: Renewal) -> UpdateOne:
    """Of a session's document the revision rises: who remembers it has to read it again."""
    cell = renewal.cell
    old, new = _written(cell.column, cell.value), _written(cell.column, renewal.value)
    values = {cell.column: new} | ({"share_hash": renewal.share_hash} if renewal.share_hash is not None else {})
    update: Document = {"$set": values} | ({"$inc": {"revision": 1}} if place.collection == "sessions" else {})
    return UpdateOne({place.session: cell.session_id, place.row: cell.row, cell.column: old}, update)


async def _windows(db: Database, place: Place, size: int) -> AsyncIterator[Document]:
    """Filters that cut a collection into pieces of so many documents, none of which takes the server long."""
    after: Document = {}
    while True:
        end = await _nth(db, place, after, size)
        if end is None:
            yield {"_id": after} if after else {}
            return
        yield {"_id": after | {"$lte": end}}
        after = {"$gt": end}


async def _nth(db: Database, place: Place, after: Document, size: int) -> Any:
    async def found() -> list[Document]:
        cursor = place.of(db).find({"_id": after} if after else {}, {"_id": True})
        return await cursor.sort("_id").skip(size - 1).limit(1).to_list()

    ends = await db.run(found)
    return ends[0]["_id"] if ends else None


async def _matching(db: Database, place: Place, wanted: Document) -> list[Document]:
    fields = dict.fromkeys({place.session, place.row, *place.columns}, True)
    return await db.run(lambda: place.of(db).find(wanted, fields).to_list())


def _stale(place: Place, prefix: str) -> Document:
    return {"$or": [{column: _not_beginning(_start(column, prefix))} for column in place.columns]}


def _not_beginning(start: str) -> Document:
    return {"$exists": True, "$not": re.compile(f"^{re.escape(start)}")}


def _cells(place: Place, document: Document) -> Iterator[Cell]:
    for column in place.columns:
        if value := _read(column, document.get(column, "")):
            yield Cell(place.collection, document[place.row], document[place.session], column, value)


def _start(column: str, prefix: str) -> str:
    return documents.SEALED_MAPPING + prefix if column in MAPPINGS else prefix


def _read(column: str, value: str) -> str:
    return str(data_from(value).get(SEALED, "")) if column in MAPPINGS else value


def _written(column: str, value: str) -> str:
    return documents.mapping_text({SEALED: value}) if column in MAPPINGS else value
