"""Who has which conversation, and who waits for a person."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from chatbox.api.body import strict
from chatbox.api.guard import StaffGuard
from chatbox.api.staff.models import Receiver, SessionId, TakeoverDone, TakeoverList, TakeoverView, WaitingList
from chatbox.audit import Audit
from chatbox.conversations import Conversations
from chatbox.cursor import REFUSED, cursor_of, place_of
from chatbox.errors import InvalidFormat
from chatbox.session import Principal, Takeover, new_id, now_ms
from chatbox.staff.presence import Presence
from chatbox.storage.base import SessionQuery, Storage
from chatbox.storage.overview import place
from chatbox.storage.paging import sessions_of
from chatbox.takeovers import Takeovers
from chatbox.views import StaffSessionView

SHOWN = 100


def routes(
    guard: StaffGuard, conversations: Conversations, takeovers: Takeovers, presence: Presence, audit: Audit
) -> APIRouter:
    """Take over, hand on, give back."""
    router = APIRouter(route_class=strict(guard))
    caller = Depends(guard)

    @router.post("/takeover/{session_id}")
    async def take_over(session_id: SessionId, staff: Principal = caller) -> TakeoverDone:
        """Take a conversation over: a running answer stops, and the AI is silent. 409 says who has it already."""
        async with audit.doing(staff, "takeover", session_id=session_id):
            await takeovers.join(staff, session_id, new_id())
        return TakeoverDone(message="You have the conversation.", session_id=session_id, admin_id=staff.user_id)

    @router.post("/release/{session_id}")
    async def release(session_id: SessionId, staff: Principal = caller) -> TakeoverDone:
        """Give a conversation back to the AI; with the role `admin` a colleague's too. Twice is once."""
        async with audit.doing(staff, "release", session_id=session_id):
            if (await conversations.session(session_id)).assisting_admin_id:
                await takeovers.release(staff, session_id, new_id())
        return TakeoverDone(message="The AI has the conversation.", session_id=session_id, admin_id=staff.user_id)

    @router.post("/transfer/{session_id}")
    async def transfer(session_id: SessionId, body: Receiver, staff: Principal = caller) -> TakeoverDone:
        """Hand a conversation that one has on to a colleague who is online."""
        async with audit.doing(staff, "transfer", session_id=session_id, user_id=body.user_id):
            colleague = await presence.colleague(body.user_id)
            await takeovers.transfer(staff, colleague, session_id, new_id())
        message = f"{colleague.name} has the conversation."
        return TakeoverDone(message=message, session_id=session_id, admin_id=colleague.id)

    return router


def lists(guard: StaffGuard, storage: Storage) -> APIRouter:
    """Look who had what, and who waits."""
    router = APIRouter(dependencies=[Depends(guard)])

    @router.get("/takeovers")
    async def list_takeovers(
        session_id: Annotated[str | None, Query(max_length=128)] = None,
        admin_id: Annotated[str | None, Query(max_length=128)] = None,
        cursor: Annotated[str | None, Query(max_length=400)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> TakeoverList:
        """Takeovers, those that go on too, newest first; all, or those of a session or a member of staff."""
        found = await storage.overview.takeovers(
            session_id=session_id, admin_id=admin_id, before=_before(cursor), limit=limit + 1
        )
        page = found[:limit]
        names = await asyncio.gather(*(_name(storage, takeover) for takeover in page))
        return TakeoverList(
            takeovers=[TakeoverView.of(takeover, name) for takeover, name in zip(page, names, strict=True)],
            count=len(page),
            next_cursor=_cursor(page[-1]) if len(found) > limit else None,
        )

    @router.get("/help")
    async def list_waiting() -> WaitingList:
        """Who waits for a person, longest waiting first."""
        found = [session async for session in sessions_of(storage, SessionQuery(waiting=True))]
        found.sort(key=lambda session: (session.help_since or 0, session.id))
        now = now_ms()
        return WaitingList(sessions=[StaffSessionView.of(session, now) for session in found[:SHOWN]], total=len(found))

    return router


async def _name(storage: Storage, takeover: Takeover) -> str:
    """As whom the member of staff joined: the entry with which the takeover began says it."""
    for entry in await storage.read(takeover.session_id, after=takeover.index - 1, limit=1):
        return entry.metadata.get("admin_name", takeover.admin_id)
    return takeover.admin_id


def _cursor(takeover: Takeover) -> str:
    start, session_id, index = place(takeover)
    return cursor_of(start, f"{index} {session_id}")


def _before(cursor: str | None) -> tuple[int, str, int] | None:
    if (at := place_of(cursor)) is None:
        return None
    index, _, session_id = at[1].partition(" ")
    if not (index.isascii() and index.isdecimal() and len(index) <= 15):
        raise InvalidFormat(REFUSED)
    return at[0], session_id, int(index)
