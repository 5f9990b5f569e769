"""A deadline that moves often and costs nothing to move."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Deadline:
    """``async with Deadline(first, between)`` raises ``TimeoutError`` when ``feed`` was not called within ``first`` s,
    or later not for ``between`` s.

    The timer looks from time to time and is not moved by ``feed``, which is one assignment.
    """

    def __init__(self, first: float, between: float) -> None:
        self._first, self._between = first, between
        self._loop = asyncio.get_running_loop()
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timeout = asyncio.timeout(None)

    def feed(self) -> None:
        """Something came: wait for the next."""
        self._due = self._loop.time() + self._between

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._due = self._loop.time() + self._first
        self._look()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer:
            self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def _look(self) -> None:
        """Look again when it is due, or earlier when ``feed`` could have brought that forward."""
        now = self._loop.time()
        if now >= self._due:
            self._timeout.reschedule(now)
        else:
            self._timer = self._loop.call_at(min(self._due, now + self._between), self._look)
