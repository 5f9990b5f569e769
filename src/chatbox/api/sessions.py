"""A user's own sessions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response

from chatbox import transcript
from chatbox.api.body import strict
from chatbox.api.guard import Guard
from chatbox.api.models import ConversationView, Ended, Rename, SessionList
from chatbox.conversations import Conversations
from chatbox.errors import MissingField
from chatbox.session import Principal, now_ms
from chatbox.sessions import Sessions
from chatbox.views import SessionView

MEDIA = {"json": "application/json", "markdown": "text/markdown; charset=utf-8"}
SUFFIX = {"json": "json", "markdown": "md"}


def routes(guard: Guard, sessions: Sessions, conversations: Conversations) -> APIRouter:
    """List, read, rename, delete, export, end."""
    router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=strict(guard))
    caller = Depends(guard)

    @router.get("")
    async def list_sessions(
        q: Annotated[str, Query(max_length=200)] = "",
        cursor: Annotated[str | None, Query(max_length=400)] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 50,
        principal: Principal = caller,
    ) -> SessionList:
        """The caller's sessions by last activity, newest first. ``q`` searches the names of the newest 1,000."""
        listing = await conversations.listing(principal, q=q.strip(), cursor=cursor, limit=limit)
        now = now_ms()
        return SessionList(
            sessions=[SessionView.of(session, now) for session in listing.sessions],
            user_id=principal.user_id,
            count=len(listing.sessions),
            limit=limit,
            truncated=listing.cursor is not None,
            next_cursor=listing.cursor,
        )

    @router.get("/{session_id}", response_model=ConversationView)
    async def read_session(
        session_id: str, before: Annotated[int | None, Query(ge=1, le=2**53)] = None, principal: Principal = caller
    ) -> dict[str, Any]:
        """The stored messages, ascending; ``before`` pages back."""
        page = await conversations.page(await sessions.own(principal, session_id), before)
        return {
            "session_id": page.session.id,
            "name": page.session.name,
            "model_id": page.session.model_id,
            "messages": [transcript.message(entry) for entry in page.entries],
            "epoch": page.session.epoch,
            "seq": page.seq,
            "before": page.before,
        }

    @router.patch("/{session_id}")
    async def rename_session(session_id: str, body: Rename, principal: Principal = caller) -> SessionView:
        """Give the session another name; open chats are told."""
        session = await sessions.own(principal, session_id)
        if not body.cleaned:
            raise MissingField("name is required.")
        return SessionView.of(await sessions.rename(session, body.cleaned), now_ms())

    @router.delete("/{session_id}", status_code=204)
    async def delete_session(session_id: str, principal: Principal = caller) -> None:
        """Remove the session, its messages, files and links, for good."""
        await sessions.delete(await sessions.own(principal, session_id))

    @router.post("/{session_id}/end")
    async def end_session(session_id: str, principal: Principal = caller) -> Ended:
        """Stop a running answer and end the session; writing in it later opens it again."""
        await sessions.close(await sessions.own(principal, session_id))
        return Ended()

    @router.get("/{session_id}/export", response_class=Response)
    async def export_session(
        session_id: str,
        format: Literal["json", "markdown"] = "json",  # noqa: A002 - the contract's name
        principal: Principal = caller,
    ) -> Response:
        """The whole conversation as a file."""
        session = await sessions.own(principal, session_id)
        entries = await conversations.everything(session)
        body = (transcript.as_json if format == "json" else transcript.as_markdown)(session, entries)
        disposition = f'attachment; filename="chat-{session.id}.{SUFFIX[format]}"'
        return Response(body, media_type=MEDIA[format], headers={"Content-Disposition": disposition})

    return router
