"""Copy everything that one store holds into another, sealed values as they are: no key is needed.

Two passes. The first copies sessions in the order of their ids and remembers how far it came: cut short at any time, it
goes on there. The second compares the stores session by session, by a digest of all that they give back, and copies
again what differs, for the source may have been used between two attempts.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

import msgspec

from chatbox.errors import StorageError
from chatbox.session import Entry
from chatbox.storage.base import CellStorage, Copy, Target

PAGE = 100
"""Sessions that are copied at once."""

BATCH = 500
"""Entries that are copied at once."""

encoded = msgspec.msgpack.Encoder().encode


class Progress(NamedTuple):
    """How many sessions and entries a pass has done."""

    sessions: int = 0
    entries: int = 0

    def plus(self, sessions: int, entries: int) -> Progress:
        return Progress(self.sessions + sessions, self.entries + entries)


class Digest(NamedTuple):
    entries: int
    sha256: str


class Moved(NamedTuple):
    """What both stores hold. ``mended`` sessions had to be copied again, or removed, in the second pass."""

    sessions: int
    entries: int
    tokens: int
    mended: int
    records: int = 0


class Move:
    """``copying`` and ``comparing`` are told the progress of the two passes."""

    def __init__(
        self,
        source: CellStorage,
        target: Target,
        *,
        copying: Callable[[Progress], None],
        comparing: Callable[[Progress], None],
    ) -> None:
        self._source = source
        self._target = target
        self._copying = copying
        self._comparing = comparing
        self._mended = 0

    async def run(self, origin: str) -> Moved:
        """Copy all of the source, which nobody uses meanwhile. Raises ``StorageError``.

        ``origin`` names the source, so that nobody goes on with another one.
        """
        after = await self._target.begin(origin)
        await self._copy(after)
        compared = await self._compare()
        tokens = await self._copy_spent()
        await self._copy_counted()
        records = await self._copy_records()
        await self._target.replace_key_checks(await self._source.key_checks())
        await self._target.finish()
        return Moved(*compared, tokens=tokens, mended=self._mended, records=records)

    async def _copy(self, after: str) -> None:
        done = Progress(*await self._target.sizes())
        while page := await self._source.copies(after, PAGE):
            done = done.plus(len(page), await self._put(page))
            after = page[-1].session.id
            await self._target.reached(after)
            self._copying(done)

    async def _put(self, copies: Sequence[Copy]) -> int:
        """Store sessions with their entries; returns how many entries."""
        await self._target.put(copies)
        count, waiting = 0, list[Entry]()
        for copy in copies:
            async for page in log_of(self._source, copy.session.id):
                waiting += page
                count += len(page)
                if len(waiting) >= BATCH:
                    await self._target.put_entries(waiting)
                    waiting = []
        if waiting:
            await self._target.put_entries(waiting)
        return count

    async def _compare(self) -> Progress:
        done = Progress()
        others = every(self._target)
        other = await anext(others, None)
        async for copy in every(self._source):
            while other and other.session.id < copy.session.id:
                await self._remove(other)
                other = await anext(others, None)
            done = done.plus(1, await self._compare_one(copy, other))
            if other and other.session.id == copy.session.id:
                other = await anext(others, None)
            self._comparing(done)
        while other:
            await self._remove(other)
            other = await anext(others, None)
        return done

    async def _compare_one(self, copy: Copy, other: Copy | None) -> int:
        """Make sure that a session is in the target as it is in the source; returns how many entries it has."""
        session_id = copy.session.id
        log = await digest(self._source, session_id)
        if other == copy and await digest(self._target, session_id) == log:
            return log.entries
        self._mended += 1
        await self._target.delete(session_id)
        await self._put([copy])
        if await self._target.get(session_id) != copy.session or await digest(self._target, session_id) != log:
            raise StorageError(f"session {session_id} is not in the target as it is in the source")
        return log.entries

    async def _remove(self, copy: Copy) -> None:
        """The source does not have it any more."""
        self._mended += 1
        await self._target.delete(copy.session.id)

    async def _copy_spent(self) -> int:
        tokens, after = 0, ("", "")
        while page := await self._source.spent(after, BATCH):
            await self._target.put_spent(page)
            if await self._target.spent(after, len(page)) != page:
                raise StorageError("the target does not give back the tokens that were used")
            tokens += sum(one.tokens for one in page)
            after = page[-1].user_id, page[-1].day
        return tokens

    async def _copy_counted(self) -> None:
        after = (0, 0)
        while page := await self._source.counted(after, BATCH):
            await self._target.put_counted(page)
            if await self._target.counted(after, len(page)) != page:
                raise StorageError("the target does not give back what was counted")
            after = page[-1].place

    async def _copy_records(self) -> int:
        await self._remove_records()
        count, after = 0, ("", "")
        while page := await self._source.recorded(after, BATCH):
            await self._target.put_recorded(page)
            if await self._target.recorded(after, len(page)) != page:
                raise StorageError("the target does not give back the records that it got")
            count += len(page)
            after = page[-1].place
        return count

    async def _remove_records(self) -> None:
        """Those of an earlier attempt that the source does not have any more."""
        after = ("", "")
        while page := await self._target.recorded(after, BATCH):
            for record in page:
                if await self._source.records.get(*record.place) is None:
                    await self._target.records.remove(*record.place)
            after = page[-1].place


async def every(store: CellStorage) -> AsyncIterator[Copy]:
    """All sessions, in the order of their ids."""
    after = ""
    while page := await store.copies(after, PAGE):
        for copy in page:
            yield copy
        after = page[-1].session.id


async def log_of(store: CellStorage, session_id: str) -> AsyncIterator[list[Entry]]:
    """A session's entries, in pages."""
    after = 0
    while page := await store.read(session_id, after=after, limit=BATCH):
        yield page
        after = page[-1].index


async def digest(store: CellStorage, session_id: str) -> Digest:
    """Of all of a session's entries, as the store gives them back."""
    total, count = hashlib.sha256(), 0
    async for page in log_of(store, session_id):
        for entry in page:
            total.update(encoded(entry))
        count += len(page)
    return Digest(count, total.hexdigest())
