"""A session as its owner sees it, and as staff do. Times are RFC 3339 UTC; ``duration`` in s, response times in ms."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from chatbox.protocol import rfc3339
from chatbox.session import Session

PRIVATE = "llm:"
"""What begins so in a session's context is a provider's."""


class SessionFacts(BaseModel):
    """What both see."""

    id: str
    user_id: str
    name: str
    model_id: str | None = None
    start_time: str
    end_time: str | None = None
    last_activity: str
    is_active: bool
    duration: int
    message_count: int
    total_tokens: int
    avg_response_time: int
    max_response_time: int
    help_requested: bool
    help_state: str
    admin_assisted: bool
    assisting_admin_id: str | None = None
    assisting_admin_name: str | None = None


class SessionView(SessionFacts):
    """A session as its owner sees it."""

    share_token: str | None = None

    @classmethod
    def of(cls, session: Session, now: int) -> SessionView:
        return cls(**_facts(session, now), share_token=session.share_token)


class StaffSessionView(SessionFacts):
    """A session as staff see it. ``help_since``: since when the user waits for a person; ``assisted_since``: since when
    staff have it; ``context``: what the user's page said about itself and the customer."""

    user_name: str
    help_since: str | None = None
    assisted_since: str | None = None
    context: dict[str, str]

    @classmethod
    def of(cls, session: Session, now: int) -> StaffSessionView:
        return cls(
            **_facts(session, now),
            user_name=session.user_name,
            help_since=_moment(session.help_since),
            assisted_since=_moment(session.assisted_since),
            context={key: value for key, value in session.context.items() if not key.startswith(PRIVATE)},
        )


def _facts(session: Session, now: int) -> dict[str, Any]:
    """The values of ``SessionFacts``."""
    return {
        "id": session.id,
        "user_id": session.user_id,
        "name": session.name,
        "model_id": session.model_id,
        "start_time": rfc3339(session.start_time),
        "end_time": _moment(session.end_time),
        "last_activity": rfc3339(session.last_activity),
        "is_active": session.is_active,
        "duration": session.duration(now),
        "message_count": session.message_count,
        "total_tokens": session.total_tokens,
        "avg_response_time": session.avg_response_time,
        "max_response_time": session.max_response_time,
        "help_requested": session.help_requested,
        "help_state": session.help_state,
        "admin_assisted": session.admin_assisted,
        "assisting_admin_id": session.assisting_admin_id,
        "assisting_admin_name": session.assisting_admin_name,
    }


def _moment(ms: int | None) -> str | None:
    return None if ms is None else rfc3339(ms)
