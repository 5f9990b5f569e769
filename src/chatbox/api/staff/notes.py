"""Notes on conversations, by staff for staff."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from chatbox import transcript
from chatbox.api.body import strict
from chatbox.api.guard import StaffGuard
from chatbox.api.staff.models import NewNote, NoteList, NoteTaken, SessionId
from chatbox.audit import Audit
from chatbox.conversations import Conversations
from chatbox.session import Principal, new_id
from chatbox.takeovers import Takeovers


def routes(guard: StaffGuard, conversations: Conversations, takeovers: Takeovers, audit: Audit) -> APIRouter:
    """Read and write them."""
    router = APIRouter(route_class=strict(guard))
    caller = Depends(guard)

    @router.get("/sessions/{session_id}/notes", response_model=NoteList)
    async def list_notes(session_id: SessionId, staff: Principal = caller) -> dict[str, Any]:
        """All notes on the conversation, ascending."""
        session = await conversations.session(session_id)
        await audit.note(staff, "read_notes", session_id=session.id, user_id=session.user_id)
        notes = await conversations.notes(session)
        return {"session_id": session.id, "notes": [transcript.message(entry) for entry in notes]}

    @router.post("/sessions/{session_id}/notes")
    async def take_note(session_id: SessionId, body: NewNote, staff: Principal = caller) -> NoteTaken:
        """Note something for colleagues; neither the user nor the model ever sees it."""
        session = await conversations.session(session_id)
        message_id = body.message_id or new_id()
        async with audit.doing(staff, "note", session_id=session.id, user_id=session.user_id, message_id=message_id):
            await takeovers.note(staff, session.id, message_id, body.content)
        return NoteTaken(session_id=session.id, message_id=message_id)

    return router
