"""Which members of staff are there, over all replicas; and what becomes of the sessions of those who are gone."""

from __future__ import annotations

import asyncio
import json
import time

import structlog

from chatbox.backplane.base import Backplane, Quotas
from chatbox.errors import BackplaneDown, NotFound, StorageCorrupt, StorageError
from chatbox.keyring import Keyring
from chatbox.session import MAX_MESSAGE_ID, Principal, Session, Staff
from chatbox.storage.base import SessionQuery, Storage
from chatbox.storage.paging import sessions_of
from chatbox.takeovers import Takeovers

log = structlog.get_logger(component="presence")

DESKS = "staff"
"""The pool of staff sockets."""
CALLS = "staff_calls"
"""The pool of staff who have just called a route, by their id."""
RECENTLY = 60.0
"""Seconds for which a call of a route counts as being there."""
EVERYONE = "online"
BOUND = b"staff online"


class Presence:
    """Who is there: with a socket open, or by having called a route just now. What the replicas share of it is sealed;
    ``readable`` is whether all of it could be read the last time."""

    def __init__(self, quotas: Quotas, keyring: Keyring) -> None:
        self._quotas = quotas
        self._keyring = keyring
        self._members: dict[str, str] = {}
        self.readable = True

    async def arrive(self, who: Principal, socket_id: str) -> None:
        """A staff socket has opened."""
        member = json.dumps([who.user_id, who.name, socket_id]).encode()
        self._members[socket_id] = self._keyring.encrypt(member, BOUND)
        await self._quotas.enter(DESKS, EVERYONE, self._members[socket_id])

    async def depart(self, socket_id: str) -> None:
        """It has closed; of one that never opened: nothing."""
        if member := self._members.pop(socket_id, None):
            await self._quotas.leave(DESKS, EVERYONE, member)

    async def call(self, who: Principal) -> None:
        """A member of staff has called a route."""
        await self._quotas.enter(CALLS, who.user_id, "")
        await self._quotas.leave(CALLS, who.user_id, "")

    async def online(self) -> list[Staff]:
        """Who has a socket open, by name."""
        members = [self._opened(member) for member in await self._quotas.members(DESKS, EVERYONE)]
        self.readable = None not in members
        found = {staff.id: staff for staff in sorted(filter(None, members), key=lambda staff: staff.name)}
        return sorted(found.values(), key=lambda staff: (staff.name, staff.id))

    def _opened(self, member: str) -> Staff | None:
        try:
            staff_id, name, _ = json.loads(self._keyring.decrypt(member, BOUND))
        except StorageCorrupt as error:
            log.warning("who is online can't be read", error=str(error))
            return None
        return Staff(staff_id, name)

    async def colleague(self, staff_id: str) -> Staff:
        """The member of staff with this id. Raises ``NotFound`` unless online."""
        for staff in await self.online():
            if staff.id == staff_id:
                return staff
        raise NotFound("This colleague is not online.")

    async def called(self, staff_id: str) -> bool:
        """Whether one who may have no socket open has called a route lately."""
        return bool(await self._quotas.members(CALLS, staff_id))


class Away:
    """Gives the sessions of staff who have been gone for ``timeout`` seconds back to the AI.

    Every replica sees to that, and measures by itself how long they have been gone; while it can't ask the others who
    is there, or read what they say, nobody is gone.
    """

    def __init__(
        self, storage: Storage, backplane: Backplane, presence: Presence, takeovers: Takeovers, timeout: float
    ) -> None:
        self._storage = storage
        self._backplane = backplane
        self._presence = presence
        self._takeovers = takeovers
        self._timeout = timeout
        self._gone_since: dict[str, float] = {}

    async def run(self) -> None:
        """Look from time to time, until cancelled."""
        while True:
            await asyncio.sleep(min(5.0, self._timeout / 4))
            try:
                await self.look()
            except (StorageError, BackplaneDown) as error:
                self._gone_since.clear()
                log.warning("nobody knows which staff are away", error=str(error))

    async def look(self) -> None:
        """See who has sessions and is not there. Raises ``StorageError``, ``BackplaneDown``."""
        await self._backplane.check()
        online = {staff.id for staff in await self._presence.online()}
        now, gone = time.monotonic(), dict[str, float]()
        async for session in sessions_of(self._storage, SessionQuery(assisted=True)):
            holder = session.assisting_admin_id or ""
            if self._presence.readable and holder not in online and not await self._presence.called(holder):
                gone[holder] = self._gone_since.get(holder, now)
                if now - gone[holder] >= self._timeout:
                    await self._give_back(session)
        self._gone_since = gone

    async def _give_back(self, session: Session) -> None:
        message_id = f"away:{session.assisted_index}".rjust(MAX_MESSAGE_ID + 1, ":")
        try:
            await self._takeovers.end(session, message_id, reason="away")
        except NotFound:
            return
        log.info("a member of staff is away; the AI has the session again", session=session.id)
