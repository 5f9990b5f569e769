"""A few threads that read, each with a connection of its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

from chatbox.errors import StorageBusy
from chatbox.storage.sqlite.groupcommit import translated

T = TypeVar("T")

QUEUE = 4096
"""Reads that may wait; one more is refused with ``StorageBusy``."""


class Readers:
    """Runs reads as they come, as many at once as there are connections. Owns the connections."""

    def __init__(self, connections: Sequence[sqlite3.Connection]) -> None:
        self._free: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        for db in connections:
            self._free.put(db)
        self._threads = ThreadPoolExecutor(len(connections), thread_name_prefix="chatbox-sqlite-reader")
        self._waiting = 0
        self._closing = False

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of ``work``, which sees everything that was durable when it began."""
        if self._closing:
            raise StorageBusy("the store is closed")
        if self._waiting >= QUEUE:
            raise StorageBusy(f"{QUEUE} reads are waiting for the disk")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, work)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Finish what is waiting, then close the connections."""
        self._closing = True
        await asyncio.to_thread(self._threads.shutdown)
        while not self._free.empty():
            self._free.get().close()

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        db = self._free.get()
        try:
            return work(db)
        except sqlite3.Error as error:
            raise translated(error) from error
        finally:
            self._free.put(db)
