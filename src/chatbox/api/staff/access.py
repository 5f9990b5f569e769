"""Who may not come in: revoked tokens and blocked users."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from chatbox.access import Access, Block
from chatbox.api.body import strict
from chatbox.api.guard import StaffGuard
from chatbox.api.staff.models import BlockList, BlockView, NewBlock, Revocation, RevocationView
from chatbox.audit import Audit
from chatbox.errors import Conflict
from chatbox.protocol import rfc3339
from chatbox.session import ADMIN, Principal, now_ms

SHOWN = 1000


def routes(guard: StaffGuard, admins: StaffGuard, access: Access, audit: Audit) -> APIRouter:
    """Block users and let them in again."""
    router = APIRouter(route_class=strict(guard))
    router.include_router(_revocations(admins, access, audit))
    caller = Depends(guard)

    @router.get("/blocks", dependencies=[caller])
    async def list_blocks() -> BlockList:
        """Blocks in force."""
        found = access.blocks()
        return BlockList(blocks=[BlockView.of(*one) for one in found[:SHOWN]], total=len(found))

    @router.post("/blocks")
    async def block(body: NewBlock, staff: Principal = caller) -> BlockView:
        """Keep a user out, everywhere within 5 s; in the place of a block that there is."""
        made = Block(
            by=staff.user_id,
            by_name=staff.name,
            at=now_ms(),
            until=body.until,
            reason=body.reason,
            by_admin=ADMIN in staff.roles,
        )
        until = rfc3339(body.until) if body.until else "lifted"
        async with audit.doing(staff, "block", user_id=body.user_id, until=until, reason=body.reason):
            if body.user_id == staff.user_id:
                raise Conflict("You can't block yourself.")
            await access.block(body.user_id, made)
        return BlockView.of(body.user_id, made)

    @router.delete("/blocks/{user_id:path}", status_code=204)
    async def unblock(user_id: Annotated[str, Path(min_length=1, max_length=128)], staff: Principal = caller) -> None:
        """Let a user in again."""
        async with audit.doing(staff, "unblock", user_id=user_id):
            await access.unblock(user_id)

    return router


def _revocations(admins: StaffGuard, access: Access, audit: Audit) -> APIRouter:
    router = APIRouter(route_class=strict(admins))
    caller = Depends(admins)

    @router.post("/revocations")
    async def revoke(body: Revocation, staff: Principal = caller) -> RevocationView:
        """Void a user's tokens that were issued up to a time, everywhere within 5 s. Needs the role `admin`."""
        before = now_ms() / 1000 if body.before is None else body.before
        async with audit.doing(staff, "revoke", user_id=body.user_id, before=_text(before)):
            latest = await access.revoke(body.user_id, before)
        return RevocationView(user_id=body.user_id, before=_text(latest))

    return router


def _text(seconds: float) -> str:
    return rfc3339(round(seconds * 1000))
