"""Group commit: one thread that writes, and one flush for all that is waiting.

While a commit waits for the disk, the next operations gather; they become the next transaction. So the number of
flushes does not grow with the number of callers.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar

from chatbox.errors import ChatboxError, StorageBusy, StorageCorrupt, StorageError

T = TypeVar("T")

QUEUE = 4096
"""Operations that may wait; one more is refused with ``StorageBusy``."""

BATCH = 512
"""Operations in one transaction at most."""

TRANSIENT = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)
"""Primary result codes of SQLite after which the same call may succeed later."""

CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Job(NamedTuple):
    work: Callable[[], Any]
    done: asyncio.Future[Any]


class Outcome(NamedTuple):
    done: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class GroupCommit:
    """Runs operations in the order they came, many in one transaction; each one wholly or not at all.

    An operation refuses by a ``ChatboxError``, before it writes anything. One that raises anything else fails alone:
    the transaction is undone, and each of its operations gets one of its own. When SQLite fails, all operations of the
    transaction fail for that reason and nothing of them is stored. ``undone`` follows every undone transaction;
    ``ready`` comes before each commit and may write too.

    Belongs to the event loop that is running when it is made, and owns the connection.
    """

    def __init__(self, db: sqlite3.Connection, ready: Callable[[], None], undone: Callable[[], None]) -> None:
        self._db = db
        self._ready = ready
        self._undone = undone
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._waiting = 0
        self._closing = False
        self._thread = Thread(target=self._work, name="chatbox-sqlite-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[], T]) -> T:
        """The result of ``work``, after it is durable. If cancelled, it may or may not happen."""
        if self._closing:
            raise StorageBusy("the store is closed")
        if self._waiting >= QUEUE:
            raise StorageBusy(f"{QUEUE} writes are waiting for the disk")
        done: asyncio.Future[T] = self._loop.create_future()
        self._waiting += 1
        self._queue.put(Job(work, done))
        return await done

    async def close(self) -> None:
        """Finish what is waiting, then close the connection."""
        self._closing = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while batch := self._take():
            outcomes = self._commit(batch)
            with contextlib.suppress(RuntimeError):  # the loop was closed without closing the store
                self._loop.call_soon_threadsafe(self._settle, outcomes)
        self._db.close()

    def _take(self) -> list[Job]:
        """All that is waiting, at least one; nothing when it is time to end."""
        job = self._queue.get()
        batch: list[Job] = []
        while job is not None:
            batch.append(job)
            if len(batch) == BATCH:
                break
            try:
                job = self._queue.get_nowait()
            except Empty:
                break
        if job is None and batch:
            self._queue.put(None)
        return batch

    def _commit(self, batch: list[Job]) -> list[Outcome]:
        try:
            return self._transaction(batch)
        except Exception as error:  # noqa: BLE001 - the thread outlives every error, each caller gets it
            self._undo()
            if len(batch) == 1 or isinstance(error, sqlite3.OperationalError):
                return [Outcome(job.done, error=translated(error)) for job in batch]
        return [outcome for job in batch for outcome in self._commit([job])]

    def _transaction(self, batch: list[Job]) -> list[Outcome]:
        self._roll_back()
        self._db.execute("BEGIN IMMEDIATE")
        outcomes = [self._attempt(job) for job in batch]
        self._ready()
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self._overwrite()
            raise
        return outcomes

    def _attempt(self, job: Job) -> Outcome:
        try:
            return Outcome(job.done, job.work())
        except ChatboxError as refusal:
            return Outcome(job.done, error=refusal)

    def _undo(self) -> None:
        self._undone()
        with contextlib.suppress(sqlite3.Error):
            self._roll_back()

    def _roll_back(self) -> None:
        """Leave nothing of a transaction that failed: to roll it back may have failed too."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _overwrite(self) -> None:
        """Put another commit where the failed one was written.

        When only the flush failed, the commit lies whole in the write-ahead log's file, and would be taken for good if
        the process died now. Even if the flush of this one fails too, its pages replace the others.
        """
        with contextlib.suppress(sqlite3.Error):
            self._roll_back()
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            self._db.execute(f"PRAGMA user_version = {version:d}")

    def _settle(self, outcomes: list[Outcome]) -> None:
        self._waiting -= len(outcomes)
        for done, result, error in outcomes:
            if done.done():
                continue
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)


def translated(error: Exception, what: str = "the database failed") -> Exception:
    """SQLite's error as one of ours; others as they are. Its class says little: the code decides."""
    if not isinstance(error, sqlite3.Error):
        return error
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    kind = StorageBusy if code in TRANSIENT else StorageCorrupt if code in CORRUPT else StorageError
    translation = kind(f"{what}: {error}")
    translation.__cause__ = error
    return translation
