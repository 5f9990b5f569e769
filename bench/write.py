"""Store user messages for some seconds and print how many a second: `python -m bench.write KIND SECONDS`.

``store`` is Chatbox's own: encrypted, into SQLite. ``raw`` is what it stands on: a thread that writes rows of the same
bytes into one table, all that wait in one transaction. Both flush every commit (``synchronous=FULL``) and have 64
callers, each of which waits for its message before the next.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import uvloop

from chatbox.keyring import Keyring
from chatbox.session import Change, Entry, Kind, Sender, Session, new_id, now_ms
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.seals import Seals
from chatbox.storage.sqlite import SqliteStorage

CALLERS = 64
TEXT = "How do I change the address of an order that has already been sent, and what will it cost me?"

Write = Callable[[Entry], Awaitable[object]]
Job = tuple[Entry, "asyncio.Future[None]"]


def keys() -> Keyring:
    return Keyring([("bench", bytes(range(32)))])


@asynccontextmanager
async def store(path: Path, sessions: list[str]) -> AsyncIterator[Write]:
    """Chatbox's store, told what a user's message changes."""
    change = Change(first_name="How do I change the address of an order", active=True)
    async with EncryptedStorage(SqliteStorage(path), keys()) as opened:
        for session_id in sessions:
            await opened.create(Session(id=session_id, user_id=new_id(), epoch=new_id(), start_time=now_ms()))
        yield lambda entry: opened.append(entry, change)


@asynccontextmanager
async def raw(path: Path, sessions: list[str]) -> AsyncIterator[Write]:
    writer = Writer(path, Seals(keys()).entry(message(sessions[0])).content)
    yield writer.write
    await asyncio.to_thread(writer.close)


class Writer:
    """Group commit and nothing else. Every row has the bytes of a sealed message."""

    def __init__(self, path: Path, sealed: str) -> None:
        self._path = path
        self._sealed = sealed
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = Thread(target=self._work)
        self._thread.start()

    async def write(self, entry: Entry) -> None:
        done: asyncio.Future[None] = self._loop.create_future()
        self._queue.put((entry, done))
        await done

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        db = sqlite3.connect(self._path, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE messages (session, message_id, kind, sender, content, timestamp)")
        while batch := self._take():
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?)", [self._row(entry) for entry, _ in batch])
            db.execute("COMMIT")
            self._loop.call_soon_threadsafe(_settle, batch)
        db.close()

    def _take(self) -> list[Job]:
        batch: list[Job] = []
        job = self._queue.get()
        while job is not None:
            batch.append(job)
            try:
                job = self._queue.get_nowait()
            except Empty:
                break
        return batch

    def _row(self, entry: Entry) -> tuple[Any, ...]:
        return entry.session_id, entry.message_id, entry.kind, entry.sender, self._sealed, entry.timestamp


def _settle(batch: list[Job]) -> None:
    for _, done in batch:
        done.set_result(None)


def message(session_id: str) -> Entry:
    return Entry(
        session_id=session_id,
        kind=Kind.USER_MESSAGE,
        message_id=new_id(),
        sender=Sender.USER,
        content=TEXT,
        timestamp=now_ms(),
    )


async def measure(kind: str, seconds: float) -> float:
    """Messages a second."""
    sessions = [new_id() for _ in range(CALLERS)]
    with tempfile.TemporaryDirectory(prefix="chatbox-bench-") as folder:
        async with {"raw": raw, "store": store}[kind](Path(folder, "chat.db"), sessions) as write:
            begun = time.monotonic()
            counts = await asyncio.gather(*[call(write, session_id, begun + seconds) for session_id in sessions])
            return sum(counts) / (time.monotonic() - begun)


async def call(write: Write, session_id: str, until: float) -> int:
    count = 0
    while time.monotonic() < until:
        await write(message(session_id))
        count += 1
    return count


if __name__ == "__main__":
    print(uvloop.run(measure(sys.argv[1], float(sys.argv[2]))))
