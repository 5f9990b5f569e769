"""Processes that ended without a word.

Every process has a record in the store while it runs, and removes it when it stops. A record whose process is not there
any more is of one that crashed: on this machine that is seen at once, of another one when its record has not changed
for ``SILENCE`` seconds by the clock of who looks, so that no wall clock matters.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from chatbox import __version__
from chatbox.errors import StorageError
from chatbox.notify.alerts import Alerts
from chatbox.notify.base import Alert, Event
from chatbox.notify.words import clock
from chatbox.session import new_id, now_ms
from chatbox.storage.records import Record, Records

log = structlog.get_logger(component="crashes")

KIND = "process"
BEAT = 15.0
SILENCE = 60.0
MOST = 1000

PROCESS = new_id()
"""This process, whatever its number: numbers are used again."""


class Crashes:
    """``connected`` counts open sockets; of a crashed process, the last count is told."""

    def __init__(self, records: Records, alerts: Alerts, connected: Callable[[], int]) -> None:
        self._records = records
        self._alerts = alerts
        self._connected = connected
        self._own = Record(kind=KIND, id=new_id(), key=machine(), at=now_ms())
        self._watched: dict[str, tuple[int, float]] = {}

    async def run(self) -> None:
        """Give signs of life and look for others', until cancelled."""
        while True:
            try:
                await self.beat()
                await self.look()
            except StorageError as error:
                log.warning("no sign of life can be given", error=str(error))
            await asyncio.sleep(BEAT)

    async def end(self) -> None:
        """This process stops as it should."""
        with suppress(StorageError):
            await self._records.remove(KIND, self._own.id)

    async def beat(self) -> None:
        """Give a sign of life."""
        data = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process": PROCESS,
            "version": __version__,
            "seen": now_ms(),
            "connected": self._connected(),
        }
        self._own = msgspec.structs.replace(self._own, data=data)
        if await self._records.replace(self._own):
            self._own = msgspec.structs.replace(self._own, version=self._own.version + 1)
        elif not await self._records.add(self._own):
            stored = await self._records.get(KIND, self._own.id)
            self._own = stored or self._own

    async def look(self) -> None:
        """Find processes that are not there any more."""
        found = [record for record in await self._records.find(KIND, limit=MOST) if record.id != self._own.id]
        now = time.monotonic()
        watched = {}
        for record in found:
            version, since = self._watched.get(record.id, (record.version, now))
            watched[record.id] = (record.version, now if version != record.version else since)
            if is_gone(record) or now - watched[record.id][1] >= SILENCE:
                await self._crashed(record)
        self._watched = watched

    async def _crashed(self, record: Record) -> None:
        data = record.data
        facts = {
            "Server": f"{data['host']}, process {data['pid']}, version {data['version']}",
            "Started": clock(record.at),
            "Last sign of life": clock(data["seen"]),
        }
        crash = Alert(
            id=f"{Event.CRASHED}:{record.id}",
            event=Event.CRASHED,
            at=data["seen"],
            facts=facts,
            affected=data["connected"],
        )
        await self._alerts.raise_(crash)
        await self._records.remove(KIND, record.id)
        log.error("a server has crashed", host=data["host"], pid=data["pid"])


def machine() -> str:
    """Where numbers of processes mean the same."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return "/".join(parts)


def is_gone(record: Record) -> bool:
    """Whether a process of this machine surely runs no more."""
    if record.key != machine() or record.data["process"] == PROCESS:
        return False
    pid = record.data["pid"]
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
