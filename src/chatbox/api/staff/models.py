"""What staff's routes take and give, as OpenAPI describes it. Times are RFC 3339 UTC."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints, WithJsonSchema

from chatbox.access import Block
from chatbox.api.models import ConversationView, Message, Problem
from chatbox.audit import Act
from chatbox.auth import LEEWAY, is_user_id
from chatbox.canned import CannedReply
from chatbox.fields import MAX_CONTENT, clean
from chatbox.notify.claims import Progress, alert_of
from chatbox.protocol import rfc3339
from chatbox.session import MAX_MESSAGE_ID, Takeover, now_ms
from chatbox.staff.parameters import milliseconds
from chatbox.storage.records import Record
from chatbox.views import StaffSessionView


class LimitExceeded(BaseModel):
    """The answer to one who asks too often."""

    error: str = Field(description="`rate_limit_exceeded`")
    message: str
    retry_after_ms: int


ANSWERS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "No token, or one that is not good any more"},
    403: {"model": Problem, "description": "The role is missing, or the user is blocked"},
    429: {"model": LimitExceeded, "description": "Over the limit; `Retry-After` says when to come back"},
}
"""The answers that all of staff's routes have."""


def _user_id(text: str) -> str:
    if not is_user_id(text):
        raise ValueError("give a user id as tokens have it: 1 to 128 characters without blanks around them")
    return text


def _blankless(text: str) -> str:
    if not (cleaned := clean(text)):
        raise ValueError("it is blank")
    return cleaned


def _seconds(value: object) -> float:
    """Unix s of an RFC 3339 time, or of a number as `iat` has it; later than any clock may be it is refused."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    seconds = float(value) if number else milliseconds(value) / 1000  # type: ignore[arg-type] # a number is one
    if not 0 <= seconds <= now_ms() / 1000 + LEEWAY:
        raise ValueError("give a time that has come; to keep a user out from now on, block the user")
    return seconds


def _to_come(value: object) -> int:
    if (ms := milliseconds(value)) <= now_ms():
        raise ValueError("give a time that is to come")
    return ms


SessionId = Annotated[str, Path(max_length=128)]
UserId = Annotated[str, AfterValidator(_user_id), Field(min_length=1, max_length=128)]
Id = Annotated[str, StringConstraints(max_length=MAX_MESSAGE_ID), AfterValidator(_blankless)]
Label = Annotated[str, StringConstraints(max_length=100), AfterValidator(_blankless)]
Content = Annotated[str, StringConstraints(max_length=MAX_CONTENT), AfterValidator(_blankless)]
Reason = Annotated[str, StringConstraints(max_length=500), AfterValidator(clean)]
Past = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]}),
]
Future = Annotated[int, BeforeValidator(_to_come), WithJsonSchema({"type": "string", "format": "date-time"})]


class StaffSessionList(BaseModel):
    sessions: list[StaffSessionView]
    count: int = Field(description="sessions in this answer")
    total: int = Field(description="sessions that match")
    limit: int
    offset: int


class WaitingList(BaseModel):
    sessions: list[StaffSessionView] = Field(description="longest waiting first, at most 100")
    total: int


class StaffConversation(ConversationView):
    """A conversation with what only staff see of it: the session as it is, and notes among the messages, which have
    ``metadata.event`` = ``note``."""

    session: StaffSessionView


class NoteList(BaseModel):
    session_id: str
    notes: list[Message]


class NewNote(BaseModel):
    """``message_id`` makes it safe to send again."""

    content: Content
    message_id: Id | None = None


class NoteTaken(BaseModel):
    session_id: str
    message_id: str


class TakeoverDone(BaseModel):
    message: str
    session_id: str
    admin_id: str


class Receiver(BaseModel):
    """The colleague who gets a conversation."""

    user_id: UserId


class TakeoverView(BaseModel):
    """``end`` is null while it goes on; ``messages`` counts what staff said."""

    session_id: str
    user_id: str
    admin_id: str
    admin_name: str
    start: str
    end: str | None = None
    messages: int

    @classmethod
    def of(cls, takeover: Takeover, admin_name: str) -> TakeoverView:
        return cls(
            session_id=takeover.session_id,
            user_id=takeover.user_id,
            admin_id=takeover.admin_id,
            admin_name=admin_name,
            start=rfc3339(takeover.start),
            end=_time(takeover.end),
            messages=takeover.messages,
        )


class TakeoverList(BaseModel):
    takeovers: list[TakeoverView]
    count: int
    next_cursor: str | None


class ActView(BaseModel):
    """One entry of the audit log; ``refused`` is the code with which the action was refused, "" when it was done."""

    id: str
    time: str
    admin_id: str
    admin_name: str
    roles: list[str]
    action: str
    session_id: str
    user_id: str
    detail: dict[str, str]
    refused: str

    @classmethod
    def of(cls, act: Act) -> ActView:
        return cls(
            id=act.id,
            time=rfc3339(act.at),
            admin_id=act.actor_id,
            admin_name=act.actor_name,
            roles=act.roles,
            action=act.action,
            session_id=act.session_id,
            user_id=act.user_id,
            detail=act.detail,
            refused=act.refused,
        )


class AuditPage(BaseModel):
    entries: list[ActView]
    count: int
    next_cursor: str | None


class Revocation(BaseModel):
    """``before`` is an RFC 3339 time or Unix seconds; now unless given."""

    user_id: UserId
    before: Past | None = None


class RevocationView(BaseModel):
    user_id: str
    before: str


class NewBlock(BaseModel):
    """Without ``until`` it holds until it is lifted."""

    user_id: UserId
    until: Future | None = None
    reason: Reason = ""


class BlockView(BaseModel):
    user_id: str
    admin_id: str
    admin_name: str
    start: str
    until: str | None = None
    reason: str

    @classmethod
    def of(cls, user_id: str, block: Block) -> BlockView:
        return cls(
            user_id=user_id,
            admin_id=block.by,
            admin_name=block.by_name,
            start=rfc3339(block.at),
            until=_time(block.until),
            reason=block.reason,
        )


class BlockList(BaseModel):
    blocks: list[BlockView] = Field(description="in force, newest first, at most 1,000")
    total: int


class AlertView(BaseModel):
    """``event`` is what it is about; ``error`` what went wrong last; ``refused`` says by channel and address why it was
    not delivered there."""

    id: str
    event: str
    state: str = Field(description="`dead`: could not be delivered to everyone; `open`: on its way")
    time: str
    session_id: str
    user_id: str
    attempts: int
    error: str
    refused: dict[str, dict[str, str]]

    @classmethod
    def of(cls, record: Record) -> AlertView:
        alert, progress = alert_of(record), msgspec.convert(record.data, Progress)
        return cls(
            id=record.id,
            event=alert.event,
            state=record.key,
            time=rfc3339(alert.at),
            session_id=alert.session_id,
            user_id=alert.user_id,
            attempts=progress.attempts,
            error=progress.error,
            refused=progress.refused,
        )


class AlertList(BaseModel):
    alerts: list[AlertView]
    count: int
    next_cursor: str | None


class NewReply(BaseModel):
    title: Label
    text: Content


class ReplyView(BaseModel):
    id: str
    title: str
    text: str
    updated: str
    admin_id: str

    @classmethod
    def of(cls, reply: CannedReply) -> ReplyView:
        return cls(id=reply.id, title=reply.title, text=reply.text, updated=rfc3339(reply.at), admin_id=reply.by)


class ReplyList(BaseModel):
    replies: list[ReplyView] = Field(description="by title")


def _time(ms: int | None) -> str | None:
    return None if ms is None else rfc3339(ms)
