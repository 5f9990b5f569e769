"""What is counted of entries, in MongoDB.

Each process keeps what it has counted in the newest minutes and hours, and writes these totals as documents of its
own, a second later at most, however many entries there are. A total replaces the document's earlier one, so to write it
twice is to write it once. What a process counted in the last second before it was killed is not known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from bson import ObjectId
from msgspec.structs import asdict
from pymongo import ReplaceOne

from chatbox.errors import StorageError
from chatbox.session import Change, Entry
from chatbox.storage.base import Counted
from chatbox.storage.mongo.client import Document
from chatbox.storage.mongo.database import IN_TIME, Database
from chatbox.storage.overview import HOUR, MINUTE, NOTHING, Tally, tally_of

log = structlog.get_logger(component="storage")

PAUSE = 1.0
"""Seconds between two writes."""

REMEMBERED = 256
"""Totals that grow; one that comes back later gets another document."""

_FIELDS = Tally.__struct_fields__

Span = tuple[int, int]
"""How long, and from when on."""


class Total:
    """What this process counted in a time."""

    __slots__ = ("id", "span", "tally")

    def __init__(self, span: Span) -> None:
        self.id = ObjectId()
        self.span = span
        self.tally = NOTHING


class Tallies:
    def __init__(self, database: Database) -> None:
        self._db = database
        self._totals: dict[Span, Total] = {}
        self._unwritten: dict[ObjectId, Total] = {}
        self._writing = asyncio.Lock()

    def count(self, entry: Entry, change: Change) -> None:
        """An entry was stored."""
        tally = tally_of(entry, change)
        if tally is not NOTHING:
            for width in (MINUTE, HOUR):
                self._add((width, entry.timestamp - entry.timestamp % width), tally)

    async def run(self) -> None:
        """Write regularly, until cancelled."""
        while True:
            await asyncio.sleep(PAUSE)
            try:
                await self.flush()
            except StorageError as error:
                log.warning("what was counted is written later", error=str(error))

    async def flush(self) -> None:
        """Write what has been counted."""
        async with self._writing:
            unwritten, self._unwritten = self._unwritten, {}
            writes = [_replacement(total.id, total.span, total.tally) for total in unwritten.values()]
            try:
                if writes:
                    await self._db.run(lambda: self._db.tallies.bulk_write(writes, ordered=False))
            except BaseException:
                self._unwritten = unwritten | self._unwritten
                raise

    async def total(self, spans: list[tuple[int, int, int]]) -> Tally:
        """All processes' totals of some times: width, from, to."""
        await self.flush()
        wanted = {"$or": [{"width": width, "at": {"$gte": start, "$lt": end}} for width, start, end in spans]}
        found = await self._grouped(wanted, None)
        return _tally(found[0]) if found else NOTHING

    async def steps(self, steps: range) -> dict[int, Tally]:
        """All processes' totals in each step, by its place."""
        await self.flush()
        passed = {"$subtract": ["$at", steps.start]}
        place = {"$subtract": [passed, {"$mod": [passed, steps.step]}]}
        width = HOUR if steps.step >= HOUR else MINUTE
        found = await self._grouped({"width": width, "at": {"$gte": steps.start, "$lt": steps.stop}}, place)
        return {int(one["_id"]) // steps.step: _tally(one) for one in found}

    async def counted(self, after: Span, limit: int) -> list[Counted]:
        """All processes' totals in the next minutes and hours."""
        await self.flush()
        width, at = after
        wanted = {"width": {"$gte": width}, "$or": [{"width": {"$gt": width}}, {"at": {"$gt": at}}]}

        async def next_ones() -> list[Counted]:
            totals: dict[Span, Tally] = {}
            cursor = self._db.tallies.find(wanted, hint=IN_TIME, batch_size=limit)
            async for document in cursor.sort([("width", 1), ("at", 1)]):
                span = document["width"], document["at"]
                if span not in totals and len(totals) == limit:
                    break
                totals[span] = totals.get(span, NOTHING).plus(_tally(document))
            return [Counted(*span, tally) for span, tally in totals.items()]

        return await self._db.run(next_ones)

    async def replace(self, counted: Sequence[Counted]) -> None:
        """Store totals that came from elsewhere."""
        writes = [_replacement(f"{one.width}:{one.at}", one.place, one.tally) for one in counted]
        await self._db.run(lambda: self._db.tallies.bulk_write(writes, ordered=False))

    def _add(self, span: Span, tally: Tally) -> None:
        total = self._totals.get(span)
        if total is None:
            if len(self._totals) >= REMEMBERED:
                self._totals.pop(next(iter(self._totals)))
            total = self._totals[span] = Total(span)
        total.tally = total.tally.plus(tally)
        self._unwritten[total.id] = total

    async def _grouped(self, wanted: Document, by: Document | None) -> list[Document]:
        sums: Document = {name: {"$max" if name.endswith("_max") else "$sum": f"${name}"} for name in _FIELDS}
        stages: list[Document] = [{"$match": wanted}, {"$group": {"_id": by, **sums}}]

        async def grouped() -> list[Document]:
            return await (await self._db.tallies.aggregate(stages, hint=IN_TIME)).to_list()

        return await self._db.run(grouped)


def _replacement(place: ObjectId | str, span: Span, tally: Tally) -> ReplaceOne[Document]:
    width, at = span
    return ReplaceOne({"_id": place}, {"_id": place, "width": width, "at": at, **asdict(tally)}, upsert=True)


def _tally(document: Document) -> Tally:
    return Tally(**{name: document[name] for name in _FIELDS})
