"""An answer while a model writes it: pieces to the backplane, deadlines, attempts, and every way that it can end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Self

import msgspec
import stamina
import structlog

from chatbox.backplane.base import Backplane, Stored, Turn
from chatbox.deadline import Deadline
from chatbox.errors import (
    Fenced,
    ModelTooSlow,
    ModelUnavailable,
    NotFound,
    ProviderError,
    ProviderTimeout,
    StorageError,
    Unavailable,
)
from chatbox.llm.base import End, Event, File, Piece, Prompt, Provider, Usage
from chatbox.metrics import Metrics
from chatbox.session import STEP, Entry, Finish, Kind, Sender, new_id, now_ms
from chatbox.storage.base import Partial, Storage
from chatbox.tasks import Tasks

log = structlog.get_logger(component="reply")

KEEP_SECONDS = 1.0
KEEP_BYTES = 4096
KEEP_SLOTS = 8
"""Times in ``KEEP_SECONDS`` at which texts are kept: those of many answers share one commit."""
MAX_PIECES = STEP - 1
"""Positions between two entries."""


class ReplyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Deadlines in seconds and sizes in bytes. ``attempts`` counts the first one."""

    system_prompt: str = ""
    total: float = 120.0
    first_piece: float = 30.0
    between_pieces: float = 30.0
    attempts: int = 3
    back_off: float = 0.5
    max_back_off: float = 8.0
    max_size: int = 1 << 20
    store_patience: float = 60.0


class Draft:
    """The answer of one turn. ``finish`` is None until it has ended, or was told to."""

    def __init__(self, session_id: str, turn: Turn) -> None:
        self.session_id = session_id
        self.turn = turn
        self.finish: Finish | None = None
        self.texts: list[str] = []
        self.size = 0
        self.usage: Usage | None = None
        self.state = ""
        self.started = time.monotonic()
        self.first_ms: int | None = None
        self.writing: asyncio.Task[None] | None = None

    def end(self, finish: Finish) -> None:
        """Finish now and keep what is there."""
        if self.finish is None:
            self.finish = finish
            if self.writing:
                self.writing.cancel()

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


class Writer:
    """Lets models write drafts."""

    def __init__(
        self, storage: Storage, backplane: Backplane, limits: ReplyLimits, metrics: Metrics, tasks: Tasks
    ) -> None:
        self._storage = storage
        self._backplane = backplane
        self._limits = limits
        self._metrics = metrics
        self._tasks = tasks

    async def write(self, draft: Draft, provider: Provider, prompt: Prompt) -> Unavailable | None:
        """Let the model speak until ``draft.finish`` is set. Returns what the user is told when it failed."""
        label = provider.settings.id
        self._metrics.llm_requests_total.labels(label).inc()
        draft.writing = self._tasks.start(self._attempt(draft, provider, prompt), f"stream {draft.session_id}")
        await asyncio.wait([draft.writing])
        error = None if draft.writing.cancelled() else draft.writing.exception()
        draft.writing = None
        self._metrics.llm_latency_seconds.labels(label).observe(draft.seconds)
        if error is None or draft.finish is not None:
            draft.finish = draft.finish or Finish.INTERRUPTED
            return None
        self._metrics.llm_errors_total.labels(label).inc()
        return failed(draft, error)

    async def _attempt(self, draft: Draft, provider: Provider, prompt: Prompt) -> None:
        """Ask the model; again, when it failed before its first piece, in a way that may pass, and time is left."""
        limits = self._limits

        def worth_another(error: Exception) -> bool | float:
            if not isinstance(error, ProviderError) or not error.transient or draft.texts:
                return False
            log.warning("the model did not answer", provider=provider.settings.id, error=str(error))
            if error.retry_after is None:
                return True
            return error.retry_after if error.retry_after < limits.total - draft.seconds else False

        attempts = stamina.retry_context(
            on=worth_another,
            attempts=limits.attempts,
            timeout=limits.total,
            wait_initial=limits.back_off,
            wait_max=limits.max_back_off,
            wait_jitter=limits.back_off,
        )
        try:
            async with asyncio.timeout(limits.total):
                async for attempt in attempts:
                    with attempt:
                        await self._listen(draft, provider, prompt)
        except TimeoutError:
            raise ProviderTimeout(f"a deadline passed after {draft.seconds:.1f} s") from None

    async def _listen(self, draft: Draft, provider: Provider, prompt: Prompt) -> None:
        limits = self._limits
        with _Keeper(self._tasks, lambda: self._keep(draft)) as keeper:
            async with (
                Deadline(limits.first_piece, limits.between_pieces) as deadline,
                aclosing(provider.stream(prompt)) as events,
            ):
                async for event in events:
                    deadline.feed()
                    await self._take(draft, provider, event)
                    keeper.grew(draft.size)
                    if draft.finish is not None and not isinstance(event, End):
                        return

    async def _take(self, draft: Draft, provider: Provider, event: Event) -> None:
        match event:
            case Piece(text):
                if not draft.texts:
                    draft.first_ms = round(draft.seconds * 1000)
                    self._metrics.llm_first_token_seconds.labels(provider.settings.id).observe(draft.seconds)
                await self._piece(draft, text)
            case File():
                await self._file(draft, event)
            case Usage():
                draft.usage = event
            case End(reason, state):
                draft.finish, draft.state = draft.finish or Finish(reason), state

    async def _piece(self, draft: Draft, text: str) -> None:
        """Pass a piece on, or what of it fits into an answer."""
        size = len(text) if text.isascii() else len(text.encode())
        room = self._limits.max_size - draft.size
        if size > room or len(draft.texts) == MAX_PIECES:
            text = text.encode()[:room].decode(errors="ignore")
            draft.finish = draft.finish or Finish.LENGTH
        if text and len(draft.texts) < MAX_PIECES:
            draft.texts.append(text)
            draft.size += min(size, room)
            await self._backplane.push(draft.session_id, draft.turn.answer_id, text)

    async def _file(self, draft: Draft, file: File) -> None:
        metadata = {"answer_id": draft.turn.answer_id} | ({"mime_type": file.mime_type} if file.mime_type else {})
        entry = Entry(
            session_id=draft.session_id,
            kind=Kind.FILE_UPLOAD,
            message_id=new_id(),
            sender=Sender.AI,
            content=file.name,
            file_url=file.url,
            timestamp=now_ms(),
            metadata=metadata,
        )
        stored = await self._storage.append(entry, fence=draft.turn.fence)
        await self._backplane.publish(draft.session_id, Stored(stored.entry))

    async def _keep(self, draft: Draft) -> None:
        kept = Partial(draft.session_id, draft.turn.answer_id, draft.turn.fence, draft.text)
        try:
            await self._storage.keep(kept)
        except Fenced:
            draft.end(Finish.INTERRUPTED)
        except (StorageError, NotFound) as error:
            log.warning("the text so far could not be kept", session=draft.session_id, error=str(error))


class _Keeper:
    """Keeps the text so far within ``KEEP_SECONDS`` after it has grown, or as soon as ``KEEP_BYTES`` are new."""

    def __init__(self, tasks: Tasks, keep: Callable[[], Coroutine[None, None, None]]) -> None:
        self._tasks = tasks
        self._keep = keep
        self._task: asyncio.Task[None] | None = None
        self._enough = asyncio.Event()
        self._size = self._kept = 0

    def grew(self, size: int) -> None:
        if size == self._size:
            return
        self._size = size
        if size - self._kept >= KEEP_BYTES:
            self._enough.set()
        if self._task is None or self._task.done():
            self._task = self._tasks.start(self._soon(), "keep the text so far")

    async def _soon(self) -> None:
        while self._kept < self._size:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(next_slot(asyncio.get_running_loop().time())):
                    await self._enough.wait()
            self._enough.clear()
            self._kept = self._size
            await self._keep()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._task:
            self._task.cancel()


def next_slot(now: float) -> float:
    """The last slot within ``KEEP_SECONDS`` from now."""
    slot = KEEP_SECONDS / KEEP_SLOTS
    return (now + KEEP_SECONDS) // slot * slot


def failed(draft: Draft, error: BaseException) -> Unavailable | None:
    """Note how the model failed, or that the turn was lost. What the user is told says nothing about the provider; of a
    late writer, nothing."""
    if isinstance(error, ProviderTimeout):
        draft.finish = Finish.TIMEOUT
        log.error("the model took too long", error=str(error))
        return ModelTooSlow("The model took too long to answer. Try again.")
    if isinstance(error, Fenced | NotFound):
        draft.finish = Finish.INTERRUPTED
        return None
    draft.finish = Finish.ERROR
    log.error("the model failed", error=str(error), kind=type(error).__name__)
    wait = error.retry_after if isinstance(error, ProviderError) else None
    return ModelUnavailable(
        "The model is not available now. Try again.", retry_after=None if wait is None else round(wait * 1000)
    )
