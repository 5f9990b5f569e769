"""One assistant turn: the history goes to a model, its pieces to the hub, and the whole answer to the store.

A reply belongs to its session, not to a socket: nobody has to listen. Its life:

    take the turn (an entry that raises the fence) → loading → pieces … → the answer's entry, which ends the turn

The entry is written for every end there is: complete, cut by a limit, stopped, timed out, failed, interrupted. If this
process dies before, the turn stays open in the store and ``settle`` ends it with the text that was kept.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing

import msgspec
import stamina
import structlog

from chatbox import protocol
from chatbox.backplane.base import Backplane, Signal, Stored, Turn
from chatbox.deadline import Deadline
from chatbox.errors import (
    Fenced,
    ModelTooSlow,
    ModelUnavailable,
    ProviderError,
    ProviderTimeout,
    StorageBusy,
    Unavailable,
)
from chatbox.llm.base import End, File, Piece, Prompt, Provider, Usage
from chatbox.llm.history import build_prompt, estimate_tokens
from chatbox.metrics import Metrics
from chatbox.session import Change, Entry, Finish, Kind, Sender, Session, new_id, now_ms
from chatbox.storage.base import Appended, Partial, Storage
from chatbox.tasks import Tasks

log = structlog.get_logger(component="reply")

HISTORY = 500
KEEP_SECONDS = 1.0
KEEP_CHARACTERS = 4096


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


class Reply:
    """A running answer. Only its own task changes it; ``end`` asks it to finish early."""

    def __init__(self, session_id: str, user_id: str) -> None:
        self.session_id = session_id
        self.user_id = user_id
        self.answer_id = ""
        self.fence = 0
        self.wanted = 0  # the newest user message's index
        self.finish: Finish | None = None
        self.texts: list[str] = []
        self.size = 0
        self.usage: Usage | None = None
        self.state = ""
        self.started = 0.0
        self.first_piece: float | None = None
        self.stream: asyncio.Task[None] | None = None
        self.done = asyncio.Event()

    def begin(self, turn: Turn) -> None:
        """Start over for another turn of the same session."""
        if self.answer_id:
            self.finish = None
        self.answer_id, self.fence = turn.answer_id, turn.fence
        self.usage = self.first_piece = None
        self.texts, self.size, self.state = [], 0, ""
        self.started = time.monotonic()
        self.done = asyncio.Event()

    def end(self, finish: Finish) -> None:
        """Finish now and keep what is there."""
        if self.finish is None:
            self.finish = finish
        if self.stream:
            self.stream.cancel()

    @property
    def text(self) -> str:
        return "".join(self.texts)


class Replies:
    """The running answers of this process: at most one a session."""

    def __init__(
        self,
        storage: Storage,
        backplane: Backplane,
        providers: Mapping[str, Provider],
        limits: ReplyLimits,
        metrics: Metrics,
        tasks: Tasks,
    ) -> None:
        self._storage = storage
        self._backplane = backplane
        self._providers = providers
        self._limits = limits
        self._metrics = metrics
        self._tasks = tasks
        self._running: dict[str, Reply] = {}
        self._by_user: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._running)

    def running(self, session_id: str) -> Reply | None:
        """The session's running answer in this process."""
        return self._running.get(session_id)

    def count(self, user_id: str) -> int:
        """How many answers of this user are running."""
        return self._by_user[user_id]

    def wake(self, session: Session, index: int) -> None:
        """Answer the user message at ``index``: now, or when the running answer is done."""
        reply = self._running.get(session.id)
        if reply is None:
            reply = self._start(session)
        reply.wanted = max(reply.wanted, index)

    def again(self, session: Session, turn: Appended) -> None:
        """Answer under a turn that is already taken (regenerate)."""
        self._start(session, turn)

    def forget_wanted(self, session_id: str) -> None:
        """The messages that came meanwhile will be answered by someone else."""
        if reply := self._running.get(session_id):
            reply.wanted = 0

    async def stop(self, session_id: str, finish: Finish = Finish.STOPPED, target: str | None = None) -> None:
        """End the running answer (only ``target``, if given), keeping its text; returns when that is stored."""
        reply = self._running.get(session_id)
        if reply and target in (None, reply.answer_id):
            reply.end(finish)
            await reply.done.wait()

    async def settle(self, session: Session) -> Session:
        """End a turn whose process died: what was kept becomes the answer, marked ``interrupted``."""
        if session.answer_id is None or session.id in self._running:
            return session
        kept = await self._storage.partial(session.id)
        content = kept.content if kept else ""
        entry = _answer_entry(session, session.answer_id, content, {"finish_reason": Finish.INTERRUPTED})
        try:
            stored = await self._storage.append(entry, Change(ends_turn=True), fence=session.fence)
        except Fenced:
            return await self._storage.get(session.id) or session
        await self._publish(stored)
        await self._backplane.finish(session.id, entry.message_id)
        log.warning("an unfinished answer was closed", session=session.id, characters=len(content))
        return stored.session

    async def drain(self, deadline: float) -> None:
        """Let the running answers finish until ``deadline`` (monotonic s), then interrupt the rest."""
        waiting = [asyncio.ensure_future(reply.done.wait()) for reply in self._running.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=max(0.0, deadline - time.monotonic()))
        for reply in list(self._running.values()):
            reply.wanted = 0
            await self.stop(reply.session_id, Finish.INTERRUPTED)
        for task in waiting:
            task.cancel()

    # -- one session's answers, one after another ----------------------------------------------------------------------

    def _start(self, session: Session, turn: Appended | None = None) -> Reply:
        reply = self._running[session.id] = Reply(session.id, session.user_id)
        self._by_user[session.user_id] += 1
        self._tasks.start(self._run(reply, turn), f"reply {session.id}")
        return reply

    async def _run(self, reply: Reply, turn: Appended | None) -> None:
        structlog.contextvars.bind_contextvars(session=reply.session_id, user=reply.user_id)
        try:
            seen = await self._answer(reply, turn or await self._take_turn(reply))
            while reply.wanted > seen:
                seen = await self._answer(reply, await self._take_turn(reply))
        finally:
            if self._running.get(reply.session_id) is reply:
                del self._running[reply.session_id]
            self._by_user[reply.user_id] -= 1
            if not self._by_user[reply.user_id]:
                del self._by_user[reply.user_id]
            reply.done.set()

    async def _take_turn(self, reply: Reply) -> Appended:
        answer_id = new_id()
        entry = turn_entry(reply.session_id, f"{answer_id}:turn", answer_id)
        stored = await self._storage.append(entry, Change(takes_turn=answer_id))
        await self._publish(stored)
        return stored

    async def _answer(self, reply: Reply, taken: Appended) -> int:
        """Run one turn from ``loading`` to its stored end; returns the index up to which it answers."""
        session = taken.session
        answer_id = session.answer_id or ""
        turn = Turn(answer_id, taken.entry.index, session.fence, taken.entry.metadata.get("replaces"))
        reply.begin(turn)
        await self._backplane.begin(session.id, turn)
        entries = await self._storage.read(session.id, before=session.last_index + HISTORY, limit=HISTORY)
        provider = self._provider(session)
        failure = await self._stream(reply, provider, self._prompt(session, entries, provider, turn))
        if failure:
            frame = protocol.error(failure, session_id=session.id, message_id=answer_id)
            await self._backplane.publish(session.id, Signal(frame))
        await self._store(reply, session, provider, turn)
        return max(taken.entry.index, entries[-1].index if entries else 0)

    def _provider(self, session: Session) -> Provider:
        chosen = self._providers.get(session.model_id or "")
        return chosen or next(iter(self._providers.values()))

    def _prompt(self, session: Session, entries: list[Entry], provider: Provider, turn: Turn) -> Prompt:
        settings = provider.settings
        hidden = {turn.replaces} if turn.replaces else set()
        shown = [entry for entry in entries if entry.message_id not in hidden]
        turns = build_prompt(shown, self._limits.system_prompt, settings.context, settings.max_tokens)
        state = session.context.get(f"llm:{settings.id}", "")
        return Prompt(turns=turns, session_id=session.id, user_id=session.user_id, state=state)

    # -- the stream ----------------------------------------------------------------------------------------------------

    async def _stream(self, reply: Reply, provider: Provider, prompt: Prompt) -> Unavailable | None:
        """Let the model speak; every way it can end is in ``reply.finish`` afterwards."""
        label = provider.settings.id
        self._metrics.llm_requests_total.labels(label).inc()
        reply.stream = self._tasks.start(self._consume(reply, provider, prompt), f"stream {reply.session_id}")
        if reply.finish is not None:
            reply.stream.cancel()
        await asyncio.wait([reply.stream])
        error = None if reply.stream.cancelled() else reply.stream.exception()
        reply.stream = None
        self._metrics.llm_latency_seconds.labels(label).observe(time.monotonic() - reply.started)
        if error is None or reply.finish is not None:
            reply.finish = reply.finish or Finish.INTERRUPTED
            return None
        self._metrics.llm_errors_total.labels(label).inc()
        return _failed(reply, error)

    async def _consume(self, reply: Reply, provider: Provider, prompt: Prompt) -> None:
        limits = self._limits

        def retryable(error: Exception) -> bool | float:
            if not isinstance(error, ProviderError) or not error.transient or reply.texts:
                return False
            log.warning("the model did not answer; trying again", provider=provider.settings.id, error=str(error))
            return True if error.retry_after is None else min(error.retry_after, limits.total)

        attempts = stamina.retry_context(
            on=retryable,
            attempts=limits.attempts,
            timeout=limits.total,
            wait_initial=limits.back_off,
            wait_max=limits.max_back_off,
            wait_jitter=limits.back_off,
        )
        async with asyncio.timeout(limits.total):
            async for attempt in attempts:
                with attempt:
                    await self._listen(reply, provider, prompt)

    async def _listen(self, reply: Reply, provider: Provider, prompt: Prompt) -> None:
        limits = self._limits
        async with (
            Deadline(limits.first_piece, limits.between_pieces) as deadline,
            aclosing(provider.stream(prompt)) as events,
        ):
            kept = _Kept(time.monotonic())
            async for event in events:
                deadline.feed()
                match event:
                    case Piece(text):
                        if not await self._piece(reply, text):
                            return
                        if kept.due(reply.size):
                            kept.task = self._tasks.start(self._keep(reply), "keep partial")
                    case File():
                        await self._file(reply, event)
                    case Usage():
                        reply.usage = event
                    case End():
                        reply.finish, reply.state = reply.finish or Finish(event.reason), event.state

    async def _piece(self, reply: Reply, text: str) -> bool:
        """Pass a piece on; false when the answer has reached its size."""
        size = len(text) if text.isascii() else len(text.encode())
        room = self._limits.max_size - reply.size
        if size > room:
            text = text.encode()[:room].decode(errors="ignore")
            reply.finish = Finish.LENGTH
        if reply.first_piece is None:
            reply.first_piece = time.monotonic() - reply.started
            self._metrics.llm_first_token_seconds.labels("all").observe(reply.first_piece)
        if text:
            reply.texts.append(text)
            reply.size += min(size, room)
            await self._backplane.push(reply.session_id, reply.answer_id, text)
        return size <= room

    async def _keep(self, reply: Reply) -> None:
        await self._storage.keep(Partial(reply.session_id, reply.answer_id, reply.fence, reply.text))

    async def _file(self, reply: Reply, file: File) -> None:
        metadata = {"answer_id": reply.answer_id} | ({"mime_type": file.mime_type} if file.mime_type else {})
        entry = Entry(
            session_id=reply.session_id,
            kind=Kind.FILE_UPLOAD,
            message_id=new_id(),
            sender=Sender.AI,
            content=file.name,
            file_url=file.url,
            timestamp=now_ms(),
            metadata=metadata,
        )
        await self._publish(await self._storage.append(entry, fence=reply.fence))

    # -- the end -------------------------------------------------------------------------------------------------------

    async def _store(self, reply: Reply, session: Session, provider: Provider, turn: Turn) -> None:
        """Commit the answer and tell everyone. A late writer is refused by the fence and says nothing."""
        entry, change = self._outcome(reply, session, provider, turn)
        try:
            stored = await self._commit(entry, change, reply.fence)
        except Fenced:
            log.warning("a late answer was refused", answer=reply.answer_id)
        else:
            await self._publish(stored)
        finally:
            await self._backplane.finish(session.id, reply.answer_id)
            reply.done.set()

    async def _commit(self, entry: Entry, change: Change, fence: int) -> Appended:
        patience = self._limits.store_patience
        async for attempt in stamina.retry_context(on=StorageBusy, attempts=None, timeout=patience, wait_max=2.0):
            with attempt:
                return await self._storage.append(entry, change, fence=fence)
        raise AssertionError("stamina returns or raises")

    def _outcome(self, reply: Reply, session: Session, provider: Provider, turn: Turn) -> tuple[Entry, Change]:
        text, usage = reply.text, reply.usage
        tokens = usage.total if usage else estimate_tokens(text)
        metadata = {"finish_reason": str(reply.finish or Finish.STOP), "tokens": str(tokens)}
        if usage is None:
            metadata["tokens_estimated"] = "true"
        if turn.replaces:
            metadata["replaces"] = turn.replaces
        self._metrics.tokens_used_total.labels(provider.settings.id).inc(tokens)
        change = Change(
            ends_turn=True,
            tokens=tokens,
            response_ms=round((time.monotonic() - reply.started) * 1000),
            supersedes=turn.replaces,
            context=session.context | {f"llm:{provider.settings.id}": reply.state} if reply.state else None,
        )
        return _answer_entry(session, reply.answer_id, text, metadata, provider.settings.id), change

    async def _publish(self, stored: Appended) -> None:
        await self._backplane.publish(stored.entry.session_id, Stored(stored.entry))


class _Kept:
    """When to keep the text so far: every second or 4 KiB, and never twice at once."""

    def __init__(self, now: float) -> None:
        self.at, self.size = now, 0
        self.task: asyncio.Task[None] | None = None

    def due(self, size: int) -> bool:
        if size - self.size < KEEP_CHARACTERS and time.monotonic() - self.at < KEEP_SECONDS:
            return False
        if self.task and not self.task.done():
            return False
        self.at, self.size = time.monotonic(), size
        return True


def turn_entry(session_id: str, message_id: str, answer_id: str, replaces: str | None = None) -> Entry:
    """The entry that takes a turn."""
    metadata = {"answer_id": answer_id} | ({"replaces": replaces} if replaces else {})
    return Entry(
        session_id=session_id,
        kind=Kind.TURN,
        message_id=message_id,
        sender=Sender.SYSTEM,
        timestamp=now_ms(),
        metadata=metadata,
    )


def _answer_entry(
    session: Session, answer_id: str, content: str, metadata: dict[str, str], model_id: str | None = None
) -> Entry:
    return Entry(
        session_id=session.id,
        kind=Kind.AI_RESPONSE,
        message_id=answer_id,
        sender=Sender.AI,
        content=content,
        timestamp=now_ms(),
        model_id=model_id or session.model_id,
        metadata={key: str(value) for key, value in metadata.items()},
    )


def _failed(reply: Reply, error: BaseException) -> Unavailable:
    """Note how the stream failed; what the client is told says nothing about the provider."""
    if isinstance(error, TimeoutError | ProviderTimeout):
        reply.finish = Finish.TIMEOUT
        log.error("the model took too long", error=str(error))
        return ModelTooSlow("The model took too long to answer. Try again.")
    reply.finish = Finish.ERROR
    if isinstance(error, ProviderError):
        log.error("the model failed", error=str(error), kind=type(error).__name__)
    elif not isinstance(error, Fenced):
        log.error("an answer failed", exc_info=error)
    return ModelUnavailable("The model is not available now. Try again.")
