"""A process that uses a store and tells what it was promised, for tests that kill it or break its disk.

``python -m tests.storage.program TASK FILE`` prints lines: ``open``, ``acked ID``, ``busy ID``, ``rotated N``. In
place of a file, ``URL DATABASE`` is a store in MongoDB.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from chatbox.errors import StorageBusy
from chatbox.session import Change
from chatbox.storage.base import CellStorage, Storage
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.mongo import MongoSettings, MongoStorage
from chatbox.storage.records import Record, Records
from chatbox.storage.rotate import rotate
from chatbox.storage.sqlite import SqliteStorage
from tests.storage.values import entry, ring, session, turn

SESSION = "session"
CALLERS = 8


def tell(*words: object) -> None:
    """One line in one system call: a kill can't cut it, and strace shows when it was."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def started(storage: Storage) -> None:
    if await storage.get(SESSION) is None:
        await storage.create(session(id=SESSION))
    tell("open")


async def append(storage: Storage, message_id: str, content: str = "What is the capital of France?") -> None:
    try:
        await storage.append(entry(SESSION, message_id=message_id, content=content), Change(tokens=1))
    except StorageBusy:
        tell("busy", message_id)
    else:
        tell("acked", message_id)


async def flood(inner: CellStorage) -> None:
    """Append from several callers, for ever."""
    async with EncryptedStorage(inner, ring("new")) as storage:
        await started(storage)
        await asyncio.gather(*(caller(storage, name, 0) for name in range(CALLERS)))


async def steady(inner: CellStorage) -> None:
    """Append a hundred times a second, for ever."""
    async with EncryptedStorage(inner, ring("new")) as storage:
        await started(storage)
        await caller(storage, 0, 0.01)


async def caller(storage: Storage, name: int, pause: float) -> None:
    for number in count():
        await append(storage, f"{os.getpid()}-{name}-{number:06}")
        await asyncio.sleep(pause)


async def note(inner: CellStorage) -> None:
    """Add records and replace each once, from several callers, for ever."""
    async with EncryptedStorage(inner, ring("new")) as storage:
        await started(storage)
        await asyncio.gather(*(noter(storage.records, name) for name in range(CALLERS)))


async def noter(records: Records, name: int) -> None:
    for number in count():
        new = Record(kind="alert", id=f"{os.getpid()}-{name}-{number}", due=number, data={"text": "Help"})
        assert await records.add(new)
        assert await records.replace(replace(new, due=None))
        tell("acked", new.id)


async def few(inner: SqliteStorage) -> None:
    """A hundred appends from several callers."""
    async with EncryptedStorage(inner, ring("new")) as storage:
        await started(storage)
        for start in range(0, 100, CALLERS):
            await asyncio.gather(*(append(storage, f"id-{number:06}") for number in range(start, start + CALLERS)))


async def unsafe(inner: SqliteStorage) -> None:
    """The same without flushing: the mutant that a check of durability has to find."""
    async with inner:
        inner._ledger._db.execute("PRAGMA synchronous = OFF")
        await started(inner)
        await asyncio.gather(*(append(inner, f"id-{number:06}") for number in range(30)))


async def fill(inner: SqliteStorage) -> None:
    """Append until the disk is full, make room, and go on; then tell what is there."""
    ballast = inner._path.with_name("ballast")
    ballast.write_bytes(b"x" * 400_000)
    async with EncryptedStorage(inner, ring("new")) as storage:
        await started(storage)
        for number in range(200):
            await append(storage, f"full-{number}", "x" * 8_000)
        ballast.unlink()
        for number in range(5):
            await append(storage, f"again-{number}")
        for found in await storage.read(SESSION):
            tell("stored", found.message_id)


async def hold(inner: SqliteStorage) -> None:
    """Keep the store open, for ever."""
    async with inner:
        tell("open")
        await asyncio.Event().wait()


async def renew(inner: CellStorage) -> None:
    """Rotate the keys."""
    async with EncryptedStorage(inner, ring("new", "old")):
        tell("open")
        await rotate(inner, ring("new", "old"), lambda done: tell("rotated", done))


async def one(inner: CellStorage) -> None:
    """One append that moves the user's mark, names the session and takes the turn."""
    async with EncryptedStorage(inner, ring("new")) as storage:
        await started(storage)
        change = Change(active=True, first_name="Geography", takes_turn="answer", tokens=1)
        await storage.append(turn(SESSION, message_id="one"), change)
        tell("acked", "one")


def store(place: str, database: str = "") -> CellStorage:
    return MongoStorage(MongoSettings(place, database)) if database else SqliteStorage(Path(place))


TASKS: dict[str, Callable[[Any], Coroutine[None, None, None]]] = {
    task.__name__: task for task in (flood, steady, note, few, unsafe, fill, hold, renew, one)
}

if __name__ == "__main__":
    asyncio.run(TASKS[sys.argv[1]](store(*sys.argv[2:])))
