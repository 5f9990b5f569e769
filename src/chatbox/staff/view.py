"""A session as staff see it, in frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatbox.backplane.base import Quotas
from chatbox.connections import SOCKETS
from chatbox.session import Session, now_ms
from chatbox.views import StaffSessionView


class Views:
    """Adds to a session what is not stored: whether its user is there."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas

    async def of(self, session: Session) -> dict[str, Any]:
        return view(session, online=await self.online(session))

    async def of_all(self, sessions: Sequence[Session]) -> list[dict[str, Any]]:
        first = {session.user_id: session for session in sessions}
        online = {user_id: await self.online(session) for user_id, session in first.items()}
        return [view(session, online=online[session.user_id]) for session in sessions]

    async def online(self, session: Session) -> bool:
        """Whether the session's user has a socket open."""
        return bool(await self._quotas.members(SOCKETS, session.user_id))


def view(session: Session, *, online: bool) -> dict[str, Any]:
    """A session with what staff have to know of it; what has no value is left out."""
    return StaffSessionView.of(session, now_ms()).model_dump(exclude_none=True) | {"online": online}
