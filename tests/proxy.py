"""A TCP proxy that does to connections what networks do: cut them, delay them, slow them down, swallow them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, Self

TO_CLIENT, TO_SERVER = "to the client", "to the server"


class Link:
    """One connection through the proxy. ``frozen``: nothing passes any more, and neither side is told."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter, limits: dict[str, int | None]) -> None:
        self.near, self.far = near, far
        self.limits = limits
        self.frozen = False

    def reset(self) -> None:
        for writer in (self.near, self.far):
            writer.transport.abort()


class Way(NamedTuple):
    """One direction of a link."""

    name: str
    source: asyncio.StreamReader
    sink: asyncio.StreamWriter


class Proxy:
    """Passes bytes to local ports: to the first of ``targets`` that answers, each new connection beginning one further.

    ``cut_after`` and ``cut_sent_after`` end a connection once so many bytes came from the server, or from the client
    (one number a connection, in their order); ``cuts`` counts these. ``gentle``: after exactly that byte, as a process
    ends it; else by a reset, which may take what was not read yet with it.
    ``delay`` holds every chunk for so many seconds, ``throttle`` passes so many bytes a second (0: any number).
    While ``hole`` is set, nothing passes and nothing ends. Bytes in a direction named in ``dropping`` are lost.
    While ``refusing``, new connections are reset. ``carried`` counts the bytes that were passed on, by direction.
    """

    def __init__(self, *targets: int) -> None:
        self.targets: Sequence[int] = targets
        self.cut_after: list[int] = []
        self.cut_sent_after: list[int] = []
        self.gentle = False
        self.delay = 0.0
        self.throttle = 0
        self.dropping: set[str] = set()
        self.refusing = False
        self.accepted = 0
        self.cuts = 0
        self.carried = {TO_CLIENT: 0, TO_SERVER: 0}
        self._open = asyncio.Event()
        self._open.set()
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def base(self, address: str) -> str:
        """The same address through the proxy."""
        for target in self.targets:
            address = address.replace(f":{target}", f":{self.port}")
        return address

    def cut(self) -> None:
        """Reset every connection."""
        for link in self._links:
            link.reset()
        self._links.clear()

    def cut_in(self, count: int, way: str = TO_CLIENT) -> None:
        """End the open connections after so many more bytes in that direction."""
        for link in self._links:
            link.limits[way] = count

    def freeze(self) -> None:
        """Leave every connection half-open: nothing passes and nothing ends. New ones are not touched."""
        for link in self._links:
            link.frozen = True

    @property
    def frozen(self) -> int:
        """Connections that are half-open."""
        return sum(link.frozen for link in self._links)

    @property
    def hole(self) -> bool:
        return not self._open.is_set()

    @hole.setter
    def hole(self, closed: bool) -> None:
        (self._open.clear if closed else self._open.set)()

    def passed(self, link: Link, way: str, data: bytes) -> bytes:
        """What of these bytes is passed on."""
        return b"" if way in self.dropping or link.frozen else data

    # -- one connection ------------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        self.accepted += 1
        far = await self._reach()
        if far is None:
            writer.transport.abort()
            return
        far_reader, far_writer = far
        limits = {TO_CLIENT: taken(self.cut_after), TO_SERVER: taken(self.cut_sent_after)}
        link = Link(writer, far_writer, limits)
        self._links.add(link)
        ways = (Way(TO_SERVER, reader, far_writer), Way(TO_CLIENT, far_reader, writer))
        self._spawn(self._carry(link, ways))

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        targets = list(self.targets)
        for number in range(len(targets)):
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", targets[(self.accepted + number) % len(targets)])
        return None

    def _spawn(self, carrying) -> None:
        task = asyncio.create_task(carrying)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, link: Link, ways: tuple[Way, ...]) -> None:
        """Both directions, until one is cut or both have ended."""
        tasks = [asyncio.create_task(self._pass(link, way)) for way in ways]
        try:
            for finished in asyncio.as_completed(tasks):
                if await finished:
                    break
        finally:
            for task in tasks:
                task.cancel()
            link.reset()
            self._links.discard(link)

    async def _pass(self, link: Link, way: Way) -> bool:
        """Pass bytes until their source ends. True: the connection is over, in both directions."""
        try:
            while data := await way.source.read(65536):
                await self._hold(len(data))
                data = self.passed(link, way.name, data)
                room = link.limits[way.name]
                if room is not None and len(data) >= room:
                    await self._cut_at(way, data[:room])
                    return True
                link.limits[way.name] = None if room is None else room - len(data)
                self.carried[way.name] += len(data)
                way.sink.write(data)
                await way.sink.drain()
            if link.frozen:
                await asyncio.Event().wait()
            way.sink.write_eof()
        except (OSError, RuntimeError):
            return True
        return False

    async def _hold(self, size: int) -> None:
        if wait := self.delay + (size / self.throttle if self.throttle else 0.0):
            await asyncio.sleep(wait)
        await self._open.wait()

    async def _cut_at(self, way: Way, last: bytes) -> None:
        self.cuts += 1
        self.carried[way.name] += len(last)
        way.sink.write(last)
        if self.gentle:
            way.sink.close()
            await way.sink.wait_closed()
        else:
            await asyncio.sleep(0)


def taken(numbers: list[int]) -> int | None:
    """The first number, taken off its list."""
    return numbers.pop(0) if numbers else None
