"""Alerts that could not be delivered to everyone, and those that are on their way."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query

from chatbox.api.guard import StaffGuard
from chatbox.api.staff.models import AlertList, AlertView
from chatbox.audit import Audit
from chatbox.cursor import cursor_of, place_of
from chatbox.errors import NotFound
from chatbox.notify.claims import KIND
from chatbox.notify.outbox import retry
from chatbox.session import Principal
from chatbox.storage.records import Records


def routes(guard: StaffGuard, records: Records, audit: Audit) -> APIRouter:
    """List them, and try again."""
    router = APIRouter(prefix="/alerts")
    caller = Depends(guard)

    @router.get("", dependencies=[caller])
    async def list_alerts(
        state: Literal["dead", "open"] = "dead",
        cursor: Annotated[str | None, Query(max_length=400)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> AlertList:
        """Alerts that could not be delivered to everyone, or those still on their way, newest first."""
        found = await records.find(KIND, key=state, before=place_of(cursor), limit=limit + 1)
        page = found[:limit]
        return AlertList(
            alerts=[AlertView.of(record) for record in page],
            count=len(page),
            next_cursor=cursor_of(page[-1].at, page[-1].id) if len(found) > limit else None,
        )

    @router.post("/{alert_id:path}/retry", status_code=204)
    async def try_again(
        alert_id: Annotated[str, Path(min_length=1, max_length=400)], staff: Principal = caller
    ) -> None:
        """Try to deliver an alert again to those who were not reached."""
        async with audit.doing(staff, "retry_alert", alert_id=alert_id):
            if not await retry(records, alert_id):
                raise NotFound("There is no such alert among those that could not be delivered.")

    return router
