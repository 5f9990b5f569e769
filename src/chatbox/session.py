"""Sessions and the entries of their logs: values and rules, without I/O.

Everything that happens to a session is an entry of its log. An entry has an ``index`` (1, 2, 3, … given by the store
alone) and thereby a position ``seq = index * STEP``; the pieces of a running answer lie between two entries. What a
session is at any time (name, counts, who answers) follows from its entries by ``apply``.
"""

from __future__ import annotations

import re
import secrets
import time
from enum import StrEnum

import msgspec

STEP = 1 << 20
"""Positions between two entries: as many pieces can be told apart before the next entry."""

RESPONSE_TIMES = 100
"""Response times kept a session: a rolling window."""

NAME_LENGTH = 50
MAX_MESSAGE_ID = 64
"""Characters of an id that a client may choose."""


class Kind(StrEnum):
    """What an entry is. The first group are frames of the same name; the others have no frame of their own."""

    USER_MESSAGE = "user_message"
    AI_RESPONSE = "ai_response"
    FILE_UPLOAD = "file_upload"
    VOICE_MESSAGE = "voice_message"
    ADMIN_JOIN = "admin_join"
    ADMIN_LEAVE = "admin_leave"
    NOTIFICATION = "notification"
    TURN = "turn"  # an answer begins: takes the lease and raises the fence; its metadata names the answer_id
    STOP = "stop"  # someone stopped the running answer
    REGENERATE = "regenerate"  # someone asked for another answer to the last message
    SHARE = "share"  # the share link was made or revoked
    NOTE = "note"  # staff among themselves: never shown to the user or the model


VISIBLE = frozenset(Kind) - {Kind.TURN, Kind.STOP, Kind.REGENERATE, Kind.SHARE, Kind.NOTE}
"""Kinds that participants get as frames."""

STAFF_VISIBLE = VISIBLE | {Kind.NOTE}
"""Kinds that staff get as frames."""

MESSAGES = frozenset({Kind.USER_MESSAGE, Kind.AI_RESPONSE, Kind.FILE_UPLOAD, Kind.VOICE_MESSAGE})
"""Kinds that are part of the conversation: counted, exported, shared."""

ACTIVITY = MESSAGES | {Kind.ADMIN_JOIN, Kind.ADMIN_LEAVE}
"""Kinds that move a session's last activity."""


class Sender(StrEnum):
    USER = "user"
    AI = "ai"
    ADMIN = "admin"
    SYSTEM = "system"


class Finish(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    STOPPED = "stopped"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    ERROR = "error"


class Help(StrEnum):
    NONE = "none"
    ASKED = "asked"
    TOLD = "told"
    JOINED = "joined"


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an entry changes in its session, beside the counts. ``None`` leaves a field as it is.

    ``first_name`` names a session that has no name yet. ``active`` moves the user's mark: true closes the open period
    of the user's other session, false ends this one at its last activity. ``share_token`` counts only when there is
    none, so that of two made at once the first stays; "" revokes it; ``share_hash`` comes with it where the token is
    stored encrypted. ``takes_turn`` raises the fence and makes ``answer_id`` the running answer; ``ends_turn`` clears
    it. ``supersedes`` is the message_id of an answer that this one replaces. ``first_ms`` and ``response_ms`` are when
    an answer's first and last pieces came; ``failed``: it did not succeed. ``joins`` gives the session to a member of
    staff, by id, whose name is ``admin_name``; ``leaves`` gives it back to the AI. ``by`` is who must have the session
    for the entry to be stored at all: staff, by id, or the AI, "".
    """

    name: str | None = None
    first_name: str | None = None
    model_id: str | None = None
    help_state: Help | None = None
    active: bool | None = None
    share_token: str | None = None
    share_hash: str | None = None
    takes_turn: str | None = None
    ends_turn: bool = False
    supersedes: str | None = None
    response_ms: int | None = None
    first_ms: int | None = None
    failed: bool = False
    tokens: int = 0
    context: dict[str, str] | None = None
    joins: str | None = None
    admin_name: str | None = None
    leaves: bool = False
    by: str | None = None


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One row of a session's log. ``index`` is 0 until the store has given it.

    ``timestamp`` is Unix time in ms. ``message_id`` is unique in its session, for every kind. ``superseded`` is true
    for an answer that a later one replaced. Metadata values are at most 1000 characters.
    """

    session_id: str
    kind: Kind
    message_id: str
    sender: Sender
    content: str = ""
    timestamp: int = 0
    index: int = 0
    model_id: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    metadata: dict[str, str] = {}
    superseded: bool = False

    @property
    def seq(self) -> int:
        return self.index * STEP


class Session(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A conversation of one user. Times are Unix ms; ``duration_ms`` is the sum of the closed periods.

    ``last_index`` is the newest entry's (0: none; such a session is in no list). ``fence`` rises with every turn, and
    when a member of staff takes the session. ``assisting_admin_id`` is who has it, None while the AI does;
    ``assisted_since`` is when that began, in the entry ``assisted_index``, and ``staff_messages`` counts staff's words
    since then. ``help_since`` is when a person was asked for who has not come yet.
    ``answer_id`` is the running answer, or one whose process died. ``opened_at`` is the start of the open period.
    ``context`` is what is known beside the log: the host page's context, and a provider's state under
    ``llm:<model id>``. ``share_hash`` finds the share link where the token is stored encrypted; only stores see it.
    """

    id: str
    user_id: str
    epoch: str
    name: str = ""
    user_name: str = ""
    model_id: str | None = None
    start_time: int = 0
    end_time: int | None = None
    last_activity: int = 0
    is_active: bool = False
    opened_at: int | None = None
    duration_ms: int = 0
    message_count: int = 0
    total_tokens: int = 0
    response_times: list[int] = []
    help_state: Help = Help.NONE
    help_requested: bool = False
    help_since: int | None = None
    admin_assisted: bool = False
    assisting_admin_id: str | None = None
    assisting_admin_name: str | None = None
    assisted_since: int | None = None
    assisted_index: int = 0
    staff_messages: int = 0
    share_token: str | None = None
    share_hash: str | None = None
    last_index: int = 0
    fence: int = 0
    answer_id: str | None = None
    context: dict[str, str] = {}

    @property
    def seq(self) -> int:
        return self.last_index * STEP

    @property
    def avg_response_time(self) -> int:
        return round(sum(self.response_times) / len(self.response_times)) if self.response_times else 0

    @property
    def max_response_time(self) -> int:
        return max(self.response_times, default=0)

    def duration(self, now: int) -> int:
        """Seconds that the session has been open, over all its periods."""
        open_for = now - self.opened_at if self.opened_at is not None else 0
        return (self.duration_ms + max(0, open_for)) // 1000


class Staff(msgspec.Struct, frozen=True):
    """A member of staff."""

    id: str
    name: str


class Takeover(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A member of staff had a session: from the entry ``index`` on, at ``start``, until ``end`` (Unix ms; None: still).
    ``messages`` counts what staff said."""

    session_id: str
    user_id: str
    admin_id: str
    start: int
    index: int
    messages: int = 0
    end: int | None = None


class Principal(msgspec.Struct, frozen=True):
    """Who a token speaks for. ``expires`` and ``issued`` are Unix seconds."""

    user_id: str
    name: str
    roles: frozenset[str]
    expires: float
    issued: float | None = None
    context: dict[str, str] = {}

    @property
    def is_staff(self) -> bool:
        return bool(self.roles & STAFF_ROLES)

    @property
    def staff(self) -> Staff:
        """As the one who acts in a session."""
        return Staff(self.user_id, self.name)


ADMIN = "admin"
"""The role that may also revoke, export the audit log, and give back a colleague's session."""

STAFF_ROLES = frozenset({ADMIN, "chat_admin"})


def new_id() -> str:
    """A random id of 128 bits, safe in a URL (22 characters)."""
    return secrets.token_urlsafe(16)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def day_of(timestamp: int) -> str:
    """The UTC day of a time in ms, as ``2026-11-21``."""
    return time.strftime("%Y-%m-%d", time.gmtime(timestamp / 1000))


def apply(session: Session, entry: Entry, change: Change) -> Session:
    """The session after an entry; ``entry.index`` is set. Every store gives the same result.

    To rename, share or end a conversation is no activity: ``end_time`` is when something was last said.
    """
    at = entry.timestamp
    share_token, share_hash = shared(session, change)
    new = msgspec.structs.replace(
        session,
        last_index=entry.index,
        last_activity=max(session.last_activity, at) if is_activity(entry, change) else session.last_activity or at,
        start_time=session.start_time or at,
        message_count=session.message_count + (entry.kind in MESSAGES),
        total_tokens=session.total_tokens + change.tokens,
        name=change.name or session.name or change.first_name or "",
        model_id=change.model_id or session.model_id,
        share_token=share_token,
        share_hash=share_hash,
        fence=session.fence + (change.takes_turn is not None or change.joins is not None),
        answer_id=change.takes_turn or (None if change.ends_turn else session.answer_id),
        context=session.context if change.context is None else change.context,
    )
    if change.joins or change.leaves or entry.sender is Sender.ADMIN:
        new = assisted(new, entry, change)
    if change.help_state is not None and new.assisting_admin_id is None:
        new = helped(new, change.help_state, at)
    if change.response_ms is not None:
        times = [*session.response_times, change.response_ms][-RESPONSE_TIMES:]
        new = msgspec.structs.replace(new, response_times=times)
    if change.active is not None and change.active != session.is_active:
        new = opened(new, at) if change.active else closed(new)
    return new


def assisted(session: Session, entry: Entry, change: Change) -> Session:
    """The session after something that staff did."""
    replace = msgspec.structs.replace
    if change.joins:
        return replace(
            session,
            admin_assisted=True,
            assisting_admin_id=change.joins,
            assisting_admin_name=change.admin_name,
            help_state=Help.NONE if session.help_state is Help.NONE else Help.JOINED,
            help_since=None,
            assisted_since=entry.timestamp,
            assisted_index=entry.index,
            staff_messages=0,
        )
    if change.leaves:
        return replace(
            session,
            assisting_admin_id=None,
            assisting_admin_name=None,
            help_state=Help.NONE,
            assisted_since=None,
            assisted_index=0,
            staff_messages=0,
        )
    return replace(session, staff_messages=session.staff_messages + (entry.kind in MESSAGES))


def helped(session: Session, state: Help, at: int) -> Session:
    """The session after news of a call for help. To ask is news only once, that staff were told only after that."""
    if session.help_state is not {Help.ASKED: Help.NONE, Help.TOLD: Help.ASKED}.get(state, session.help_state):
        return session
    asked = state is Help.ASKED
    return msgspec.structs.replace(
        session,
        help_state=state,
        help_requested=session.help_requested or asked,
        help_since=at if asked else session.help_since if state is Help.TOLD else None,
    )


def takeover_of(session: Session) -> Takeover | None:
    """The takeover that is going on."""
    if session.assisting_admin_id is None:
        return None
    return Takeover(
        session_id=session.id,
        user_id=session.user_id,
        admin_id=session.assisting_admin_id,
        start=session.assisted_since or 0,
        index=session.assisted_index,
        messages=session.staff_messages,
    )


def takeover_ended(before: Session, entry: Entry, after: Session) -> Takeover | None:
    """The takeover that ended with an entry: staff left, or handed the session to a colleague."""
    takeover = takeover_of(before)
    if takeover is None or takeover.index == after.assisted_index:
        return None
    return msgspec.structs.replace(takeover, end=entry.timestamp)


def shared(session: Session, change: Change) -> tuple[str | None, str | None]:
    """The share token and its hash after a change: the first token stays until it is revoked."""
    if change.share_token is None or (change.share_token and session.share_token):
        return session.share_token, session.share_hash
    return change.share_token or None, change.share_hash


def is_activity(entry: Entry, change: Change) -> bool:
    """Whether an entry moves its session's last activity."""
    return bool(change.active) or (entry.kind in ACTIVITY and change.active is None)


def opened(session: Session, at: int) -> Session:
    """The session with a new open period, from ``at`` on."""
    return msgspec.structs.replace(session, is_active=True, opened_at=at, end_time=None)


def closed(session: Session) -> Session:
    """The session with its open period closed at its last activity."""
    start = session.opened_at if session.opened_at is not None else session.last_activity
    spent = max(0, session.last_activity - start)
    return msgspec.structs.replace(
        session,
        is_active=False,
        opened_at=None,
        end_time=session.last_activity,
        duration_ms=session.duration_ms + spent,
    )


def name_from(text: str) -> str:
    """A session's name from its first message: the first sentence or line, at most 50 characters, cut at a word."""
    line = next((part.strip() for part in text.splitlines() if part.strip()), "")
    line = re.split(r"(?<=[.!?。！？])\s", line, maxsplit=1)[0]  # noqa: RUF001 - sentences end so in Chinese and Japanese
    line = re.sub(r"\s+", " ", line).strip(" #*_`>")
    if len(line) <= NAME_LENGTH:
        return line
    cut = line[: NAME_LENGTH - 1]
    head, space, _ = cut.rpartition(" ")
    return (head if space and len(head) >= NAME_LENGTH // 2 else cut).rstrip(" ,;:-") + "…"
