"""The frames of the staff socket: text to typed commands, and what staff get to text. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from chatbox import fields
from chatbox.errors import InvalidFormat, MissingField
from chatbox.fields import Fields, clean, required
from chatbox.hub import Position, Replay
from chatbox.protocol import Authenticate, Command, Frame, Outbound, Ping, encode
from chatbox.session import Principal, Sender, Session, Staff, new_id
from chatbox.strictjson import MAX_INT

_Seq = Annotated[int, Meta(ge=0, le=MAX_INT)]
View = Mapping[str, Any]
"""A session as staff see it; see ``staff.view``."""

# -- from staff --------------------------------------------------------------------------------------------------------


class Watch(Command, frozen=True):
    """``at`` None: from the stored messages on."""

    at: Position | None = None


class Unwatch(Command, frozen=True):
    pass


class History(Command, frozen=True):
    before: int


class Join(Command, frozen=True):
    pass


class Leave(Command, frozen=True):
    pass


class Transfer(Command, frozen=True):
    """``to`` is the id of a colleague."""

    to: str


class Say(Command, frozen=True):
    content: str


class Note(Command, frozen=True):
    content: str


class Typing(Command, frozen=True):
    pass


class ListSessions(Command, frozen=True):
    parameters: dict[str, str]


class AskFigures(Command, frozen=True):
    parameters: dict[str, str]


class Suggest(Command, frozen=True):
    """A reply that the model would give."""


class Summarise(Command, frozen=True):
    pass


Assistance = Suggest | Summarise
"""What the model is asked for. Nothing of it is stored."""

Act = Join | Leave | Transfer | Say | Note
"""What is stored, acknowledged and idempotent by ``message_id``."""

InSession = Watch | Unwatch | History | Typing | Assistance | Act
"""What is about one conversation."""

StaffCommand = InSession | ListSessions | AskFigures | Ping | Authenticate


class StaffFields(Fields):
    """Every field of the contract, and those of the staff socket."""

    before: _Seq | None = None
    last_seq: _Seq | None = None


def decode(text: str, *, now: datetime | None = None) -> StaffCommand:
    """The command in a text frame. Raises ``BadFrame`` with INVALID_FORMAT or MISSING_FIELD."""
    return fields.decode(text, StaffFields, _command, now)


def _command(given: StaffFields) -> StaffCommand:
    message_id = clean(given.message_id) or new_id()
    match given.type:
        case "list":
            return ListSessions(message_id=message_id, parameters=given.metadata)
        case "figures":
            return AskFigures(message_id=message_id, parameters=given.metadata)
        case "ping":
            return Ping(message_id=message_id)
        case "auth":
            return Authenticate(message_id=message_id, token=required("content", clean(given.content)))
        case _:
            return _in_session(given, message_id)


def _in_session(given: StaffFields, message_id: str) -> InSession:
    session_id = given.session_id
    match given.type:
        case "watch":
            at = None if given.last_seq is None else Position(given.epoch or "", given.last_seq)
            command: InSession = Watch(message_id=message_id, session_id=session_id, at=at)
        case "unwatch":
            command = Unwatch(message_id=message_id, session_id=session_id)
        case "history":
            if given.before is None:
                raise MissingField("before is required.")
            command = History(message_id=message_id, session_id=session_id, before=given.before)
        case "typing_indicator":
            command = Typing(message_id=message_id, session_id=session_id)
        case "suggest":
            command = Suggest(message_id=message_id, session_id=session_id)
        case "summarise":
            command = Summarise(message_id=message_id, session_id=session_id)
        case _:
            command = _act(given, message_id)
    required("session_id", session_id)
    return command


def _act(given: StaffFields, message_id: str) -> Act:
    session_id = given.session_id
    match given.type:
        case "admin_join":
            return Join(message_id=message_id, session_id=session_id)
        case "admin_leave":
            return Leave(message_id=message_id, session_id=session_id)
        case "transfer":
            to = required("user_id", clean(given.user_id or ""))
            return Transfer(message_id=message_id, session_id=session_id, to=to)
        case "user_message":
            content = required("content", clean(given.content))
            return Say(message_id=message_id, session_id=session_id, content=content)
        case "note":
            content = required("content", clean(given.content))
            return Note(message_id=message_id, session_id=session_id, content=content)
        case _:
            raise InvalidFormat("The frame's type is unknown.")


# -- to staff ----------------------------------------------------------------------------------------------------------


class _StaffFrame(Outbound, frozen=True, omit_defaults=True, kw_only=True):
    messages: Sequence[Mapping[str, Any]] | None = None
    before: int | None = None
    sessions: Sequence[View] | None = None
    total: int | None = None
    session: View | None = None
    staff: Sequence[Staff] | None = None
    last_seq: int | None = None
    figures: Mapping[str, Any] | None = None
    series: Sequence[Mapping[str, Any]] | None = None


class Excerpt(msgspec.Struct, frozen=True):
    """Stored messages; ``before`` is where those before them end, None at the start."""

    messages: list[dict[str, Any]]
    before: int | None


class Waiting(msgspec.Struct, frozen=True):
    """The beginning of the waiting queue, and how many wait in all."""

    sessions: list[View]
    total: int


def staff_status(who: Principal, role: str, staff: Sequence[Staff], waiting: Waiting) -> Frame:
    """The first frame of every staff socket."""
    return encode(
        _StaffFrame(
            type="staff_status",
            user_id=who.user_id,
            staff=staff,
            sessions=waiting.sessions,
            total=waiting.total,
            metadata={"name": who.name, "role": role},
        )
    )


def watch_status(
    message_id: str | None, session: Session, view: View, replay: Replay, excerpt: Excerpt | None, reason: str | None
) -> Frame:
    """The answer to ``watch``, or the beginning of watching where one acts. ``reason`` is why it does not go on where
    the client was."""
    metadata = {"resumed": "true" if excerpt is None and replay.resumed else "false"}
    return encode(
        _StaffFrame(
            type="connection_status",
            session_id=session.id,
            message_id=message_id,
            epoch=session.epoch,
            seq=replay.seq,
            session=view,
            messages=excerpt.messages if excerpt else None,
            before=excerpt.before if excerpt else None,
            metadata=metadata | ({"reason": reason} if reason else {}),
        )
    )


def history(session_id: str, message_id: str, excerpt: Excerpt) -> Frame:
    return encode(
        _StaffFrame(
            type="history",
            session_id=session_id,
            message_id=message_id,
            messages=excerpt.messages,
            before=excerpt.before,
        )
    )


def assistance(command: Assistance, text: str, *, done: bool = False) -> Frame:
    """A piece of what the model writes for staff; the last one is empty and ``done``."""
    return encode(
        _StaffFrame(
            type="suggestion" if isinstance(command, Suggest) else "summary",
            session_id=command.session_id,
            message_id=command.message_id,
            content=text,
            metadata={"done": "true" if done else "false"},
        )
    )


def session_list(message_id: str, sessions: Sequence[View], total: int, asked: Mapping[str, str]) -> Frame:
    return encode(
        _StaffFrame(type="session_list", message_id=message_id, sessions=sessions, total=total, metadata=asked)
    )


def figures(
    message_id: str, numbers: Mapping[str, Any], series: Sequence[Mapping[str, Any]], asked: Mapping[str, str]
) -> Frame:
    return encode(_StaffFrame(type="figures", message_id=message_id, figures=numbers, series=series, metadata=asked))


def session_update(session: Session, view: View, said: Mapping[str, str]) -> Frame:
    """A session has changed; ``said`` is what was said in it last."""
    return encode(
        _StaffFrame(
            type="session_update", session_id=session.id, session=view, last_seq=session.seq, metadata=said or None
        )
    )


def session_gone(session_id: str) -> Frame:
    return encode(_StaffFrame(type="session_update", session_id=session_id, metadata={"deleted": "true"}))


def help_update(waiting: Waiting) -> Frame:
    return encode(_StaffFrame(type="help_update", sessions=waiting.sessions, total=waiting.total))


def staff_update(staff: Sequence[Staff]) -> Frame:
    return encode(_StaffFrame(type="staff_update", staff=staff))


def typing(session_id: str, who: Staff) -> Frame:
    """A member of staff is typing, as everyone in the session is told."""
    metadata = {"admin_id": who.id, "admin_name": who.name}
    return encode(Outbound(type="typing_indicator", session_id=session_id, sender=Sender.ADMIN, metadata=metadata))
