"""The open sockets of this process: how many each user has, which replaces which, and what time does to them."""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from chatbox.backplane.base import Quotas
from chatbox.errors import TooManyConnections, Unavailable
from chatbox.metrics import Metrics
from chatbox.protocol import Close

TICK = 1.0
SOCKETS = "sockets"
"""The pool of open sockets by user."""
COME_BACK = 5_000
"""Clients that are refused, or have to leave at once, come back after so many ms, or spread over them."""


class Socket(ABC):
    """An open socket as the registry sees it."""

    id: str
    user_id: str

    @property
    @abstractmethod
    def missed_ping(self) -> bool:
        """Whether a ping has been waiting for its pong."""

    @abstractmethod
    def close(self, code: int, reason: str) -> None: ...

    @abstractmethod
    def abort(self) -> None:
        """Drop the line without a word."""

    @abstractmethod
    def hint(self, event: str, **metadata: str) -> None:
        """Send a notification that is not part of the log."""

    @abstractmethod
    def tick(self, now: float) -> int:
        """Look at the clock (Unix s): token, write deadline. Returns the frames sent since the last tick."""


class Connections:
    """``limit`` sockets in this process; a user's are limited over all replicas."""

    def __init__(self, limit: int, quotas: Quotas, metrics: Metrics) -> None:
        self._limit = limit
        self._quotas = quotas
        self._metrics = metrics
        self._by_user: defaultdict[str, set[Socket]] = defaultdict(set)
        self._count = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self.draining = False

    def __len__(self) -> int:
        return self._count

    @asynccontextmanager
    async def place(self, user_id: str, socket_id: str) -> AsyncIterator[None]:
        """A place for one more socket. Raises ``Unavailable``, ``TooManyConnections``."""
        self._refuse_while_draining()
        if self._count >= self._limit:
            raise Unavailable("The server is full. Come back in a moment.", retry_after=COME_BACK)
        self._count += 1
        self._empty.clear()
        try:
            await self._enter_pool(user_id, socket_id)
            self._refuse_while_draining()
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._empty.set()
            await self._quotas.leave(SOCKETS, user_id, socket_id)

    def _refuse_while_draining(self) -> None:
        if self.draining:
            raise Unavailable("The server is draining. Come back in a moment.", retry_after=COME_BACK)

    async def _enter_pool(self, user_id: str, socket_id: str) -> None:
        if await self._quotas.enter(SOCKETS, user_id, socket_id):
            return
        await self._drop_dead(user_id)
        if not await self._quotas.enter(SOCKETS, user_id, socket_id):
            raise TooManyConnections("You have too many connections open. Close one.", retry_after=COME_BACK)

    @contextmanager
    def enter(self, socket: Socket) -> Iterator[None]:
        """Look after the socket while it is open."""
        self._by_user[socket.user_id].add(socket)
        self._metrics.websocket_connections_total.inc()
        start = time.monotonic()
        try:
            yield
        finally:
            self._forget(socket)
            self._metrics.websocket_connections_total.dec()
            self._metrics.websocket_connection_duration_seconds.observe(time.monotonic() - start)

    def tick(self) -> None:
        """Let every socket look at the clock."""
        now = time.time()
        sent = sum([socket.tick(now) for sockets in list(self._by_user.values()) for socket in list(sockets)])
        self._metrics.messages_sent_total.inc(sent)

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            self.tick()

    def warn(self, window: float = 0.0) -> None:
        """Refuse new sockets and tell every client when to come back: spread over the ``window`` s that sockets stay
        open, so that it can go elsewhere before."""
        self.draining = True
        spread = round(800 * window) or COME_BACK
        for socket in self._all():
            socket.hint("drain", retry_after=str(random.randrange(spread)))  # noqa: S311 - spreads load

    async def close_all(self, deadline: float) -> None:
        """Close all sockets at once; those still there at ``deadline`` (monotonic s) are dropped."""
        for socket in self._all():
            socket.close(Close.DRAINING, "the server is going down")
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await self._empty.wait()
        for socket in self._all():
            socket.abort()

    def _all(self) -> list[Socket]:
        return [socket for sockets in self._by_user.values() for socket in sockets]

    async def _drop_dead(self, user_id: str) -> None:
        for socket in list(self._by_user.get(user_id, ())):
            if socket.missed_ping:
                self._forget(socket)
                socket.abort()
                await self._quotas.leave(SOCKETS, user_id, socket.id)

    def _forget(self, socket: Socket) -> None:
        sockets = self._by_user.get(socket.user_id, set())
        sockets.discard(socket)
        if not sockets:
            self._by_user.pop(socket.user_id, None)
