"""The contract of what tells staff about something, and of what there is to tell.

An **alert** is what happened; its id follows from that, so that it is one alert however often and by whomever it is
noticed. It names who and where, and never what was said. A **message** is an alert in words. A **channel** takes
messages to addresses.

- ``send`` returns when the message is on its way, or refused, for each address; what it returns are the failures.
- A ``NotDelivered`` that is ``transient`` is worth another try. So is one that is about our own account: it is set
  right by people, and the alert must not be lost meanwhile. One about the address or the message is not.
- A try whose answer got lost may have been delivered: it is tried again, and arrives twice, with the same id.
- A cancelled ``send`` may have been delivered.
- What people chose, such as names, has been made plain before it gets here: one line, no control characters.
"""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from types import TracebackType
from typing import ClassVar, Self

import msgspec

from chatbox.errors import ChatboxError

NAME_LENGTH = 80
LIST_LENGTH = 20
"""How many users, or held-back alerts, a message names."""


class Event(StrEnum):
    """What alerts are about."""

    HELP = "help"
    HELP_UNANSWERED = "help_unanswered"
    HELP_REMINDER = "help_reminder"
    LLM_FAILING = "llm_failing"
    DATABASE_FAILING = "database_failing"
    CRASHED = "crashed"
    TRAFFIC = "traffic"
    DIGEST = "digest"


HELP_EVENTS = frozenset({Event.HELP, Event.HELP_UNANSWERED, Event.HELP_REMINDER})
"""These wait for no quiet hours to end."""


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that staff have to know. ``at`` is when it happened, in Unix ms.

    ``since`` is the request that an alert about help belongs to, by its time. ``facts`` are figures and names by what
    they are called. ``users`` are those affected, or some of them; ``affected`` counts all. ``held`` are the alerts
    that a digest tells of, or some of them; ``count`` how many there are.
    """

    id: str
    event: Event
    at: int
    session_id: str = ""
    since: int = 0
    user_id: str = ""
    user_name: str = ""
    facts: dict[str, str] = {}
    users: tuple[str, ...] = ()
    affected: int = 0
    held: tuple[Alert, ...] = ()
    count: int = 0

    @property
    def short_id(self) -> str:
        """The id in eight characters, for where there is no room for more."""
        return sha256(self.id.encode()).hexdigest()[:8]


class Line(msgspec.Struct, frozen=True):
    """One held-back alert in a digest."""

    text: str
    link: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """An alert in words. ``link`` leads to the staff's page, or is empty. ``more`` counts what ``lines`` leave out."""

    id: str
    short_id: str
    subject: str
    facts: tuple[tuple[str, str], ...]
    link: str
    lines: tuple[Line, ...] = ()
    more: int = 0


class NotDelivered(ChatboxError):
    """A message did not get to an address. ``retry_after`` (s) is what the other side asked for, if it did."""

    def __init__(self, detail: str, *, transient: bool, retry_after: float = 0.0) -> None:
        super().__init__(detail)
        self.transient = transient
        self.retry_after = retry_after


class Channel(ABC):
    """See the module's text for the guarantees. Opened and closed by ``async with``.

    ``reaches_people`` is false where nobody has been told of anything when it was delivered.
    """

    name: ClassVar[str]
    reaches_people: ClassVar[bool] = True

    @abstractmethod
    async def send(self, message: Message, to: Sequence[str]) -> Mapping[str, NotDelivered]:
        """Take the message to these addresses: why it did not get to some of them."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(  # noqa: B027 - a channel that keeps nothing open has nothing to close
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close connections."""


def plain(text: str, length: int = NAME_LENGTH) -> str:
    """Text that somebody chose as one line of printable characters, none of which changes the direction of others."""
    kept = "".join(" " if character.isspace() else character for character in text if _is_plain(character))
    line = " ".join(kept.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _is_plain(character: str) -> bool:
    if character.isspace() or character in "\u200c\u200d":
        return True
    return unicodedata.category(character) not in ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
