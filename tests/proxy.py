"""A TCP proxy that does to connections what networks do: cut them, delay them, swallow them."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Proxy:
    """Passes bytes to a local port.

    ``cut_after`` resets a connection once so many bytes came from the server (one number a connection, in their order).
    ``delay`` holds every chunk for so many seconds. While ``hole`` is set, nothing passes and nothing ends. While
    ``refusing``, new connections are reset.
    """

    def __init__(self, target):
        self.target = target
        self.cut_after = []
        self.delay = 0.0
        self.refusing = False
        self.accepted = 0
        self._open = asyncio.Event()
        self._open.set()
        self._writers = set()
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self):
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    @property
    def hole(self):
        return not self._open.is_set()

    @hole.setter
    def hole(self, closed):
        (self._open.clear if closed else self._open.set)()

    async def _accept(self, reader, writer):
        if self.refusing:
            writer.transport.abort()
            return
        self.accepted += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        budget = self.cut_after.pop(0) if self.cut_after else None
        for source, sink, room in ((reader, far_writer, None), (far_reader, writer, budget)):
            task = asyncio.create_task(self._pass(source, sink, room, (writer, far_writer)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source, sink, room, both):
        with suppress(ConnectionError):
            while data := await source.read(65536):
                await asyncio.sleep(self.delay)
                await self._open.wait()
                if room is not None and len(data) >= room:
                    sink.write(data[:room])
                    await asyncio.sleep(0)
                    break
                room = None if room is None else room - len(data)
                sink.write(data)
                await sink.drain()
            else:
                sink.close()
                return
        for writer in both:
            writer.transport.abort()
            self._writers.discard(writer)
