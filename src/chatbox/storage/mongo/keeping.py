"""Kept texts that replace older ones of their answers: those of one turn of the event loop are one operation."""

from __future__ import annotations

import asyncio

from pymongo import UpdateOne

from chatbox.storage.base import Partial
from chatbox.storage.mongo.client import Document
from chatbox.storage.mongo.database import Database

REMEMBERED = 4096
"""Answers whose texts can be replaced together."""


class Keeping:
    """Many answers grow at once, and each text alone would cost as much as twenty together."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._known: dict[str, str] = {}
        self._next: list[Partial] = []
        self._sending: asyncio.Task[bool] | None = None

    def remember(self, partial: Partial) -> None:
        """A first text of this answer is kept."""
        if len(self._known) >= REMEMBERED:
            self._known.pop(next(iter(self._known)))
        self._known[partial.session_id] = partial.answer_id

    async def replaced(self, partial: Partial) -> bool:
        """Whether a text of this answer was kept before by this process, and has been replaced."""
        if self._known.get(partial.session_id) != partial.answer_id:
            return False
        self._next.append(partial)
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send(), name="keep texts")
        all_were = await asyncio.shield(self._sending)
        return all_were or await self._replace([partial])

    async def _send(self) -> bool:
        await asyncio.sleep(0)
        together, self._next, self._sending = self._next, [], None
        return await self._replace(together)

    async def _replace(self, partials: list[Partial]) -> bool:
        """Whether each was there to be replaced."""
        updates = [UpdateOne(_place(partial), {"$set": {"content": partial.content}}) for partial in partials]
        result = await self._db.run(lambda: self._db.partials.bulk_write(updates, ordered=False))
        return result.matched_count == len(partials)


def _place(partial: Partial) -> Document:
    return {"_id": partial.session_id, "fence": partial.fence, "answer_id": partial.answer_id}
