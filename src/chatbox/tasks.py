"""Background tasks with an owner: none is lost, none dies in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog

from chatbox.errors import ChatboxError

T = TypeVar("T")
log = structlog.get_logger(component="tasks")

PAUSE = 1.0
"""Seconds before work that must not end is begun again."""
CANCEL_AGAIN = 1.0
"""Seconds after which what still runs is cancelled once more: a driver may take a cancellation for an error of its own,
and go on."""


class Tasks:
    """A group of background tasks that ends with its ``async with`` block: what still runs is cancelled and awaited.

    A task that fails in a way that nobody foresaw is logged and counted in ``failed``; what it may raise as a
    ``ChatboxError`` is the business of who awaits it.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self.failed = 0

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run ``work`` beside everything else."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def keep(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> asyncio.Task[None]:
        """Run work that must not end: when it fails, it is begun again after ``PAUSE``."""
        return self.start(self._again_and_again(work, name), name)

    def __len__(self) -> int:
        return len(self._running)

    async def _again_and_again(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the work goes on
                self._report(name, error)
            await asyncio.sleep(PAUSE)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, ChatboxError):
            self._report(task.get_name(), error)

    def _report(self, name: str, error: BaseException) -> None:
        self.failed += 1
        log.error("a background task failed", task=name, exc_info=error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._running:
            for task in self._running:
                task.cancel()
            await asyncio.wait(self._running, timeout=CANCEL_AGAIN)
