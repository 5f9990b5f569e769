"""The conversations as staff see them: lists, and each as a whole."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query

from chatbox import transcript
from chatbox.api.guard import StaffGuard
from chatbox.api.staff.models import (
    SessionId,
    StaffConversation,
    StaffSessionList,
)
from chatbox.audit import Audit
from chatbox.conversations import Conversations
from chatbox.session import STAFF_VISIBLE, Principal, now_ms
from chatbox.staff.parameters import ListParameters, UserListParameters
from chatbox.storage.base import Storage
from chatbox.storage.overview import StaffQuery
from chatbox.strictjson import MAX_INT
from chatbox.views import StaffSessionView


def routes(guard: StaffGuard, storage: Storage, conversations: Conversations, audit: Audit) -> APIRouter:
    """List and read."""
    router = APIRouter()
    caller = Depends(guard)

    @router.get("/sessions", dependencies=[caller])
    async def list_sessions(asked: Annotated[ListParameters, Query()]) -> StaffSessionList:
        """Sessions of all users; `total` counts all that match."""
        return await _listing(storage, asked.query())

    @router.get("/users/{user_id:path}/sessions", dependencies=[caller])
    async def list_of_user(
        user_id: Annotated[str, Path(max_length=128)], asked: Annotated[UserListParameters, Query()]
    ) -> StaffSessionList:
        """Sessions of one user."""
        return await _listing(storage, asked.of(user_id))

    @router.get("/sessions/{session_id}", response_model=StaffConversation)
    async def open_session(
        session_id: SessionId, before: Annotated[int | None, Query(ge=1, le=MAX_INT)] = None, staff: Principal = caller
    ) -> dict[str, Any]:
        """The stored messages, ascending, notes among them; `before` pages back. The audit log tells who read them."""
        session = await conversations.session(session_id)
        await audit.note(staff, "read", session_id=session.id, user_id=session.user_id)
        page = await conversations.page(session, before, STAFF_VISIBLE)
        return {
            "session_id": session.id,
            "name": session.name,
            "model_id": session.model_id,
            "messages": [transcript.message(entry) for entry in page.entries],
            "epoch": session.epoch,
            "seq": page.seq,
            "before": page.before,
            "session": StaffSessionView.of(session, now_ms()),
        }

    return router


async def _listing(storage: Storage, query: StaffQuery) -> StaffSessionList:
    now = now_ms()
    page, total = await asyncio.gather(storage.overview.sessions(query, now), storage.overview.count(query))
    return StaffSessionList(
        sessions=[StaffSessionView.of(session, now) for session in page],
        count=len(page),
        total=total,
        limit=query.limit,
        offset=query.offset,
    )
