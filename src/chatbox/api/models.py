"""What the routes take and give, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from chatbox.fields import clean
from chatbox.protocol import rfc3339
from chatbox.session import Session


class Problem(BaseModel):
    """Every error answer."""

    error: str = Field(description="what is wrong, for people")
    code: str = Field(description="one of the wire contract's codes")


PROBLEMS: dict[int | str, dict[str, Any]] = {"default": {"model": Problem, "description": "What went wrong"}}
"""The error answers of every route, for OpenAPI."""


class SessionView(BaseModel):
    """A session as its owner sees it. Times are RFC 3339 UTC; ``duration`` is in s, response times in ms."""

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
    share_token: str | None = None

    @classmethod
    def of(cls, session: Session, now: int) -> SessionView:
        return cls(
            id=session.id,
            user_id=session.user_id,
            name=session.name,
            model_id=session.model_id,
            start_time=rfc3339(session.start_time),
            end_time=rfc3339(session.end_time) if session.end_time else None,
            last_activity=rfc3339(session.last_activity),
            is_active=session.is_active,
            duration=session.duration(now),
            message_count=session.message_count,
            total_tokens=session.total_tokens,
            avg_response_time=session.avg_response_time,
            max_response_time=session.max_response_time,
            help_requested=session.help_requested,
            help_state=session.help_state,
            admin_assisted=session.admin_assisted,
            assisting_admin_id=session.assisting_admin_id,
            assisting_admin_name=session.assisting_admin_name,
            share_token=session.share_token,
        )


class SessionList(BaseModel):
    sessions: list[SessionView]
    user_id: str
    count: int
    limit: int
    truncated: bool = Field(description="whether there are more")
    next_cursor: str | None


class Message(BaseModel):
    """A stored message or system line; superseded answers carry ``metadata.superseded``."""

    message_id: str
    seq: int
    content: str
    timestamp: str
    sender: str
    file_id: str | None = None
    file_url: str | None = None
    model_id: str | None = None
    metadata: dict[str, str] | None = None


class ConversationView(BaseModel):
    """``seq`` is where the messages end: connect with it as ``last_seq``. ``before`` pages back, null at the start."""

    session_id: str
    name: str
    model_id: str | None
    messages: list[Message]
    epoch: str
    seq: int
    before: int | None


class SharedView(BaseModel):
    session_id: str
    name: str
    messages: list[Message]


class Rename(BaseModel):
    name: Annotated[str, StringConstraints(max_length=200)]

    @property
    def cleaned(self) -> str:
        return " ".join(clean(self.name).split())


class ShareView(BaseModel):
    share_token: str


class Ended(BaseModel):
    status: str = "ended"


class Health(BaseModel):
    status: str
    timestamp: str


class Readiness(Health):
    checks: dict[str, Any]
