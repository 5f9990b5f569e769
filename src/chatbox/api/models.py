"""What the routes take and give, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from chatbox.fields import clean
from chatbox.views import SessionView


class Problem(BaseModel):
    """Every error answer."""

    error: str = Field(description="what is wrong, for people")
    code: str = Field(description="one of the wire contract's codes")


PROBLEMS: dict[int | str, dict[str, Any]] = {"default": {"model": Problem, "description": "What went wrong"}}
"""The error answers of every route, for OpenAPI."""


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
