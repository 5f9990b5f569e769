"""Keeps a line to Redis up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from redis.exceptions import RedisError

from chatbox.backplane.redis.line import BACK_OFF, Address, Line, Then, Timing, Waiting, answer
from chatbox.backplane.redis.scripts import TEXTS, Argument
from chatbox.errors import BackplaneDown

log = structlog.get_logger(component="backplane")

T = TypeVar("T")


class Link:
    """Keeps a line up: connects again, with growing pauses, whenever it breaks.

    Each new line gets the scripts, and ``greet`` is awaited, before others may use it; then ``risen`` is called.
    ``number`` counts the lines.
    """

    def __init__(
        self, address: Address, timing: Timing, greet: Callable[[Line], Awaitable[None]], risen: Callable[[], None]
    ) -> None:
        self._address = address
        self._timing = timing
        self._greet = greet
        self._line: Line | None = None
        self._reason = "not connected yet"
        self._risen = risen
        self.number = 0

    @property
    def up(self) -> bool:
        return self._line is not None and not self._line.ended

    @property
    def down(self) -> BackplaneDown:
        """Why it is not up."""
        return self._address.down(self._reason)

    def send(self, command: tuple[Argument, ...], then: Then[T]) -> asyncio.Future[T]:
        """See ``Line.send``. While the link is down, ``then`` gets ``BackplaneDown`` at once."""
        if self._line:
            return self._line.send(command, then)
        waiting = Waiting(command, then, asyncio.get_running_loop().create_future())
        waiting.end(self.down)
        return waiting.future

    async def open(self) -> None:
        """Connect for the first time. Raises ``BackplaneDown``."""
        try:
            async with asyncio.timeout(self._timing.opening):
                self._rise(await self._connected())
        except TimeoutError:
            text = f"{self.down}. Start Redis there, or give the right address in REDIS_URL"
            raise BackplaneDown(text) from None

    async def keep(self) -> None:
        """Connect again whenever the line breaks, until cancelled."""
        while True:
            if self._line:
                self._reason = await self._line.end()
                self._line = None
                log.warning("the line to Redis broke; this replica goes on alone", reason=self._reason)
            self._rise(await self._connected())
            log.info("the line to Redis is up again")

    async def close(self) -> None:
        line, self._line = self._line, None
        self._reason = "closed"
        if line:
            await line.close()

    def _rise(self, line: Line) -> None:
        self._line = line
        self.number += 1
        self._risen()

    async def _connected(self) -> Line:
        failures = 0
        while True:
            try:
                return await self._connect()
            except (RedisError, BackplaneDown, OSError) as error:
                self._reason = str(error).rstrip(".") or type(error).__name__
            failures += 1
            await asyncio.sleep(BACK_OFF.compute(failures))

    async def _connect(self) -> Line:
        line = Line(self._address, await self._address.connect())
        try:
            await asyncio.gather(*[line.send(("SCRIPT", "LOAD", text), answer) for text in TEXTS.values()])
            await self._greet(line)
        except BaseException:
            await line.close()
            raise
        return line
