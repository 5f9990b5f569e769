"""The life of sessions: found or made for those who come, renamed, shared, ended, deleted.

Authorisation is by lookup: a stranger's session does not exist.
"""

from __future__ import annotations

from contextlib import suppress

from chatbox.backplane.base import Backplane, Quotas, Removed, Stored
from chatbox.entries import leaving, system_entry
from chatbox.errors import Fenced, NotFound
from chatbox.hub import Hub
from chatbox.metrics import Metrics
from chatbox.reply import Replies
from chatbox.session import MAX_MESSAGE_ID, Change, Entry, Kind, Principal, Session, new_id, now_ms
from chatbox.storage.base import AI, Appended, SessionQuery, Storage
from chatbox.turn import ENDED

NEW = "new"
"""The session id that asks for a session of its own."""
LISTENERS = "listeners"
"""The pool of sockets by session; one that left lingers for ``RECONNECT_TIMEOUT``."""


class Sessions:
    """``reconnect_timeout`` in s: so long an active session waits for its user to come back."""

    def __init__(
        self,
        storage: Storage,
        backplane: Backplane,
        quotas: Quotas,
        hub: Hub,
        replies: Replies,
        metrics: Metrics,
        *,
        reconnect_timeout: float,
    ) -> None:
        self._storage = storage
        self._backplane = backplane
        self._quotas = quotas
        self._hub = hub
        self._replies = replies
        self._metrics = metrics
        self._reconnect_timeout = reconnect_timeout

    async def own(self, principal: Principal, session_id: str) -> Session:
        """The session, if it is this user's. Raises ``NotFound``."""
        session = await self._storage.get(session_id)
        if session is None or session.user_id != principal.user_id:
            raise NotFound("The session does not exist.")
        return session

    async def choose(self, principal: Principal, wanted: str) -> Session:
        """The session for a socket: the one it names, the user's active one, or an empty one, made if there is none.
        Two sockets that come at once, to whichever replicas, get the same."""
        if wanted not in ("", NEW):
            named = await self._storage.get(wanted)
            if named and named.user_id == principal.user_id:
                return named
        active = None if wanted == NEW else await self._active(principal)
        return active or await self._create(principal)

    async def abandoned(self, session: Session) -> bool:
        """Whether nobody has been connected to the session for ``RECONNECT_TIMEOUT``, and nothing answers it. When all
        replicas were down meanwhile, its last activity counts."""
        if session.answer_id or self._replies.running(session.id) is not None:
            return False
        if await self._quotas.members(LISTENERS, session.id):
            return False
        return now_ms() - session.last_activity >= self._reconnect_timeout * 1000

    async def rename(self, session: Session, name: str) -> Session:
        """Give the session a name; everyone attached is told."""
        metadata = {"event": "session_renamed", "name": name}
        note = system_entry(session.id, Kind.NOTIFICATION, new_id(), metadata)
        return (await self._append(note, Change(name=name))).session

    async def close(self, session: Session) -> Session:
        """End the session: its answer stops, staff leave, its period closes. Ending twice is ending once."""
        now = await self._replies.halt(session.id)
        while now and (session.is_active or now.assisting_admin_id):
            await self._end_takeover(now)
            if session.is_active:
                with suppress(Fenced):  # staff have joined meanwhile
                    return await self._end_period(session)
            now = await self._storage.get(session.id)
        if now is None:
            raise NotFound("The session does not exist.")
        return now

    async def delete(self, session: Session) -> None:
        """Remove the session for good; its answer stops, its sockets close."""
        await self._replies.halt(session.id)
        await self._storage.delete(session.id)
        await self._gone(session.id)

    async def remove(self, session: Session) -> None:
        """Remove an abandoned session for good, unless something is said in it in this very moment."""
        if await self._storage.delete(session.id, last_index=session.last_index):
            await self._gone(session.id)

    async def share(self, session: Session) -> str:
        """The session's share token: the same until it is revoked. Raises ``NotFound``."""
        now = await self._storage.get(session.id)
        if now is None:
            raise NotFound("The session does not exist.")
        if now.share_token:
            return now.share_token
        token = new_id()
        entry = system_entry(session.id, Kind.SHARE, _own_id("share", now.last_index), {})
        return (await self._append(entry, Change(share_token=token))).session.share_token or token

    async def unshare(self, session: Session) -> None:
        """Revoke the share link at once."""
        now = await self._storage.get(session.id)
        if now and now.share_token:
            entry = system_entry(session.id, Kind.SHARE, _own_id("unshare", now.last_index), {})
            await self._append(entry, Change(share_token=""))

    async def _end_takeover(self, session: Session) -> None:
        if session.assisting_admin_id is None:
            return
        entry = leaving(session, _own_id("leave", session.assisted_index), reason="ended")
        with suppress(Fenced):  # they have left meanwhile
            await self._append(entry, Change(leaves=True, by=session.assisting_admin_id))

    async def _end_period(self, session: Session) -> Session:
        """Close the period that is open. Raises ``Fenced`` while staff have the session."""
        note = system_entry(session.id, Kind.NOTIFICATION, _own_id(ENDED, session.opened_at), {"event": ENDED})
        stored = await self._append(note, Change(active=False, by=AI))
        if stored.fresh:
            self._metrics.sessions_ended_total.inc()
        return stored.session

    async def _gone(self, session_id: str) -> None:
        await self._backplane.publish(session_id, Removed())
        await self._hub.forget(session_id)

    async def _active(self, principal: Principal) -> Session | None:
        for session in await self._storage.find(SessionQuery(user_id=principal.user_id, active=True, limit=1)):
            if not await self.abandoned(session):
                return session
            await self.close(session)
        return None

    async def _create(self, principal: Principal) -> Session:
        now = now_ms()
        session = Session(
            id=new_id(),
            user_id=principal.user_id,
            user_name=principal.name,
            epoch=new_id(),
            start_time=now,
            last_activity=now,
            context=principal.context,
        )
        stored = await self._storage.create(session)
        if stored.id == session.id:
            self._metrics.sessions_created_total.inc()
        return stored

    async def _append(self, entry: Entry, change: Change) -> Appended:
        stored = await self._storage.append(entry, change)
        if stored.fresh:
            await self._backplane.publish(entry.session_id, Stored(stored.entry))
        return stored


def _own_id(what: str, number: int | None) -> str:
    """The id of what is done once, however often and wherever it is asked for. No client may send so long a one."""
    return f"{what}:{number}".rjust(MAX_MESSAGE_ID + 1, ":")
