"""Staff's routes, under ``/admin``. What somebody does there is in the audit log before it is done."""

from __future__ import annotations

from typing import NamedTuple

from fastapi import APIRouter

from chatbox.access import Access, Gate
from chatbox.api.guard import StaffGuard
from chatbox.api.staff import access, alerts, audit, canned, figures, notes, sessions, takeovers
from chatbox.api.staff.models import ANSWERS
from chatbox.audit import Audit
from chatbox.backplane.base import Quotas
from chatbox.canned import CannedReplies
from chatbox.conversations import Conversations
from chatbox.metrics import Metrics
from chatbox.session import ADMIN
from chatbox.staff.presence import Presence
from chatbox.storage.base import Storage
from chatbox.takeovers import Takeovers


class Needs(NamedTuple):
    """What staff's routes stand on."""

    gate: Gate
    presence: Presence
    access: Access
    audit: Audit
    canned: CannedReplies
    storage: Storage
    quotas: Quotas
    metrics: Metrics
    conversations: Conversations
    takeovers: Takeovers


def routes(needs: Needs) -> APIRouter:
    """All of them."""
    guard = StaffGuard(needs.gate, needs.presence, needs.quotas, needs.metrics)
    admins = StaffGuard(needs.gate, needs.presence, needs.quotas, needs.metrics, roles=frozenset({ADMIN}))
    router = APIRouter(prefix="/admin", tags=["staff"], responses=ANSWERS)
    for part in (
        sessions.routes(guard, needs.storage, needs.conversations, needs.audit),
        notes.routes(guard, needs.conversations, needs.takeovers, needs.audit),
        takeovers.routes(guard, needs.conversations, needs.takeovers, needs.presence, needs.audit),
        takeovers.lists(guard, needs.storage),
        figures.routes(guard, needs.storage),
        access.routes(guard, admins, needs.access, needs.audit),
        canned.routes(guard, needs.canned, needs.audit),
        alerts.routes(guard, needs.storage.records, needs.audit),
        audit.routes(guard, admins, needs.audit),
    ):
        router.include_router(part)
    return router
