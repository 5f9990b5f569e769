"""What is written. The insert of an entry's document is its commit; what follows from it may be done by anyone."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import NamedTuple
from weakref import WeakValueDictionary

import structlog
from bson import ObjectId
from msgspec.structs import replace

from chatbox.errors import Fenced, NotFound, StorageBusy, StorageError
from chatbox.session import Change, Entry, Session
from chatbox.storage.base import Appended, Partial, admit, admit_partial
from chatbox.storage.mongo import documents, queries, removal
from chatbox.storage.mongo.database import Database
from chatbox.storage.mongo.documents import Logged
from chatbox.storage.mongo.keeping import Keeping
from chatbox.storage.mongo.states import CROWDED, ROUNDS, Crowded, State, States, runs, wait_apart
from chatbox.storage.mongo.tallies import Tallies

log = structlog.get_logger(component="storage")

REMEMBERED = 4096
"""Sessions kept as this process left them. Others write too: what is remembered is checked by every write."""


class Committed(NamedTuple):
    """An entry that is in the log, after ``before``; or the one that was there first, when not ``fresh``."""

    logged: Logged
    before: State
    fresh: bool = True


class Ledger:
    """The writing side of the store. Callers of this process take turns a session; those of others are found out by
    the indexes of the database."""

    def __init__(self, database: Database, tallies: Tallies) -> None:
        self._db = database
        self._tallies = tallies
        self._states = States(database)
        self._keeping = Keeping(database)
        self._known: dict[str, State] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def create(self, session: Session) -> Session:
        document = documents.session_document(session) | {"revision": 0}
        for number in range(ROUNDS):
            if await self._db.inserted(lambda: self._db.sessions.insert_one(document)):
                return session
            if empty := await self._empty(session.user_id):
                return empty
            if await queries.exists(self._db, session.id):
                raise StorageError(f"session {session.id} exists")
            await wait_apart(number)
        raise StorageBusy(CROWDED)

    async def get(self, session_id: str) -> Session | None:
        """As of the newest entry, whoever appended it. What a dead process left undone is done on the way."""
        state = await self._states.load(session_id)
        if state is None:
            return None
        if state.pending and not self._lock(session_id).locked():
            with suppress(Crowded):  # who keeps writing there does it
                async with self._lock(session_id):
                    state = (await self._states.settle(state)).state
        return state and state.session

    async def append(self, entry: Entry, change: Change, fence: int | None) -> Appended:
        async with self._lock(entry.session_id):
            logged, before, fresh = await self._commit(entry, change, fence)
            if not fresh:
                return Appended(logged.entry, before.session, fresh=False)
            appended = await self._settled(logged, before)
            self._tallies.count(logged.entry, change)
            return appended

    async def keep(self, partial: Partial) -> None:
        if await self._keeping.replaced(partial):
            return
        if not self._seems_to_run(partial):
            await self._admit(partial)
        place = {"_id": partial.session_id, "fence": {"$lte": partial.fence}}
        values = {"answer_id": partial.answer_id, "fence": partial.fence, "content": partial.content}
        if not await self._db.inserted(lambda: self._db.partials.update_one(place, {"$set": values}, upsert=True)):
            raise Fenced(f"answer {partial.answer_id} was followed by another one")
        try:
            await self._admit(partial)
        except (Fenced, NotFound):  # it ended while this was written
            await self._db.run(lambda: self._db.partials.delete_one(place))
            raise
        self._keeping.remember(partial)

    async def partial(self, session_id: str) -> Partial | None:
        found = await self._db.run(lambda: self._db.partials.find_one({"_id": session_id}))
        state = await self._states.load(session_id) if found else None
        if found is None or state is None:
            return None
        partial = documents.partial_from(found)
        return partial if runs(state.session, partial) else None

    async def delete(self, session_id: str, last_index: int | None) -> bool:
        async with self._lock(session_id):
            self._known.pop(session_id, None)
            state = None if last_index is None else await self._states.load(session_id)
            if state and state.session.last_index != last_index:
                return False
            return await removal.delete(self._db, session_id, state and state.revision)

    def _lock(self, session_id: str) -> asyncio.Lock:
        return self._locks.setdefault(session_id, asyncio.Lock())

    async def _existing(self, session_id: str) -> State:
        state = await self._states.load(session_id)
        if state is None:
            self._known.pop(session_id, None)
            raise NotFound("no such session")
        return state

    async def _empty(self, user_id: str) -> Session | None:
        """The user's session without entries. A document that lags behind its log is brought up to it."""
        place = {"user_id": user_id, "last_index": 0}
        found = await self._db.run(lambda: self._db.sessions.find_one(place, {"_id": True}))
        session = await self.get(found["_id"]) if found else None
        return session if session and session.last_index == 0 else None

    async def _commit(self, entry: Entry, change: Change, fence: int | None) -> Committed:
        """Insert the entry after the newest one, if the session as of that one admits it.

        Only who inserts at the next place knows that the session was still as it was looked at: the fence is exact.
        """
        logged, state, looked = Logged(ObjectId(), entry, change), self._known.get(entry.session_id), False
        for number in range(ROUNDS):
            if state is None:
                state, looked = await self._existing(entry.session_id), True
            refusal = refused(state.session, change, fence)
            if refusal is None:
                logged = logged._replace(entry=replace(entry, index=state.session.last_index + 1))
                if await self._insert(logged):
                    return Committed(logged, state)
            if first := await self._first(entry):
                if first.id == logged.id:  # it was new: the answer to the first try got lost
                    return Committed(logged, state)
                return Committed(first, await self._existing(entry.session_id), fresh=False)
            if refusal and looked:
                raise refusal
            state = None
            await wait_apart(number)
        raise StorageBusy(CROWDED)

    async def _insert(self, logged: Logged) -> bool:
        document = documents.entry_document(logged)
        return await self._db.inserted(lambda: self._db.messages.insert_one(document))

    async def _first(self, entry: Entry) -> Logged | None:
        """What is stored under this entry's id."""
        place = {"session": entry.session_id, "message_id": entry.message_id}
        found = await self._db.run(lambda: self._db.messages.find_one(place))
        return documents.logged_from(found) if found else None

    async def _settled(self, logged: Logged, before: State) -> Appended:
        """What follows from an entry that is committed: to fail here takes nothing back."""
        state = before._replace(pending=(*before.pending, logged))
        try:
            settled = await self._states.settle(state, own=logged.id)
        except StorageError as error:
            self._known.pop(logged.entry.session_id, None)
            log.warning("a session lags behind its log", session=logged.entry.session_id, error=str(error))
            return Appended(logged.entry, state.session, fresh=True)
        if settled.state is None:
            await self._db.run(lambda: self._db.messages.delete_one({"_id": logged.id}))
            raise NotFound("no such session")
        self._remember(settled.state)
        latest = settled.state.session
        session = latest if latest.last_index == logged.entry.index else state.session
        return Appended(logged.entry, session, fresh=True, closed=settled.closed)

    def _remember(self, state: State) -> None:
        session_id = state.summary.id
        if session_id not in self._known and len(self._known) >= REMEMBERED:
            self._known.pop(next(iter(self._known)))
        self._known[session_id] = state

    def _seems_to_run(self, partial: Partial) -> bool:
        """Whether this process knows of no later turn. There may be one: the look after the writing tells."""
        state = self._known.get(partial.session_id)
        return state is not None and runs(state.session, partial)

    async def _admit(self, partial: Partial) -> None:
        admit_partial((await self._existing(partial.session_id)).session, partial)


def refused(session: Session, change: Change, fence: int | None) -> Fenced | None:
    """Why a session does not admit an entry."""
    try:
        admit(session, change, fence)
    except Fenced as error:
        return error
    return None
