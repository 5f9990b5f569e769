"""The store in MongoDB.

The insert of an entry is its commit, acknowledged when a majority of the servers has it on disk. Uniqueness of
(session, index) makes it exact among any number of processes: who inserts at the next place knows that nothing has
happened since it looked. There are no transactions over several documents: what follows from an entry is done after it,
and by others if need be. So lists (``find``) may for a moment lag behind ``get``, ``read`` and ``append``, which never
do; and a call that failed as ``StorageBusy`` may have been done when its answer got lost: repeating it finds out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Self

from chatbox.errors import StorageError
from chatbox.session import Change, Entry, Session
from chatbox.settings import Settings
from chatbox.storage.base import Appended, Cell, CellStorage, Copy, Counted, Partial, Renewal, SessionQuery, Spent
from chatbox.storage.mongo import cells, queries, records, source
from chatbox.storage.mongo.client import MongoSettings, checked
from chatbox.storage.mongo.database import Database
from chatbox.storage.mongo.documents import NO_CHANGE
from chatbox.storage.mongo.ledger import Ledger
from chatbox.storage.mongo.overview import MongoOverview
from chatbox.storage.mongo.records import MongoRecords
from chatbox.storage.mongo.sweep import Sweep
from chatbox.storage.mongo.tallies import Tallies
from chatbox.storage.records import Record
from chatbox.tasks import Tasks

MIGRATION = "migration"
"""The document that is there while what another store holds is copied into this one."""


class MongoStorage(CellStorage):
    """Opening waits for MongoDB as long as the settings say; then it is ``StorageBusy``."""

    _db: Database
    _ledger: Ledger
    _sweep: Sweep
    _tallies: Tallies

    def __init__(self, settings: MongoSettings) -> None:
        self._settings = checked(settings)
        self._records = MongoRecords(lambda: self._db)
        self._overview = MongoOverview(lambda: (self._db, self._tallies))
        self._stack = AsyncExitStack()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Raises ``ConfigError`` for an address that can't be used."""
        return cls(
            MongoSettings(
                url=settings.store_url,
                database=settings.mongo_database,
                collection=settings.mongo_collection,
                connect_timeout=settings.mongo_connect_timeout,
                retry_attempts=settings.mongo_retry_attempts,
                retry_delay=settings.mongo_retry_delay,
                retry_max_delay=settings.mongo_retry_max_delay,
            )
        )

    async def create(self, session: Session) -> Session:
        return await self._ledger.create(session)

    async def get(self, session_id: str) -> Session | None:
        return await self._ledger.get(session_id)

    async def find(self, query: SessionQuery) -> list[Session]:
        return await queries.find(self._db, query)

    async def append(self, entry: Entry, change: Change | None = None, *, fence: int | None = None) -> Appended:
        return await self._ledger.append(entry, change or NO_CHANGE, fence)

    async def read(
        self, session_id: str, *, after: int = 0, before: int | None = None, limit: int = 500
    ) -> list[Entry]:
        return await queries.read(self._db, session_id, after, before, limit)

    async def keep(self, partial: Partial) -> None:
        await self._ledger.keep(partial)

    async def partial(self, session_id: str) -> Partial | None:
        return await self._ledger.partial(session_id)

    async def delete(self, session_id: str, *, last_index: int | None = None) -> bool:
        return await self._ledger.delete(session_id, last_index)

    async def usage(self, user_id: str, day: str) -> int:
        return await queries.usage(self._db, user_id, day)

    @property
    def records(self) -> MongoRecords:
        return self._records

    @property
    def overview(self) -> MongoOverview:
        return self._overview

    async def check(self) -> None:
        await self._db.probe()

    async def stale(self, prefix: str, batch: int) -> AsyncIterator[list[Cell]]:
        await self._sweep.settle_texts()
        async for found in cells.walk(self._db, prefix, batch):
            yield found

    async def rewrite(self, renewals: Sequence[Renewal]) -> int:
        return await cells.rewrite(self._db, renewals)

    async def key_checks(self) -> dict[str, str]:
        return await queries.key_checks(self._db)

    async def replace_key_checks(self, checks: Mapping[str, str]) -> None:
        document = {"_id": queries.KEY_CHECKS, "values": dict(checks)}
        await self._db.put(lambda: self._db.state.replace_one({"_id": queries.KEY_CHECKS}, document, upsert=True))

    async def sizes(self) -> tuple[int, int]:
        return await source.sizes(self._db)

    async def copies(self, after: str, limit: int) -> list[Copy]:
        return await source.copies(self._db, after, limit)

    async def spent(self, after: tuple[str, str], limit: int) -> list[Spent]:
        return await source.spent(self._db, after, limit)

    async def counted(self, after: tuple[int, int], limit: int) -> list[Counted]:
        return await self._tallies.counted(after, limit)

    async def recorded(self, after: tuple[str, str], limit: int) -> list[Record]:
        return await records.after(self._db, after, limit)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._db = Database(self._settings)
            stack.push_async_callback(self._db.close)
            await self._db.open()
            self._tallies = Tallies(self._db)
            self._ledger, self._sweep = Ledger(self._db, self._tallies), Sweep(self._db)
            await self._begin(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _begin(self, stack: AsyncExitStack) -> None:
        """What is done at the start, and what goes on from then."""
        if await self._db.run(lambda: self._db.state.find_one({"_id": MIGRATION})):
            raise StorageError("conversations were being copied into this store; go on with: chatbox migrate")
        await self._sweep.look()
        stack.push_async_callback(self._count_all)
        tasks = await stack.enter_async_context(Tasks())
        tasks.keep(self._sweep.run, "sweep of the store")
        tasks.keep(self._tallies.run, "counts of the store")

    async def _count_all(self) -> None:
        """Write what was counted last; if that can't be, it is lost, but nothing else."""
        with suppress(StorageError):
            await self._tallies.flush()
