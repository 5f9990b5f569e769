"""Whose a session is: the AI's, or one member of staff's.

That is a value of the session, which the log changes: ``admin_join`` gives it to a member of staff, ``admin_leave``
back to the AI. The store lets staff join only between two answers, and takes no turn while they are there. So whatever
replica the AI writes on and however late it is: nothing of it comes after the join.

    the AI has it ──join (the running answer is stopped before)──► staff have it ──leave, release, away, end──► the AI
                                                                        └──transfer──► a colleague has it

What the user asked and nobody answered is answered when the AI has the session again.
"""

from __future__ import annotations

import time

import structlog

from chatbox.backplane.base import LEASE
from chatbox.commits import Commits, acknowledge_nothing
from chatbox.entries import leaving, staff_entry
from chatbox.errors import Conflict, Fenced, Forbidden, NotFound, StorageError, Unavailable
from chatbox.metrics import Metrics
from chatbox.reply import GRACE, Replies
from chatbox.room import Listener
from chatbox.session import ADMIN, Change, Entry, Kind, Principal, Session, Staff
from chatbox.storage.base import Storage
from chatbox.turn import PAUSE

log = structlog.get_logger(component="takeovers")

PATIENCE = LEASE + 2 * GRACE
"""Seconds after which an answer that does not stop makes a takeover fail: the lease of one whose replica died is over
by then."""


class Takeovers:
    """What staff do in sessions. ``listener`` is their socket in the session, None where there is none.

    Everything here is idempotent by ``message_id``, and raises ``NotFound``, ``Conflict`` and ``StorageError``.
    """

    def __init__(self, storage: Storage, commits: Commits, replies: Replies, metrics: Metrics) -> None:
        self._storage = storage
        self._commits = commits
        self._replies = replies
        self._metrics = metrics

    async def join(
        self, staff: Principal, session_id: str, message_id: str, listener: Listener | None = None
    ) -> Session:
        """Take the session over; a running answer is stopped before, and what there is of it stays. ``Conflict`` names
        who has it already. Raises ``Unavailable`` when the answer does not stop: its replica can't be reached."""
        entry = staff_entry(staff.staff, session_id, Kind.ADMIN_JOIN, message_id)
        change = Change(joins=staff.user_id, admin_name=staff.name)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                stored = await self._commits.commit(listener, entry, change)
            except Fenced:
                session = await self._session(session_id)
            else:
                if stored.fresh:
                    self._metrics.admin_takeovers_total.inc()
                return stored.session
            if session.assisting_admin_id == staff.user_id:
                if listener:
                    acknowledge_nothing(listener, session_id, message_id)
                return session
            if session.assisting_admin_id:
                raise Conflict(_taken(session))
            if (left := deadline - time.monotonic()) <= 0:
                raise Unavailable("The running answer can't be stopped now. Try again in a moment.")
            await self._replies.halt(session_id, PAUSE, left)

    async def leave(
        self, staff: Principal, session_id: str, message_id: str, listener: Listener | None = None
    ) -> Session:
        """Give the session back to the AI, which answers what nobody has answered."""
        entry = staff_entry(staff.staff, session_id, Kind.ADMIN_LEAVE, message_id)
        try:
            return await self._give_back(entry, staff.user_id, listener)
        except Fenced:
            raise await self._not_yours(session_id) from None

    async def release(self, staff: Principal, session_id: str, message_id: str) -> Session:
        """Give back a session that one has oneself or, with the role ``admin``, a colleague's. Else raises
        ``Forbidden``."""
        session = await self._session(session_id)
        holder = session.assisting_admin_id
        if holder in (None, staff.user_id):
            return await self.leave(staff, session_id, message_id)
        if ADMIN not in staff.roles:
            raise Forbidden("Only an administrator gives back a colleague's conversation.")
        session = await self.end(session, message_id, reason="released", released_by=staff.user_id)
        if session.assisting_admin_id:  # it was handed on in this very moment
            raise Conflict(_taken(session))
        return session

    async def end(self, session: Session, message_id: str, **why: str) -> Session:
        """End a takeover in the place of who has the session: released, gone, or with the session. If it is theirs no
        more, nothing happens."""
        holder = session.assisting_admin_id or ""
        try:
            return await self._give_back(leaving(session, message_id, **why), holder, None)
        except Fenced:
            return await self._session(session.id)

    async def transfer(
        self, staff: Principal, to: Staff, session_id: str, message_id: str, listener: Listener | None = None
    ) -> Session:
        """Give the session to a colleague, without the AI between."""
        if to.id == staff.user_id:
            raise Conflict("A conversation is handed on to a colleague.")
        before = {"from_id": staff.user_id, "from_name": staff.name}
        entry = staff_entry(to, session_id, Kind.ADMIN_JOIN, message_id, **before)
        change = Change(joins=to.id, admin_name=to.name, by=staff.user_id)
        try:
            return (await self._commits.commit(listener, entry, change)).session
        except Fenced:
            raise await self._not_yours(session_id) from None

    async def say(
        self,
        staff: Principal,
        session_id: str,
        message_id: str,
        content: str,
        listener: Listener | None = None,
    ) -> Session:
        """Say something to the user of a session that one has."""
        entry = staff_entry(staff.staff, session_id, Kind.USER_MESSAGE, message_id, content)
        try:
            return (await self._commits.commit(listener, entry, Change(by=staff.user_id))).session
        except Fenced:
            raise await self._not_yours(session_id) from None

    async def note(
        self,
        staff: Principal,
        session_id: str,
        message_id: str,
        content: str,
        listener: Listener | None = None,
    ) -> Session:
        """Note something for colleagues, which neither the user nor the model ever sees."""
        entry = staff_entry(staff.staff, session_id, Kind.NOTE, message_id, content)
        return (await self._commits.commit(listener, entry, Change())).session

    async def _give_back(self, entry: Entry, holder: str, listener: Listener | None) -> Session:
        stored = await self._commits.commit(listener, entry, Change(leaves=True, by=holder))
        try:
            await self._replies.look(stored.session)
        except StorageError as error:
            log.warning("what was asked is answered later", session=entry.session_id, error=str(error))
        return stored.session

    async def _session(self, session_id: str) -> Session:
        session = await self._storage.get(session_id)
        if session is None:
            raise NotFound("The conversation does not exist.")
        return session

    async def _not_yours(self, session_id: str) -> Conflict:
        session = await self._session(session_id)
        if session.assisting_admin_id:
            return Conflict(_taken(session))
        return Conflict("Take the conversation over first.")


def _taken(session: Session) -> str:
    return f"{session.assisting_admin_name or session.assisting_admin_id} has this conversation."
