"""Answers: whose turn it is, one turn after another, from the question in the log to the stored answer.

A reply belongs to its session, not to a socket: nobody has to listen. A turn's life:

    take the turn (an entry that raises the fence) → loading → pieces … → the answer's entry, which ends the turn

The entry is written for every end there is: complete, cut by a limit, stopped, timed out, failed, interrupted. What has
to be answered follows from the log alone (``turn.owed``), so waking a session twice is waking it once. If this process
dies, or its store fails for too long, the turn stays open there and ``settle`` ends it with the text that was kept.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping

import msgspec
import stamina
import structlog

from chatbox import protocol, turn
from chatbox.backplane.base import Backplane, Signal, Stored, Turn
from chatbox.draft import Draft, ReplyLimits, Writer
from chatbox.errors import DatabaseUnavailable, Fenced, NotFound, StorageBusy, StorageError, Unavailable
from chatbox.llm.base import Prompt, Provider
from chatbox.llm.history import build_prompt, estimate_tokens
from chatbox.metrics import Metrics
from chatbox.session import Change, Entry, Finish, Kind, Sender, Session, new_id, now_ms
from chatbox.storage.base import Appended, Storage
from chatbox.tasks import Tasks

log = structlog.get_logger(component="reply")

HISTORY = 500
NEWEST = 20
END = 1 << 40
MAX_WAIT = 2.0
"""Seconds between two attempts at a store that is busy."""
GRACE = 1.5
"""Seconds that a drain gives interrupted answers to be stored."""


class Taken(msgspec.Struct, frozen=True):
    """A turn that was taken, the session then, and what was said before."""

    turn: Turn
    session: Session
    entries: list[Entry]


class Reply:
    """A session's answers, one after another. Its own task alone changes ``draft`` and ``answer_id``.

    ``answer_id`` is set before the turn is taken, ``draft`` after. ``idle`` is set while there is no turn.
    """

    def __init__(self, session_id: str, user_id: str) -> None:
        self.session_id = session_id
        self.user_id = user_id
        self.answer_id = ""
        self.draft: Draft | None = None
        self.woken = True
        self.idle = asyncio.Event()
        self._finish: Finish | None = None
        self._stopped_before = 0

    def begin(self, draft: Draft) -> None:
        """The turn is taken; it may have been stopped before that."""
        self.draft = draft
        if self._finish:
            draft.end(self._finish)
        elif draft.turn.index < self._stopped_before:
            draft.end(Finish.STOPPED)

    def rest(self) -> None:
        """The turn is over."""
        self.answer_id, self.draft, self._finish = "", None, None
        self.idle.set()

    def end(self, finish: Finish, target: str | None = None) -> None:
        """End the turn that is running or being taken; if ``target`` is given, only that answer."""
        if self.draft is None:
            self._finish = self._finish or (None if target else finish)
        elif target in (None, self.draft.turn.answer_id):
            self.draft.end(finish)

    def stop_before(self, index: int) -> None:
        """Stop a turn that was taken before an entry; a later one knows of that entry."""
        self._stopped_before = index
        if self.draft and self.draft.turn.index < index:
            self.draft.end(Finish.STOPPED)

    @property
    def given_up(self) -> bool:
        """Whether the turn that is being taken need not be taken any more."""
        return self._finish is not None


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
        self._writer = Writer(storage, backplane, limits, metrics, tasks)
        self._running: dict[str, Reply] = {}
        self._by_user: defaultdict[str, set[str]] = defaultdict(set)
        self._draining = False

    def __len__(self) -> int:
        return len(self._running)

    def running(self, session_id: str) -> str | None:
        """The id of the session's running answer, "" while its turn is being taken; None when there is none here."""
        reply = self._running.get(session_id)
        if reply is None:
            return None
        return reply.draft.turn.answer_id if reply.draft else ""

    def sessions(self, user_id: str) -> set[str]:
        """The user's sessions that are being answered."""
        return set(self._by_user.get(user_id, ()))

    def wake(self, session: Session) -> None:
        """Answer what the session's log asks: now, or when the running answer is done."""
        reply = self._running.get(session.id)
        if reply:
            reply.woken = True
        elif not self._draining:
            reply = self._running[session.id] = Reply(session.id, session.user_id)
            self._by_user[session.user_id].add(session.id)
            self._tasks.start(self._run(reply), f"reply {session.id}")

    async def look(self, session: Session) -> None:
        """Answer what another process left unanswered."""
        if turn.owed(await self._storage.read(session.id, before=END, limit=NEWEST)):
            self.wake(session)

    def again(self, session: Session, index: int) -> None:
        """The entry at ``index`` asks for another answer: one that was begun before is stopped."""
        if reply := self._running.get(session.id):
            reply.stop_before(index)
        self.wake(session)

    def stop(self, session_id: str, target: str | None = None) -> None:
        """End the running answer (only ``target``, if given) soon, keeping its text."""
        if reply := self._running.get(session_id):
            reply.end(Finish.STOPPED, target)

    async def halt(self, session_id: str) -> None:
        """End the running answer and begin no other one; returns when it is stored."""
        if reply := self._running.get(session_id):
            reply.woken = False
            reply.end(Finish.STOPPED)
            await reply.idle.wait()

    async def settle(self, session: Session) -> Session:
        """End a turn whose process died: what was kept becomes the answer, marked ``interrupted``."""
        reply = self._running.get(session.id)
        if session.answer_id is None or (reply and reply.answer_id == session.answer_id):
            return session
        return await self._settle(session, session.answer_id)

    async def drain(self, deadline: float) -> None:
        """Begin no more turns; let the running answers finish until ``deadline`` (monotonic s), then interrupt them."""
        self._draining = True
        await self._wait_for_all(deadline - time.monotonic())
        for reply in self._running.values():
            reply.end(Finish.INTERRUPTED)
        await self._wait_for_all(GRACE)

    async def _wait_for_all(self, seconds: float) -> None:
        waiting = [asyncio.ensure_future(reply.idle.wait()) for reply in self._running.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=max(0.0, seconds))
        for task in waiting:
            task.cancel()

    # -- one session's turns -------------------------------------------------------------------------------------------

    async def _run(self, reply: Reply) -> None:
        structlog.contextvars.bind_contextvars(session=reply.session_id, user=reply.user_id)
        try:
            while reply.woken and not self._draining:
                reply.woken = False
                reply.idle.clear()
                try:
                    await self._answer(reply)
                finally:
                    reply.rest()
        except NotFound:
            log.info("the session was deleted before it was answered")
        except StorageError as error:
            log.error("an answer can't be given", error=str(error))
            await self._complain(reply.session_id, DatabaseUnavailable("The answer can't be given now. Try again."))
        finally:
            self._forget(reply)
            reply.idle.set()

    def _forget(self, reply: Reply) -> None:
        del self._running[reply.session_id]
        sessions = self._by_user[reply.user_id]
        sessions.discard(reply.session_id)
        if not sessions:
            del self._by_user[reply.user_id]

    async def _answer(self, reply: Reply) -> None:
        """Run one turn, from the question in the log to the stored answer."""
        taken = await self._take_turn(reply)
        if taken is None:
            return
        draft = Draft(reply.session_id, taken.turn)
        reply.begin(draft)
        await self._backplane.begin(reply.session_id, taken.turn)
        try:
            provider = self._provider(taken.session)
            prompt = self._prompt(taken, provider)
            await self._write(draft, provider, prompt)
            await self._store(draft, *self._outcome(taken, draft, provider, prompt))
        finally:
            await self._backplane.finish(reply.session_id, taken.turn.answer_id)

    async def _take_turn(self, reply: Reply) -> Taken | None:
        """Take the turn, if an answer is owed. While the store fails, try on: the question was acknowledged."""
        wait = 0.05
        while True:
            try:
                return await self._try_turn(reply)
            except Fenced:
                await self._end_old_turn(reply.session_id)
            except StorageBusy as error:
                log.warning("a turn can't be taken yet", error=str(error))
            if reply.given_up:
                return None
            await asyncio.sleep(wait)
            wait = min(wait * 2, MAX_WAIT)

    async def _try_turn(self, reply: Reply) -> Taken | None:
        entries = await self._storage.read(reply.session_id, before=END, limit=HISTORY)
        if not turn.owed(entries):
            return None
        reply.answer_id = new_id()
        entry = turn.turn_entry(reply.session_id, reply.answer_id)
        stored = await self._storage.append(entry, Change(takes_turn=reply.answer_id))
        await self._publish(stored)
        index = stored.entry.index
        if index > entries[-1].index + 1:
            entries += await self._storage.read(reply.session_id, after=entries[-1].index, before=index)
        taken = Turn(reply.answer_id, index, stored.session.fence, turn.replaced(entries))
        return Taken(taken, stored.session, entries)

    async def _end_old_turn(self, session_id: str) -> None:
        session = await self._storage.get(session_id)
        if session and session.answer_id:
            await self._settle(session, session.answer_id)

    def _provider(self, session: Session) -> Provider:
        chosen = self._providers.get(session.model_id or "")
        return chosen or next(iter(self._providers.values()))

    def _prompt(self, taken: Taken, provider: Provider) -> Prompt:
        settings, session = provider.settings, taken.session
        said = [entry for entry in taken.entries if entry.message_id != taken.turn.replaces]
        turns = build_prompt(said, self._limits.system_prompt, settings.context, settings.max_tokens)
        state = session.context.get(f"llm:{settings.id}", "")
        return Prompt(turns=turns, session_id=session.id, user_id=session.user_id, state=state)

    async def _write(self, draft: Draft, provider: Provider, prompt: Prompt) -> None:
        if not prompt.turns:
            log.warning("the last question is too far back to be answered again")
            draft.end(Finish.ERROR)
        if draft.finish is None and (failure := await self._writer.write(draft, provider, prompt)):
            await self._complain(draft.session_id, failure, draft.turn.answer_id)

    async def _complain(self, session_id: str, failure: Unavailable, answer_id: str | None = None) -> None:
        frame = protocol.error(failure, session_id=session_id, message_id=answer_id)
        await self._backplane.publish(session_id, Signal(frame))

    # -- the end of a turn ---------------------------------------------------------------------------------------------

    async def _store(self, draft: Draft, entry: Entry, change: Change) -> None:
        """Commit the answer and tell everyone. A late writer is refused by the fence and says nothing."""
        try:
            await self._publish(await self._append(entry, change, draft.turn.fence))
        except Fenced:
            log.warning("a late answer was refused", answer=entry.message_id)
        except StorageError as error:
            log.error("an answer could not be stored", answer=entry.message_id, error=str(error))
            failure = DatabaseUnavailable("The answer could not be stored.")
            await self._complain(draft.session_id, failure, entry.message_id)

    async def _append(self, entry: Entry, change: Change, fence: int) -> Appended:
        patience = self._limits.store_patience
        async for attempt in stamina.retry_context(on=StorageBusy, attempts=None, timeout=patience, wait_max=MAX_WAIT):
            with attempt:
                return await self._storage.append(entry, change, fence=fence)
        raise AssertionError("stamina returns or raises")

    def _outcome(self, taken: Taken, draft: Draft, provider: Provider, prompt: Prompt) -> tuple[Entry, Change]:
        finish, model, replaces = draft.finish or Finish.INTERRUPTED, provider.settings.id, taken.turn.replaces
        tokens = draft.usage.total if draft.usage else _estimate(prompt, draft)
        self._metrics.tokens_used_total.labels(model).inc(tokens)
        change = Change(
            ends_turn=True,
            tokens=tokens,
            response_ms=round(draft.seconds * 1000) if finish in (Finish.STOP, Finish.LENGTH) else None,
            supersedes=replaces,
            context=taken.session.context | {f"llm:{model}": draft.state} if draft.state else None,
        )
        metadata = _metadata(finish, tokens, replaces, estimated=draft.usage is None)
        return _answer_entry(taken.session, taken.turn.answer_id, draft.text, metadata, model), change

    async def _settle(self, session: Session, answer_id: str) -> Session:
        kept = await self._storage.partial(session.id)
        content = kept.content if kept and kept.answer_id == answer_id else ""
        entries = await self._storage.read(session.id, before=END, limit=HISTORY)
        began = max((entry.index for entry in entries if entry.metadata.get("answer_id") == answer_id), default=0)
        replaces = turn.replaced([entry for entry in entries if entry.index < began])
        tokens = estimate_tokens(content)
        metadata = _metadata(Finish.INTERRUPTED, tokens, replaces, estimated=True)
        entry = _answer_entry(session, answer_id, content, metadata, session.model_id)
        change = Change(ends_turn=True, tokens=tokens, supersedes=replaces)
        try:
            stored = await self._storage.append(entry, change, fence=session.fence)
        except Fenced:
            return await self._storage.get(session.id) or session
        await self._publish(stored)
        await self._backplane.finish(session.id, answer_id)
        if stored.fresh:
            log.warning("an unfinished answer was closed", session=session.id, characters=len(content))
        return stored.session

    async def _publish(self, stored: Appended) -> None:
        await self._backplane.publish(stored.entry.session_id, Stored(stored.entry))


def _estimate(prompt: Prompt, draft: Draft) -> int:
    """Tokens of an answer about which the model did not say; none if it never began."""
    if not draft.texts:
        return 0
    return estimate_tokens(draft.text) + sum(estimate_tokens(turn.content) for turn in prompt.turns)


def _metadata(finish: Finish, tokens: int, replaces: str | None, *, estimated: bool) -> dict[str, str]:
    metadata = {"finish_reason": str(finish), "tokens": str(tokens)}
    if estimated:
        metadata["tokens_estimated"] = "true"
    if replaces:
        metadata["replaces"] = replaces
    return metadata


def _answer_entry(
    session: Session, answer_id: str, content: str, metadata: dict[str, str], model_id: str | None
) -> Entry:
    return Entry(
        session_id=session.id,
        kind=Kind.AI_RESPONSE,
        message_id=answer_id,
        sender=Sender.AI,
        content=content,
        timestamp=now_ms(),
        model_id=model_id,
        metadata=metadata,
    )
