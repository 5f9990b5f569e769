"""A TCP proxy whose connections can be cut as a bad network would."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Proxy:
    """Passes bytes to a local port. ``refusing`` aborts new connections; a ``hole`` takes them and stays mute."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._transports: set[asyncio.WriteTransport] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._mute: set[asyncio.StreamReader] = set()
        self._readers: set[asyncio.StreamReader] = set()
        self.refusing = False
        self.hole = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def base(self, address: str) -> str:
        """The same address through the proxy."""
        return address.replace(f":{self._target}/", f":{self.port}/")

    def cut(self) -> None:
        """Reset every connection."""
        for transport in list(self._transports):
            transport.abort()
        self._transports.clear()

    def swallow(self) -> None:
        """Be a black hole: what is sent gets lost, and no side is told. Connections that are there stay so."""
        self.hole = True
        self._mute |= self._readers

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._transports |= {writer.transport, far_writer.transport}
        if self.hole:
            self._mute |= {reader, far_reader}
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pass(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        self._readers.add(source)
        try:
            while data := await source.read(65536):
                if source not in self._mute:
                    sink.write(data)
                    await sink.drain()
        except ConnectionError:
            pass
        finally:
            self._readers.discard(source)
            if source not in self._mute:
                sink.close()
                self._transports.discard(sink.transport)
