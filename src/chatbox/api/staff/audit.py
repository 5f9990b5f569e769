"""The log of what staff did."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from chatbox.api.guard import StaffGuard
from chatbox.api.staff.models import ActView, AuditPage
from chatbox.audit import Audit
from chatbox.cursor import cursor_of, place_of
from chatbox.session import Principal
from chatbox.staff.parameters import Time

DOWNLOAD = {"Content-Disposition": 'attachment; filename="audit.jsonl"'}


def routes(guard: StaffGuard, admins: StaffGuard, audit: Audit) -> APIRouter:
    """Read it, page by page or as a whole."""
    router = APIRouter()
    exporter = Depends(admins)

    @router.get("/audit", dependencies=[Depends(guard)])
    async def read_audit(
        admin_id: Annotated[str | None, Query(max_length=128)] = None,
        since: Annotated[Time | None, Query()] = None,
        cursor: Annotated[str | None, Query(max_length=400)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> AuditPage:
        """What staff did, newest first; all, or what one member of staff did."""
        found = await audit.page(actor_id=admin_id, since=since, before=place_of(cursor), limit=limit + 1)
        page = found[:limit]
        return AuditPage(
            entries=[ActView.of(act) for act in page],
            count=len(page),
            next_cursor=cursor_of(page[-1].at, page[-1].id) if len(found) > limit else None,
        )

    @router.get("/audit/export", response_class=StreamingResponse)
    async def export_audit(
        since: Annotated[Time | None, Query()] = None, staff: Principal = exporter
    ) -> StreamingResponse:
        """The whole log as JSON lines, newest first. Needs the role `admin`."""
        await audit.note(staff, "export_audit")
        return StreamingResponse(_lines(audit, since), media_type="application/jsonl", headers=DOWNLOAD)

    return router


async def _lines(audit: Audit, since: int | None) -> AsyncIterator[str]:
    async for act in audit.everything(since):
        yield ActView.of(act).model_dump_json() + "\n"
