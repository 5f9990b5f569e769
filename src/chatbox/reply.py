"""Answers: whose turn it is, one turn after another, from the question in the log to the stored answer.

A reply belongs to its session, not to a socket: nobody has to listen. A turn's life:

    acquire the lease → take the turn (an entry that raises the fence) → loading → pieces …
    → the answer's entry, which ends the turn → release the lease

The entry is written for every end there is: complete, cut by a limit, stopped, timed out, failed, interrupted. What has
to be answered follows from the log alone (``turn.owed``), so waking a session twice, or on two replicas, is waking it
once. Who answers also follows the log: a stop, a new question, wherever it came in, is heard when its entry passes. If
this process dies, or its store fails for too long, the turn stays open there; when the lease has run out, ``settle``
ends it, on any replica, with the text that was kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

import msgspec
import stamina
import structlog

from chatbox import protocol, turn
from chatbox.backplane.base import LEASE, Backplane, Grant, Quotas, Signal, Stored, Turn
from chatbox.draft import Draft, ReplyLimits, Writer
from chatbox.errors import DatabaseUnavailable, Fenced, NotFound, StorageBusy, StorageError, Unavailable
from chatbox.hub import Hub
from chatbox.llm.base import Prompt, Provider
from chatbox.llm.history import build_prompt, staff_spoke_since
from chatbox.metrics import Metrics
from chatbox.session import Change, Entry, Finish, Kind, Session, new_id
from chatbox.settlement import Settlement, outcome
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
ANSWERS = "answers"
"""The pool of sessions that are being answered, by user."""


class Taken(msgspec.Struct, frozen=True):
    """A turn that was taken, the session then, and what was said before."""

    turn: Turn
    session: Session
    entries: list[Entry]


class Reply:
    """A session's answers, one after another. Its own task alone changes ``draft``, which is set while there is a turn,
    and ``fence``, the newest one known. ``idle`` is set while there is no turn and none is being taken."""

    def __init__(self, session: Session) -> None:
        self.session_id = session.id
        self.user_id = session.user_id
        self.fence = session.fence
        self.draft: Draft | None = None
        self.woken = True
        self.idle = asyncio.Event()
        self._finish: Finish | None = None
        self._given_up = asyncio.Event()
        self._stopped: str | None = None
        self._stopped_before = 0

    def begin(self, draft: Draft) -> None:
        """The turn is taken; it may have been stopped before that."""
        self.draft, self.fence = draft, draft.turn.fence
        if self._finish:
            draft.end(self._finish)
        elif draft.turn.index < self._stopped_before or draft.turn.answer_id == self._stopped:
            draft.end(Finish.STOPPED)

    def rest(self) -> None:
        """The turn is over."""
        self.draft, self._finish = None, None
        self._given_up.clear()
        self.idle.set()

    def end(self, finish: Finish, target: str | None = None) -> None:
        """End the turn that is running or being taken; if ``target`` is given, only that answer."""
        if self.draft is None and target:
            self._stopped = target
        elif self.draft is None:
            self._finish = self._finish or finish
            self._given_up.set()
        elif target in (None, self.draft.turn.answer_id):
            self.draft.end(finish)

    def heed(self, entry: Entry) -> None:
        """An entry of the log has passed."""
        if turn.wants(entry):
            self.woken = True
        if entry.kind is Kind.REGENERATE:
            self._stop_before(entry.index)
        elif entry.kind is Kind.STOP:
            target = entry.metadata.get("target") or None
            if entry.metadata.keys() & {turn.HALT, turn.PAUSE}:
                self.woken = self.woken and self.draft is not None and self.draft.turn.answer_id != target
            self.end(Finish.STOPPED, target)

    def _stop_before(self, index: int) -> None:
        """Stop a turn that was taken before an entry; a later one knows of that entry."""
        self._stopped_before = index
        if self.draft and self.draft.turn.index < index:
            self.draft.end(Finish.STOPPED)

    async def given_up(self, seconds: float) -> bool:
        """Wait so long, at most: whether the turn that is being taken need not be taken any more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._given_up.wait()
        return self._given_up.is_set()


class Replies:
    """The running answers of this process: at most one a session."""

    def __init__(
        self,
        storage: Storage,
        backplane: Backplane,
        quotas: Quotas,
        hub: Hub,
        providers: Mapping[str, Provider],
        limits: ReplyLimits,
        metrics: Metrics,
        tasks: Tasks,
    ) -> None:
        self._storage = storage
        self._backplane = backplane
        self._quotas = quotas
        self._hub = hub
        self._providers = providers
        self._limits = limits
        self._metrics = metrics
        self._tasks = tasks
        self._settlement = Settlement(storage, backplane)
        self._writer = Writer(storage, backplane, limits, metrics, tasks)
        self._running: dict[str, Reply] = {}
        self._draining = False
        hub.follow(self._heed)

    def __len__(self) -> int:
        return len(self._running)

    def running(self, session_id: str) -> str | None:
        """The id of the session's running answer, "" while its turn is being taken; None when there is none here."""
        reply = self._running.get(session_id)
        if reply is None:
            return None
        return reply.draft.turn.answer_id if reply.draft else ""

    def wake(self, session: Session) -> None:
        """Answer what the session's log asks: now, or when the running answer is done."""
        reply = self._running.get(session.id)
        if reply:
            reply.woken = True
        elif not self._draining:
            reply = self._running[session.id] = Reply(session)
            self._tasks.start(self._run(reply), f"reply {session.id}")

    async def look(self, session: Session) -> bool:
        """Answer what another process left unanswered. Returns whether there is something."""
        owed = session.assisting_admin_id is None and turn.owed(await self._newest(session.id))
        if owed:
            self.wake(session)
        return owed

    async def halt(self, session_id: str, how: str = turn.HALT, patience: float = LEASE + GRACE) -> Session | None:
        """End the running answer, whichever replica writes it, and begin no other one; returns when it is stored, or
        after ``patience`` s, with the session as it is then. ``turn.PAUSE``: what was asked meanwhile is still owed.
        Raises ``NotFound``, ``StorageError``."""
        deadline = time.monotonic() + patience
        if reply := self._running.get(session_id):
            reply.woken = False
            reply.end(Finish.STOPPED)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await reply.idle.wait()
        session = await self._storage.get(session_id)
        return await self._halt_elsewhere(session, how, deadline) if session and session.answer_id else session

    async def settle(self, session: Session) -> Session:
        """End a turn whose process died: what was kept becomes the answer, marked ``interrupted``. One whose process
        lives goes on. Raises ``StorageError``."""
        return (session.answer_id and await self.settle_answer(session.id, session.answer_id)) or session

    async def settle_answer(self, session_id: str, answer_id: str) -> Session | None:
        """The same for an answer that is known to be open; the session, if its turn has ended."""
        reply = self._running.get(session_id)
        return None if reply and reply.draft else await self._settlement.settle(session_id, answer_id)

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

    async def _halt_elsewhere(self, session: Session, how: str, deadline: float) -> Session | None:
        """Tell the replica that writes the answer to stop; if it is dead, close the answer when its lease is over."""
        halted = session.answer_id or ""
        await self._publish(await self._storage.append(turn.halt_entry(session.id, halted, how)))
        now: Session | None = session
        while now and now.answer_id == halted and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            now = await self._storage.get(session.id)
            now = now and await self.settle(now)
        return now

    async def _newest(self, session_id: str) -> list[Entry]:
        """The end of the log, as much of it as tells whether an answer is owed."""
        newest = await self._storage.read(session_id, before=END, limit=NEWEST)
        if len(newest) < NEWEST or any(map(turn.settles, newest)):
            return newest
        return await self._storage.read(session_id, before=END, limit=HISTORY)

    # -- one session's turns -------------------------------------------------------------------------------------------

    def _heed(self, entry: Entry) -> None:
        if reply := self._running.get(entry.session_id):
            reply.heed(entry)

    async def _run(self, reply: Reply) -> None:
        structlog.contextvars.bind_contextvars(session=reply.session_id, user=reply.user_id)
        try:
            await self._quotas.enter(ANSWERS, reply.user_id, reply.session_id)
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
            del self._running[reply.session_id]
            reply.idle.set()
            self._tasks.start(self._quotas.leave(ANSWERS, reply.user_id, reply.session_id), "answered")

    async def _answer(self, reply: Reply) -> None:
        """Run one turn, from the question in the log to the stored answer."""
        taken = await self._take_turn(reply)
        if taken is None:
            return
        draft = Draft(reply.session_id, taken.turn)
        reply.begin(draft)
        if not turn.owed(taken.entries):  # the session was ended while the turn was taken
            draft.end(Finish.STOPPED)
        stored = False
        try:
            await self._backplane.begin(reply.session_id, taken.turn)
            provider = self._provider(taken.session)
            prompt = self._prompt(taken, provider)
            await self._write(draft, provider, prompt)
            entry, change = outcome(taken.session, draft, provider.settings.id, prompt)
            self._metrics.tokens_used_total.labels(provider.settings.id).inc(change.tokens)
            stored = await self._store(draft, entry, change)
        finally:
            await self._backplane.finish(reply.session_id, taken.turn.answer_id, stored=stored)

    async def _take_turn(self, reply: Reply) -> Taken | None:
        """Take the turn, if an answer is owed. While the store fails, or another replica answers, try on: the question
        was acknowledged."""
        entry = turn.turn_entry(reply.session_id, new_id())
        wait = 0.05
        while True:
            try:
                return await self._try_turn(reply, entry)
            except Fenced:
                if self._draining:
                    return None
            except StorageBusy as error:
                log.warning("a turn can't be taken yet", error=str(error))
            if await reply.given_up(wait):
                return None
            wait = min(wait * 2, MAX_WAIT)

    async def _try_turn(self, reply: Reply, entry: Entry) -> Taken | None:
        """Take the turn under the session's lease, which is kept if that is done. None: no answer is owed, or staff
        have the session. Raises ``Fenced`` while there is another turn."""
        session_id, answer_id, taken = reply.session_id, entry.metadata["answer_id"], None
        await self._hub.open(session_id)
        grant = await self._backplane.acquire(session_id, answer_id)
        if grant is None:
            raise Fenced("another replica has the lease")
        try:
            taken = await self._append_turn(session_id, entry, reply.fence)
        except Fenced:
            if await self._assisted(reply):
                return None
            if grant is Grant.SURE:
                await self._settlement.close(session_id, answer_id)
            raise
        finally:
            if taken is None:
                await self._backplane.finish(session_id, answer_id)
        return taken

    async def _assisted(self, reply: Reply) -> bool:
        """Whether staff have the session, as it is now; its fence is noted."""
        session = await self._storage.get(reply.session_id)
        if session is None:
            raise NotFound("The session does not exist.")
        reply.fence = session.fence
        return session.assisting_admin_id is not None

    async def _append_turn(self, session_id: str, entry: Entry, fence: int) -> Taken | None:
        """Append the turn's entry, if an answer is owed or an attempt that failed has appended it after all. The fence
        is one from before the log was read: so nobody has answered meanwhile."""
        entries = await self._storage.read(session_id, before=END, limit=HISTORY)
        if not turn.owed(entries) and all(known.message_id != entry.message_id for known in entries):
            return None
        answer_id = entry.metadata["answer_id"]
        stored = await self._storage.append(entry, Change(takes_turn=answer_id), fence=fence)
        await self._publish(stored)
        if stored.session.answer_id != answer_id:
            return None
        index = stored.entry.index
        if index > entries[-1].index + 1:
            entries += await self._storage.read(session_id, after=entries[-1].index, before=index)
        before = [known for known in entries if known.index < index]
        return Taken(Turn(answer_id, index, stored.session.fence, turn.replaced(before)), stored.session, before)

    def _provider(self, session: Session) -> Provider:
        chosen = self._providers.get(session.model_id or "")
        return chosen or next(iter(self._providers.values()))

    def _prompt(self, taken: Taken, provider: Provider) -> Prompt:
        settings, session = provider.settings, taken.session
        said = [entry for entry in taken.entries if entry.message_id != taken.turn.replaces]
        turns = build_prompt(said, self._limits.system_prompt, settings.context, settings.max_tokens)
        known = not staff_spoke_since(taken.entries, settings.id)
        state = session.context.get(f"llm:{settings.id}", "") if known else ""
        return Prompt(turns=turns, session_id=session.id, user_id=session.user_id, state=state)

    async def _write(self, draft: Draft, provider: Provider, prompt: Prompt) -> None:
        if not prompt.turns:
            log.warning("the last question is too far back to be answered again")
            draft.end(Finish.ERROR)
        if draft.finish is None and (failure := await self._writer.write(draft, provider, prompt)):
            await self._complain(draft.session_id, failure, draft.turn.answer_id)

    async def _complain(self, session_id: str, failure: Unavailable, answer_id: str | None = None) -> None:
        frame = protocol.error(failure, session_id=session_id, message_id=answer_id)
        await self._backplane.publish(session_id, Signal(str(frame)))

    # -- the end of a turn ---------------------------------------------------------------------------------------------

    async def _store(self, draft: Draft, entry: Entry, change: Change) -> bool:
        """Commit the answer and tell everyone; false when the turn stays open. A late writer is refused by the fence
        and says nothing; so does one whose session was deleted."""
        try:
            await self._publish(await self._append(entry, change, draft.turn.fence))
        except (Fenced, NotFound) as error:
            log.warning("a late answer was refused", answer=entry.message_id, error=str(error))
        except StorageError as error:
            log.error("an answer could not be stored", answer=entry.message_id, error=str(error))
            failure = DatabaseUnavailable("The answer could not be stored.")
            await self._complain(draft.session_id, failure, entry.message_id)
            return False
        return True

    async def _append(self, entry: Entry, change: Change, fence: int) -> Appended:
        patience = self._limits.store_patience
        async for attempt in stamina.retry_context(on=StorageBusy, attempts=None, timeout=patience, wait_max=MAX_WAIT):
            with attempt:
                return await self._storage.append(entry, change, fence=fence)
        raise AssertionError("stamina returns or raises")

    async def _publish(self, stored: Appended) -> None:
        await self._backplane.publish(stored.entry.session_id, Stored(stored.entry))
