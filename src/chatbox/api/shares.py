"""Links that show a conversation to anyone who has them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request

from chatbox import transcript
from chatbox.api.guard import Guard
from chatbox.api.models import SharedView, ShareView
from chatbox.backplane.base import Quotas
from chatbox.conversations import Conversations
from chatbox.errors import TooMany
from chatbox.session import Principal
from chatbox.sessions import Sessions

LIMIT = "shared"
"""The limit on readers of share links, an address."""


def routes(guard: Guard, sessions: Sessions, conversations: Conversations, quotas: Quotas) -> APIRouter:
    """Make, revoke and read share links."""
    router = APIRouter(tags=["shares"])
    caller = Depends(guard)

    @router.post("/sessions/{session_id}/share")
    async def share(session_id: str, principal: Principal = caller) -> ShareView:
        """The session's share token: the same until it is revoked."""
        return ShareView(share_token=await sessions.share(await sessions.own(principal, session_id)))

    @router.delete("/sessions/{session_id}/share", status_code=204)
    async def revoke(session_id: str, principal: Principal = caller) -> None:
        """Revoke the link at once."""
        await sessions.unshare(await sessions.own(principal, session_id))

    @router.get("/shared/{share_token}", response_model=SharedView)
    async def read(share_token: str, request: Request) -> dict[str, Any]:
        """What the link shows now. Public; limited per address."""
        address = request.client.host if request.client else ""
        if wait := await quotas.hit(LIMIT, address):
            raise TooMany("Too many requests. Wait a moment.", retry_after=round(wait * 1000) + 1)
        session, entries = await conversations.shared(share_token)
        messages = [transcript.message(entry) for entry in entries]
        return {"session_id": session.id, "name": session.name, "messages": messages}

    return router
