"""Looks for what dead processes left undone, so that lists tell the truth before anybody opens the conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import structlog
from bson import ObjectId

from chatbox.errors import StorageCorrupt, StorageError
from chatbox.storage.mongo import removal
from chatbox.storage.mongo.database import Database
from chatbox.storage.mongo.states import Crowded, State, States

log = structlog.get_logger(component="storage")

INTERVAL = timedelta(seconds=30)
"""How often one of the processes looks."""

MARGIN = timedelta(minutes=1)
"""What is older than the last look by this is looked at again: clocks differ."""

CHUNK = 500
SWEEP = "sweep"


class Sweep:
    """The processes of a store take turns by its ``sweep`` document, whose ``at`` is up to when all was looked at."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._states = States(database)

    async def run(self) -> None:
        """Look regularly, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL.total_seconds())
            try:
                if await self._is_ours():
                    await self.look()
            except StorageError as error:
                log.warning("what was left undone is not looked for now", error=str(error))

    async def look(self) -> None:
        """Finish deletions, settle sessions that lag behind their logs, drop texts that their sessions have."""
        begun = datetime.now(UTC)
        await self._finish_deletions()
        await self.settle_texts()
        found = await self._db.run(lambda: self._db.state.find_one({"_id": SWEEP}))
        newest = await self._newest(found["at"] - MARGIN if found else None)
        for chunk in batched(newest.items()):
            await self._settle(dict(chunk))
        done = {"$max": {"at": begun}}
        await self._db.put(lambda: self._db.state.update_one({"_id": SWEEP}, done, upsert=True))

    async def settle_texts(self) -> None:
        """Drop the texts of changes that their sessions have."""
        found = await self._db.run(lambda: self._db.messages.distinct("session", {"texts": True}))
        for session_id in found:
            if state := await self._settled(session_id):
                await self._states.drop_texts(state.summary)

    async def _is_ours(self) -> bool:
        """Whether nobody has looked for a while, so that this process takes the turn."""
        now = datetime.now(UTC)
        due = {"_id": SWEEP, "at": {"$lt": now - INTERVAL / 2}, "begun": {"$not": {"$gte": now - INTERVAL / 2}}}
        taken = await self._db.run(lambda: self._db.state.update_one(due, {"$set": {"begun": now}}))
        return taken.matched_count == 1

    async def _finish_deletions(self) -> None:
        for document in await self._db.run(lambda: self._db.deletions.find().to_list()):
            await removal.finish(self._db, document["_id"], document.get("revision"))

    async def _newest(self, since: datetime | None) -> dict[str, int]:
        """The sessions in which something was appended since, each with its newest place."""
        recent = {"_id": {"$gte": ObjectId.from_datetime(since)}} if since else {}
        newest: dict[str, int] = {}

        async def look() -> None:
            async for document in self._db.messages.find(recent, {"session": True, "index": True}):
                session_id, index = document["session"], document["index"]
                newest[session_id] = max(index, newest.get(session_id, 0))

        await self._db.run(look)
        return newest

    async def _settle(self, newest: dict[str, int]) -> None:
        place = {"_id": {"$in": list(newest)}}
        found = await self._db.run(lambda: self._db.sessions.find(place, {"last_index": True}).to_list())
        told = {document["_id"]: document["last_index"] for document in found}
        for session_id, index in newest.items():
            if session_id not in told:  # appended while the session was deleted, by a process that died
                await self._drop_entries(session_id)
            elif told[session_id] < index:
                await self._settled(session_id)

    async def _settled(self, session_id: str) -> State | None:
        """A session brought up to its log. One that is damaged, or in which others keep writing and so see to it
        themselves, does not keep the rest from it, nor the store from opening."""
        try:
            state = await self._states.load(session_id)
            return (await self._states.settle(state)).state if state else None
        except Crowded:
            return None
        except StorageCorrupt as error:
            log.error("a session can't be brought up to its log", session=session_id, error=str(error))
            return None

    async def _drop_entries(self, session_id: str) -> None:
        await self._db.run(lambda: self._db.messages.delete_many({"session": session_id}))
        await self._db.run(lambda: self._db.takeovers.delete_many({"session": session_id}))


def batched(items: Iterable[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    """Lists of some of the items, in their order."""
    left = iter(items)
    while chunk := list(islice(left, CHUNK)):
        yield chunk
