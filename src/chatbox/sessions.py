"""The life of sessions: found or made for those who come, renamed, shared, ended, deleted.

Authorisation is by lookup: a stranger's session does not exist.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from weakref import WeakValueDictionary

from chatbox.backplane.base import Backplane, Removed, Stored
from chatbox.errors import NotFound
from chatbox.hub import Hub
from chatbox.metrics import Metrics
from chatbox.reply import Replies
from chatbox.session import Change, Entry, Kind, Principal, Sender, Session, new_id, now_ms
from chatbox.storage.base import SessionQuery, Storage
from chatbox.turn import ENDED

NEW = "new"
"""The session id that asks for a session of its own."""


class Sessions:
    """``reconnect_timeout`` in s: so long an active session waits for its user to come back."""

    def __init__(
        self,
        storage: Storage,
        backplane: Backplane,
        hub: Hub,
        replies: Replies,
        metrics: Metrics,
        *,
        reconnect_timeout: float,
    ) -> None:
        self._storage = storage
        self._backplane = backplane
        self._hub = hub
        self._replies = replies
        self._metrics = metrics
        self._reconnect_timeout = reconnect_timeout
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def own(self, principal: Principal, session_id: str) -> Session:
        """The session, if it is this user's. Raises ``NotFound``."""
        session = await self._storage.get(session_id)
        if session is None or session.user_id != principal.user_id:
            raise NotFound("The session does not exist.")
        return session

    async def choose(self, principal: Principal, wanted: str) -> Session:
        """The session for a socket: the one it names, the user's active one, or an empty one, made if there is none.
        Two sockets that come at once get the same."""
        async with self._lock(principal.user_id):
            if wanted not in ("", NEW):
                named = await self._storage.get(wanted)
                if named and named.user_id == principal.user_id:
                    return named
            if wanted != NEW and (active := await self._active(principal)):
                return active
            empty = await self._storage.find(SessionQuery(user_id=principal.user_id, empty=True, limit=1))
            return empty[0] if empty else await self._create(principal)

    def abandoned(self, session: Session) -> bool:
        """Whether nobody has been connected to the session for ``RECONNECT_TIMEOUT``, as far as is known here."""
        room = self._hub.room(session.id)
        if (room and room.listeners) or self._replies.running(session.id) is not None:
            return False
        away = time.monotonic() - room.left_at if room else (now_ms() - session.last_activity) / 1000
        return away >= self._reconnect_timeout

    async def rename(self, session: Session, name: str) -> Session:
        """Give the session a name; everyone attached is told."""
        return await self._note(session, {"event": "session_renamed", "name": name}, Change(name=name))

    async def close(self, session: Session) -> Session:
        """End the session: its answer stops, its period closes. Ending twice is ending once."""
        await self._replies.halt(session.id)
        if not session.is_active:
            return session
        ended = await self._note(session, {"event": ENDED}, Change(active=False))
        self._metrics.sessions_ended_total.inc()
        return ended

    async def delete(self, session: Session) -> None:
        """Remove the session for good; its answer stops, its sockets close."""
        await self._replies.halt(session.id)
        await self._storage.delete(session.id)
        await self._backplane.publish(session.id, Removed())
        await self._hub.forget(session.id)

    async def share(self, session: Session) -> str:
        """The session's share token: the same until it is revoked. Raises ``NotFound``."""
        async with self._lock(session.user_id):
            now = await self._storage.get(session.id)
            if now and now.share_token:
                return now.share_token
            token = new_id()
            return (await self._append(session, Kind.SHARE, {}, Change(share_token=token))).share_token or token

    async def unshare(self, session: Session) -> None:
        """Revoke the share link at once."""
        async with self._lock(session.user_id):
            now = await self._storage.get(session.id)
            if now and now.share_token:
                await self._append(session, Kind.SHARE, {}, Change(share_token=""))

    def _lock(self, user_id: str) -> asyncio.Lock:
        return self._locks.setdefault(user_id, asyncio.Lock())

    async def _active(self, principal: Principal) -> Session | None:
        for session in await self._storage.find(SessionQuery(user_id=principal.user_id, active=True, limit=1)):
            if not self.abandoned(session):
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

    async def _note(self, session: Session, metadata: Mapping[str, str], change: Change) -> Session:
        return await self._append(session, Kind.NOTIFICATION, metadata, change)

    async def _append(self, session: Session, kind: Kind, metadata: Mapping[str, str], change: Change) -> Session:
        stored = await self._storage.append(system_entry(session.id, kind, new_id(), metadata), change)
        await self._backplane.publish(session.id, Stored(stored.entry))
        return stored.session


def system_entry(session_id: str, kind: Kind, message_id: str, metadata: Mapping[str, str]) -> Entry:
    """An entry that nobody said."""
    return Entry(
        session_id=session_id,
        kind=kind,
        message_id=message_id,
        sender=Sender.SYSTEM,
        timestamp=now_ms(),
        metadata=dict(metadata),
    )
