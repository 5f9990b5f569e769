"""Those who take conversations over: each acts through any replica, and tries again what came to no end."""

from __future__ import annotations

import asyncio

import detangle

from chatbox.errors import Conflict, NotFound, StorageError, Unavailable
from chatbox.session import Principal, Staff
from tests.schedules.book import AMONG_STAFF

PATIENCE = 20.0
"""Seconds after which nobody waits for a replica any longer."""


class Member:
    """A member of staff. ``refused`` is what they were told last when something could not be done, "" if it was done;
    ``took`` is how long the last thing took, in s."""

    def __init__(self, cluster, user, roles):
        self.cluster = cluster
        self.book = cluster.book
        self.user = user
        self.principal = Principal(user, user.title(), frozenset(roles), 1e9)
        self.refused = ""
        self.took = 0.0
        self._numbers = 0

    async def join(self, session_id, at=None, message_id=""):
        return await self._does("join", lambda how, i: how.join(self.principal, session_id, i), at, message_id)

    async def leave(self, session_id, at=None):
        return await self._does("leave", lambda how, i: how.leave(self.principal, session_id, i), at)

    async def release(self, session_id, at=None):
        return await self._does("release", lambda how, i: how.release(self.principal, session_id, i), at)

    async def transfer(self, to, session_id, at=None):
        colleague = Staff(to.user, to.principal.name)
        return await self._does("transfer", lambda how, i: how.transfer(self.principal, colleague, session_id, i), at)

    async def say(self, session_id, content, at=None):
        text = f"{self.user} says {content}"
        return await self._does("said", lambda how, i: how.say(self.principal, session_id, i, text), at)

    async def note(self, session_id, content, at=None):
        text = f"{AMONG_STAFF}: {content}"
        return await self._does("note", lambda how, i: how.note(self.principal, session_id, i, text), at)

    async def _does(self, what, call, at=None, message_id=""):
        """Do something, with the same id through another replica when the first one does not answer. Returns the
        session, None when it was refused."""
        self._numbers += 1
        message_id = message_id or f"{what}-{self.user}-{self._numbers}"
        loop = asyncio.get_running_loop()
        begun, session = loop.time(), None
        while session is None:
            replica = at if at in self.cluster.alive else detangle.choice(self.cluster.alive)
            self.book.note(self.user, "does", what, message_id, "through", replica.name)
            task = detangle.spawn(call(replica.takeovers, message_id), host=replica.name)
            at = None
            await asyncio.wait([task], timeout=PATIENCE)
            if not task.done() or task.cancelled():
                task.add_done_callback(_let_go)
                continue
            try:
                session = task.result()
            except (Conflict, NotFound) as refusal:
                self.refused = str(refusal)
                self.book.note(self.user, "is refused:", refusal)
                return None
            except (StorageError, Unavailable):
                await asyncio.sleep(0.3)
        self.refused, self.took = "", loop.time() - begun
        self.book.note(self.user, "has done", message_id)
        self.book.done_by(self.user, what, session.id, message_id)
        return session


def _let_go(task):
    """Whatever comes of it, nobody waits for it any more."""
    if not task.cancelled():
        task.exception()
