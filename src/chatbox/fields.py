"""A client's frame before it means anything: its fields, checked.

Inbound text is decoded as strict JSON, every field of the contract is checked for type and size even where it is not
used, and the text is sanitised (NUL removed, trimmed; never HTML-escaped) before anything else sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from chatbox import strictjson
from chatbox.errors import InvalidFormat, MissingField, Refusal
from chatbox.session import MAX_MESSAGE_ID, Sender
from chatbox.strictjson import MAX_INT

T = TypeVar("T")

CLOCK_AHEAD = timedelta(minutes=1)
MAX_CONTENT = 10_000
MAX_EMAIL = 254
NOT_IN_EMAIL = frozenset(' ,;<>"')
"""Beside what is not printable: what would make several addresses of one, or a name with an address."""

_Position = Annotated[int, Meta(ge=0, le=MAX_INT)]
_Text1000 = Annotated[str, Meta(max_length=1000)]


class Fields(msgspec.Struct):
    """Every field of the contract with its type and size."""

    type: str
    session_id: Annotated[str, Meta(max_length=128)] = ""
    message_id: Annotated[str, Meta(max_length=MAX_MESSAGE_ID)] = ""
    seq: _Position | None = None
    prev: _Position | None = None
    epoch: str | None = None
    content: str = ""
    sender: Sender | None = None
    timestamp: str | None = None
    model_id: Annotated[str, Meta(max_length=100)] | None = None
    file_id: Annotated[str, Meta(max_length=255)] | None = None
    file_url: Annotated[str, Meta(max_length=2048)] | None = None
    models: list[dict[str, str]] | None = None
    user_id: Annotated[str, Meta(max_length=128)] | None = None
    metadata: dict[str, _Text1000] = {}
    error: dict[str, Any] | None = None


F = TypeVar("F", bound=Fields)


class BadFrame(Exception):
    """A frame that is refused: the refusal, and the frame's ids where they could be read."""

    def __init__(self, refusal: Refusal, message_id: str | None, session_id: str | None = None) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.message_id = message_id
        self.session_id = session_id


def decode(text: str, kind: type[F], command: Callable[[F], T], now: datetime | None = None) -> T:
    """What ``command`` makes of a frame's fields. Raises ``BadFrame`` with INVALID_FORMAT or MISSING_FIELD."""
    raw: object = None
    try:
        raw = strictjson.loads(text)
        given = msgspec.convert(raw, kind)
        _check(given, now or datetime.now(UTC))
        return command(given)
    except msgspec.ValidationError as error:
        raise BadFrame(_refusal(raw, str(error)), *_ids_of(raw)) from None
    except Refusal as refusal:
        raise BadFrame(refusal, *_ids_of(raw)) from None


def clean(text: str) -> str:
    """Text without NUL and without blanks around it."""
    return text.replace("\0", "").strip()


def required(field: str, value: str) -> str:
    """The value, unless it is empty. Raises ``MissingField``."""
    if not value:
        raise MissingField(f"{field} is required.")
    return value


def email_address(text: str) -> str:
    """The e-mail address in a text, "" when there is none. Raises ``InvalidFormat`` for what is no single address."""
    address = clean(text)
    local, _, domain = address.partition("@")
    if not address:
        return ""
    if len(address) > MAX_EMAIL or not local or not domain or "@" in domain:
        raise InvalidFormat(f"email is not an e-mail address of at most {MAX_EMAIL} characters.")
    if not address.isprintable() or not NOT_IN_EMAIL.isdisjoint(address):
        raise InvalidFormat("email holds a character that an address can't have.")
    return address


def _refusal(raw: object, detail: str) -> Refusal:
    if isinstance(raw, dict) and "type" not in raw:
        return InvalidFormat("The frame has no type.")
    return InvalidFormat(f"A field has the wrong type or size: {detail}")


def _ids_of(raw: object) -> tuple[str | None, str | None]:
    return _id_of(raw, "message_id", MAX_MESSAGE_ID), _id_of(raw, "session_id", 128)


def _id_of(raw: object, field: str, size: int) -> str | None:
    found = raw.get(field) if isinstance(raw, dict) else None
    return found if isinstance(found, str) and 0 < len(found) <= size else None


def _check(given: Fields, now: datetime) -> None:
    if len(given.content) > MAX_CONTENT:
        raise InvalidFormat(f"content is longer than {MAX_CONTENT} characters.")
    if given.timestamp is not None and _parse_time(given.timestamp) > now + CLOCK_AHEAD:
        raise InvalidFormat("timestamp is in the future.")


def _parse_time(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidFormat("timestamp is not an RFC 3339 time.") from None
    if parsed.tzinfo is None or "T" not in text.upper():
        raise InvalidFormat("timestamp is not an RFC 3339 time with a zone.")
    return parsed
