"""The connection to Redis for commands: those of one turn of the event loop go out together, replies come in order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, Generic, TypeVar, cast
from urllib.parse import urlsplit

import msgspec
import structlog
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.backoff import EqualJitterBackoff
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from chatbox.backplane.base import LEASE
from chatbox.backplane.redis.scripts import TEXTS, Argument, packed
from chatbox.errors import BackplaneDown, ConfigError

log = structlog.get_logger(component="backplane")

T = TypeVar("T")
Reply = Any  # what Redis says: bytes, int, list, None; or BackplaneDown, when it can't be known what it did
Then = Callable[[Reply], T]

BATCH = 100
"""Replies after which the loop gets a turn."""
CHUNK = 200
"""Things that are worked on before the loop gets a turn."""
LIVES = 3
"""Pulses after which who is silent counts as dead."""
BACK_OFF = EqualJitterBackoff(cap=2.0, base=0.05)


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. ``patience``: without a reply for so long, Redis is away. ``opening``: so long a start tries.
    ``pulse``: how often a node says that it lives. ``deaf``: how long a probe
    may be on its way. ``keep``: how long Redis keeps what nobody renews."""

    lease: float = LEASE
    patience: float = 2.0
    opening: float = 5.0
    pulse: float = 20.0
    beacon: float = 2.0
    probe: float = 3.0
    deaf: float = 5.0
    keep: float = 600.0


def ms(seconds: float) -> int:
    return round(seconds * 1000)


K = TypeVar("K")


def chunks(things: Iterable[K]) -> Iterator[list[K]]:
    """The things as they are now, a few at a time."""
    rest = iter(list(things))
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


class Address:
    """Where Redis is. Raises ``ConfigError`` for a URL that can't be used."""

    def __init__(self, url: str, timing: Timing) -> None:
        self.patience = timing.patience
        parts = urlsplit(url)
        self.shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        try:
            pool: Any = ConnectionPool.from_url(url)
            pool.connection_kwargs.update(
                protocol=2, decode_responses=False, socket_timeout=None, socket_connect_timeout=self.patience
            )
            pool.make_connection()
        except (ValueError, TypeError, RedisError) as error:
            raise ConfigError([f"REDIS_URL: {self.shown} can't be used ({error})"]) from None
        self._pool = pool

    def down(self, reason: str) -> BackplaneDown:
        return BackplaneDown(f"Redis at {self.shown} can't be reached: {reason}")

    async def connect(self) -> AbstractConnection:
        """A new connection. Raises ``RedisError``, ``OSError``."""
        connection = self._pool.make_connection()
        try:
            async with asyncio.timeout(self.patience):
                await connection.connect()
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, TimeoutError):
                raise TimeoutError(f"no answer within {self.patience:g} s") from None
            raise
        return cast("AbstractConnection", connection)


class Waiting(Generic[T]):
    """A command on its way, and what its reply does."""

    __slots__ = ("command", "future", "sent", "then")

    def __init__(self, command: tuple[Argument, ...], then: Then[T], future: asyncio.Future[T]) -> None:
        self.command = command
        self.then = then
        self.future = future
        self.sent = 0.0

    def end(self, reply: Reply) -> None:
        """``then`` runs even if nobody waits any more."""
        try:
            result = self.then(reply)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the caller
            if not self.future.done():
                self.future.set_exception(error)
        else:
            if not self.future.done():
                self.future.set_result(result)


def answer(reply: Reply) -> Reply:
    """The reply itself, or the error that it is."""
    if isinstance(reply, BackplaneDown):
        raise reply
    return reply


class Line:
    """One connection, from its opening to its end. After the end every command is answered with ``BackplaneDown``."""

    def __init__(self, address: Address, connection: AbstractConnection) -> None:
        self._address = address
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._waiting: deque[Waiting[Any]] = deque()
        self._wake = asyncio.Event()
        self._refused: set[str] = set()
        self._life = self._loop.create_task(self._live())
        self.ended = ""

    def send(self, command: tuple[Argument, ...], then: Then[T]) -> asyncio.Future[T]:
        """Send with all else of this turn of the loop. ``then`` gets the reply, in order with those of the others."""
        waiting = Waiting(command, then, self._loop.create_future())
        if self.ended:
            waiting.end(self._address.down(self.ended))
        else:
            self._put(waiting)
        return waiting.future

    async def end(self) -> str:
        """Wait until the connection breaks, and why."""
        await asyncio.wait([self._life])
        return self.ended

    async def close(self) -> None:
        self._life.cancel()
        await asyncio.wait([self._life])

    async def _live(self) -> None:
        work = [self._loop.create_task(work) for work in (self._read(), self._write(), self._watch())]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.ended = _reason(work)
            for task in work:
                task.cancel()
            while self._waiting:
                self._waiting.popleft().end(self._address.down(self.ended))
            await asyncio.gather(*work, return_exceptions=True)
            with suppress(RedisError, OSError):
                await self._connection.disconnect(nowait=True)

    def _put(self, waiting: Waiting[Any]) -> None:
        waiting.sent = time.monotonic()
        self._waiting.append(waiting)
        self._out.append(packed(waiting.command))
        self._wake.set()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            out, self._out = self._out, []
            await self._connection.send_packed_command(out, check_health=False)

    async def _read(self) -> None:
        while True:
            for _ in range(BATCH):
                try:
                    reply = await self._connection.read_response(disable_decoding=True)
                except ReadOnlyError:
                    raise
                except ResponseError as error:
                    self._refuse(self._waiting.popleft(), error)
                else:
                    self._waiting.popleft().end(reply)
            await asyncio.sleep(0)

    def _refuse(self, waiting: Waiting[Any], error: ResponseError) -> None:
        if isinstance(error, NoScriptError):
            _, sha, *rest = waiting.command
            waiting.command = ("EVAL", TEXTS[str(sha)], *rest)
            self._put(waiting)
            return
        if type(error).__name__ not in self._refused:
            self._refused.add(type(error).__name__)
            log.error("Redis refuses a command", error=str(error), command=waiting.command[0])
        waiting.end(BackplaneDown(f"Redis refuses a command: {error}"))

    async def _watch(self) -> None:
        """End a connection on which nothing comes. When this process itself was stopped, that is no sign of it."""
        patience = self._address.patience
        tick = patience / 4
        while True:
            looked = time.monotonic()
            await asyncio.sleep(tick)
            now = time.monotonic()
            late = now - looked > 2 * tick
            if self._waiting and not late and now - self._waiting[0].sent > patience:
                raise TimeoutError(f"no answer within {patience:g} s")


def _reason(work: list[asyncio.Task[None]]) -> str:
    """Why the first of these tasks ended."""
    failures = [task.exception() for task in work if task.done() and not task.cancelled()]
    return str(next(filter(None, failures), "closed")).rstrip(".")
