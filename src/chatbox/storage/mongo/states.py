"""Sessions as of their newest entries, and their documents brought up to their logs.

The log is the truth: an entry is committed when its document is inserted. What a session is follows from its log; its
document is a summary up to ``last_index``, with what the log does not know, that others closed its period. It is
changed only under its ``revision``, a number that every change raises: of two at once one takes effect, and the other
begins anew. What an entry changes elsewhere is done before its session's document tells of the entry, and may be done
twice. So whatever a process left undone when it died is done by who comes next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import reduce
from random import random
from typing import NamedTuple

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from chatbox.errors import StorageBusy, StorageCorrupt
from chatbox.session import Entry, Session, apply, closed, day_of, takeover_ended
from chatbox.storage.base import Partial, period_closed
from chatbox.storage.mongo import documents
from chatbox.storage.mongo.client import Document
from chatbox.storage.mongo.database import Database
from chatbox.storage.mongo.documents import Logged, Period

ROUNDS = 40
FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.1
"""How often, and after how long at most (s), something is begun anew that others came before with."""

CROWDED = "others keep writing in the same session"
USAGE_KEPT = timedelta(days=400)


class Crowded(StorageBusy):
    """Others write in the session faster than this process can follow."""


class Step(NamedTuple):
    """What an entry makes of a session."""

    before: Session
    logged: Logged
    after: Session

    @property
    def moves_mark(self) -> bool:
        return self.before.is_active != self.after.is_active


class State(NamedTuple):
    """A session's document, and the entries of its log that it does not tell of yet.

    ``period`` is the last closed one; those before are documents of their own.
    """

    summary: Session
    revision: int
    period: Period | None = None
    pending: tuple[Logged, ...] = ()

    @property
    def session(self) -> Session:
        """As of the newest entry."""
        return reduce(lambda session, logged: apply(session, logged.entry, logged.change), self.pending, self.summary)

    def steps(self) -> Iterator[Step]:
        """The pending entries up to the first that moves the user's mark."""
        before = self.summary
        for logged in self.pending:
            step = Step(before, logged, apply(before, logged.entry, logged.change))
            yield step
            if step.moves_mark:
                return
            before = step.after


class Settled(NamedTuple):
    """``state`` is None when the session was deleted; ``closed`` are the user's other sessions that were closed."""

    state: State | None
    closed: tuple[str, ...] = ()


def state_from(document: Document) -> State:
    period = document.get("period")
    return State(documents.session_from(document), document["revision"], Period(*period) if period else None)


def runs(session: Session, partial: Partial) -> bool:
    """Whether a kept text is the running answer's. What a late holder left of another one is none."""
    return (session.fence, session.answer_id) == (partial.fence, partial.answer_id)


async def wait_apart(number: int) -> None:
    """Before the next try of who was too late the ``number``th time: a random while, longer from try to try."""
    await asyncio.sleep(random() * min(LONGEST_PAUSE, FIRST_PAUSE * 2**number))  # noqa: S311 - spreads callers


class States:
    """Reads sessions and settles what is pending."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def load(self, session_id: str) -> State | None:
        """The session as it is stored; None when it is not."""
        for _ in range(2):
            found = await self._db.run(lambda: self._db.sessions.find_one({"_id": session_id}))
            if found is None:
                return None
            state = state_from(found)
            pending = await self._entries_after(state.summary)
            if all(logged.entry.index == place for place, logged in enumerate(pending, state.summary.last_index + 1)):
                return state._replace(pending=pending)
        raise StorageCorrupt(f"entries of session {session_id} are missing")  # a second look: it was not being deleted

    async def settle(self, state: State, own: ObjectId | None = None) -> Settled:
        """Bring the session's document up to its log. ``own`` is the entry that is being appended now."""
        others = tuple[str, ...]()
        for number in range(ROUNDS):
            now: State | None = state
            while now and now.pending:
                now, closed_now = await self._advance(now, own)
                others += closed_now
            now = now or await self.load(state.summary.id)
            if now is None:
                await self._forget_takeovers(state)
            if now is None or not now.pending:
                return Settled(now, others)
            state = now
            await wait_apart(number)
        raise Crowded(CROWDED)

    async def _entries_after(self, session: Session) -> tuple[Logged, ...]:
        place = {"session": session.id, "index": {"$gt": session.last_index}}
        found = await self._db.run(lambda: self._db.messages.find(place).sort("index").to_list())
        return tuple(map(documents.logged_from, found))

    async def _advance(self, state: State, own: ObjectId | None) -> tuple[State | None, tuple[str, ...]]:
        """One change of the document; None when others were faster. And the sessions that were closed for it."""
        steps = list(state.steps())
        for step in steps:
            await self._do_elsewhere(step)
        before, last, after = steps[-1]
        others = tuple[str, ...]()
        if after.is_active and not before.is_active:
            rivals = await self._rivals(after)
            if last.id != own and any(opened_later(rival, last) for rival in rivals):
                before, after = after, closed(after)
            else:
                others = await self._close_all(rivals)
        settled = await self._replace(state, before, after)
        if settled is None:
            return None, others
        if any(step.logged.has_texts for step in steps):
            await self.drop_texts(after)
        return settled._replace(pending=state.pending[len(steps) :]), others

    async def _do_elsewhere(self, step: Step) -> None:
        """What an entry changes in other documents than its session's. May be done again at any time."""
        before, (_, entry, change), after = step
        if change.tokens:
            await self._count(before, entry, change.tokens)
        if change.ends_turn:
            kept = {"_id": before.id, "fence": {"$lte": before.fence}}
            await self._db.run(lambda: self._db.partials.delete_one(kept))
        if takeover := takeover_ended(before, entry, after):
            document = documents.takeover_document(takeover)
            await self._db.inserted(lambda: self._db.takeovers.insert_one(document))
        if change.supersedes is not None:
            old = {"session": before.id, "message_id": change.supersedes, "index": {"$lte": entry.index}}
            await self._db.run(lambda: self._db.messages.update_one(old, {"$set": {"superseded": True}}))

    async def _count(self, session: Session, entry: Entry, tokens: int) -> None:
        used = {
            "_id": f"{session.id}:{entry.index}",
            "user_id": session.user_id,
            "day": day_of(entry.timestamp),
            "tokens": tokens,
            "expires": datetime.now(UTC) + USAGE_KEPT,
        }
        await self._db.inserted(lambda: self._db.usage.insert_one(used))

    async def _forget_takeovers(self, state: State) -> None:
        """Those that were noted down while their session was deleted."""
        noted = {"session": state.summary.id, "index": {"$lte": state.session.last_index}}
        await self._db.run(lambda: self._db.takeovers.delete_many(noted))

    async def _rivals(self, session: Session) -> list[Session]:
        """The user's other active session, if any."""
        others = {"user_id": session.user_id, "is_active": True, "_id": {"$ne": session.id}}
        found = await self._db.run(lambda: self._db.sessions.find(others).to_list())
        return [documents.session_from(document) for document in found]

    async def _close_all(self, sessions: list[Session]) -> tuple[str, ...]:
        return tuple([session.id for session in sessions if await self._close(session.id)])

    async def _close(self, session_id: str) -> bool:
        """Close a session's period as its document stands; false when it was not open any more."""
        for number in range(ROUNDS):
            found = await self._db.run(lambda: self._db.sessions.find_one({"_id": session_id, "is_active": True}))
            if found is None:
                return False
            state = state_from(found)
            if await self._replace(state, state.summary, closed(state.summary)):
                return True
            await wait_apart(number)
        raise Crowded(CROWDED)

    async def _replace(self, state: State, before: Session, after: Session) -> State | None:
        """Change a session's document, unless it has been changed since; None then. ``before`` is what the last step
        to ``after`` began from, of which a period may have been closed."""
        period = state.period
        if ended := period_closed(before, after):
            await self._put_away(state)
            period = Period(period.number + 1 if period else 1, *ended)
        update = documents.difference(state.summary, after)
        update["$set"] |= {"revision": state.revision + 1} | ({"period": list(period)} if period else {})
        unchanged = {"_id": after.id, "revision": state.revision}
        try:
            result = await self._db.run(lambda: self._db.sessions.update_one(unchanged, update))
        except DuplicateKeyError:  # another session of the user has got the mark meanwhile
            return None
        return State(after, state.revision + 1, period) if result.matched_count else None

    async def _put_away(self, state: State) -> None:
        """Give the last closed period a document of its own: the next one takes its place."""
        if state.period is None:
            return
        document = documents.period_document(state.summary.id, state.period)
        await self._db.inserted(lambda: self._db.periods.insert_one(document))

    async def drop_texts(self, session: Session) -> None:
        """The document has them now. They would else outlive the key that they are sealed under."""
        told = {"session": session.id, "texts": True, "index": {"$lte": session.last_index}}
        gone = {"$unset": {"change": "", "texts": ""}}
        await self._db.run(lambda: self._db.messages.update_many(told, gone))


def opened_later(session: Session, logged: Logged) -> bool:
    """Whether the user turned to the session after an entry: a late repair must not move the mark back."""
    return session.opened_at is not None and session.opened_at > logged.entry.timestamp
