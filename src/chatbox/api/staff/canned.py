"""Canned replies, which all staff share."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from chatbox.api.body import strict
from chatbox.api.guard import StaffGuard
from chatbox.api.staff.models import NewReply, ReplyList, ReplyView
from chatbox.audit import Audit
from chatbox.canned import CannedReplies
from chatbox.session import Principal

ReplyId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


def routes(guard: StaffGuard, canned: CannedReplies, audit: Audit) -> APIRouter:
    """List, write, remove."""
    router = APIRouter(prefix="/canned", route_class=strict(guard))
    caller = Depends(guard)

    @router.get("", dependencies=[caller])
    async def list_replies() -> ReplyList:
        """All canned replies, by title."""
        return ReplyList(replies=[ReplyView.of(reply) for reply in await canned.everything()])

    @router.put("/{reply_id}")
    async def write_reply(reply_id: ReplyId, body: NewReply, staff: Principal = caller) -> ReplyView:
        """Write a reply, in the place of the one with this id."""
        async with audit.doing(staff, "write_canned", reply_id=reply_id):
            return ReplyView.of(await canned.put(staff, reply_id, body.title, body.text))

    @router.delete("/{reply_id}", status_code=204)
    async def remove_reply(reply_id: ReplyId, staff: Principal = caller) -> None:
        """Remove a reply."""
        async with audit.doing(staff, "remove_canned", reply_id=reply_id):
            await canned.remove(reply_id)

    return router
