"""The embedded store: one SQLite file, used by one process.

One thread writes, a few read; in WAL mode they don't wait for each other. ``synchronous=FULL`` flushes the log of every
commit to the disk before the commit returns.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial as bind
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from chatbox.errors import StorageError
from chatbox.session import Change, Entry, Session
from chatbox.storage.base import Appended, Cell, CellStorage, Copy, Counted, Partial, Renewal, SessionQuery, Spent
from chatbox.storage.records import Record
from chatbox.storage.sqlite import cells, queries, records
from chatbox.storage.sqlite.groupcommit import GroupCommit, translated
from chatbox.storage.sqlite.ledger import Ledger
from chatbox.storage.sqlite.lock import FileLock
from chatbox.storage.sqlite.overview import SqliteOverview
from chatbox.storage.sqlite.readers import Readers
from chatbox.storage.sqlite.records import SqliteRecords
from chatbox.storage.sqlite.schema import connect, migrate

T = TypeVar("T")

READERS = 2
NO_CHANGE = Change()


class SqliteStorage(CellStorage):
    """Keeps everything in the file at ``path``, which is made if it is missing, for its owner alone to read.

    Opening raises ``StorageLocked`` when another process has it, ``StorageCorrupt`` when it is no database, and
    ``StorageError`` when it can't be opened.
    """

    _lock: FileLock
    _ledger: Ledger
    _writer: GroupCommit
    _readers: Readers

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        self._records = SqliteRecords(self._write, self._read)
        self._overview = SqliteOverview(self._write, self._read)

    async def create(self, session: Session) -> Session:
        return await self._writer.run(bind(self._ledger.create, session=session))

    async def get(self, session_id: str) -> Session | None:
        return await self._readers.run(bind(queries.get, session_id=session_id))

    async def find(self, query: SessionQuery) -> list[Session]:
        return await self._readers.run(bind(queries.find, query=query))

    async def append(self, entry: Entry, change: Change | None = None, *, fence: int | None = None) -> Appended:
        return await self._writer.run(bind(self._ledger.append, entry=entry, change=change or NO_CHANGE, fence=fence))

    async def read(
        self, session_id: str, *, after: int = 0, before: int | None = None, limit: int = 500
    ) -> list[Entry]:
        work = bind(queries.read, session_id=session_id, after=after, before=before, limit=limit)
        return await self._readers.run(work)

    async def keep(self, partial: Partial) -> None:
        await self._writer.run(bind(self._ledger.keep, partial=partial))

    async def partial(self, session_id: str) -> Partial | None:
        return await self._readers.run(bind(queries.partial, session_id=session_id))

    async def delete(self, session_id: str, *, last_index: int | None = None) -> bool:
        return await self._writer.run(bind(self._ledger.delete, session_id=session_id, last_index=last_index))

    async def usage(self, user_id: str, day: str) -> int:
        return await self._readers.run(bind(queries.usage, user_id=user_id, day=day))

    @property
    def records(self) -> SqliteRecords:
        return self._records

    @property
    def overview(self) -> SqliteOverview:
        return self._overview

    async def check(self) -> None:
        await self._writer.run(self._ledger.probe)
        await self._readers.run(queries.probe)

    async def stale(self, prefix: str, batch: int) -> AsyncIterator[list[Cell]]:
        for place in cells.PLACES:
            after: int | None = 0
            while after is not None:
                walk = bind(cells.walk, place=place, after=after, prefix=prefix, limit=batch)
                found, after = await self._readers.run(walk)
                if found:
                    yield found

    async def rewrite(self, renewals: Sequence[Renewal]) -> int:
        return await self._writer.run(bind(self._ledger.rewrite, renewals=renewals))

    async def key_checks(self) -> dict[str, str]:
        return await self._readers.run(queries.key_checks)

    async def replace_key_checks(self, checks: Mapping[str, str]) -> None:
        await self._writer.run(bind(self._ledger.replace_key_checks, checks=checks))

    async def sizes(self) -> tuple[int, int]:
        return await self._readers.run(queries.sizes)

    async def copies(self, after: str, limit: int) -> list[Copy]:
        return await self._readers.run(bind(queries.copies, after=after, limit=limit))

    async def spent(self, after: tuple[str, str], limit: int) -> list[Spent]:
        return await self._readers.run(bind(queries.spent, after=after, limit=limit))

    async def counted(self, after: tuple[int, int], limit: int) -> list[Counted]:
        return await self._readers.run(bind(queries.counted, after=after, limit=limit))

    async def recorded(self, after: tuple[str, str], limit: int) -> list[Record]:
        return await self._read(bind(records.after, place=after, limit=limit))

    async def __aenter__(self) -> Self:
        self._lock, writer, readers = await asyncio.to_thread(open_files, self._path)
        self._ledger = Ledger(writer)
        self._writer, self._readers = GroupCommit(writer, self._ledger.flush, self._ledger.undone), Readers(readers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._readers.close()
        await self._writer.close()
        self._lock.release()

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._writer.run(bind(self._ledger.run, work))

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._readers.run(work)


def open_files(path: Path) -> tuple[FileLock, sqlite3.Connection, list[sqlite3.Connection]]:
    """The lock, the writing connection to an up-to-date database, and the reading ones."""
    with ExitStack() as undo:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            undo.callback(lock.release)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            writer, *readers = [undo.enter_context(closing(connect(path))) for _ in range(1 + READERS)]
            migrate(writer)
        except OSError as error:
            raise StorageError(f"{path} can't be opened: {error.strerror}") from error
        except sqlite3.Error as error:
            raise translated(error, f"{path} can't be opened") from error
        undo.pop_all()
    return lock, writer, readers
