"""The wire contract: text frames to typed commands, and events to text frames. No I/O.

Inbound text is decoded as strict JSON, every field of the contract is checked for type and size even where it is not
used, and the text is sanitised (NUL removed, trimmed; never HTML-escaped) before anything else sees it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from chatbox import strictjson
from chatbox.errors import InvalidFormat, MissingField, Refusal
from chatbox.session import MAX_MESSAGE_ID, Entry, Kind, Sender, new_id
from chatbox.strictjson import MAX_INT

SUBPROTOCOL = "chatbox.v1"
CLOCK_AHEAD = timedelta(minutes=1)


class Close:
    """Close codes: every way that the server ends a socket."""

    DELETED = 1000
    DRAINING = 1001
    NOT_TEXT = 1003
    ABUSE = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    TOKEN = 4401
    FORBIDDEN = 4403
    TOO_SLOW = 4408
    REPLACED = 4409


# -- client to server --------------------------------------------------------------------------------------------------


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for. ``message_id`` is the client's, or one made here; ``session_id`` "" names none."""

    message_id: str
    session_id: str = ""


class Say(Command, frozen=True):
    content: str
    model_id: str | None = None
    metadata: dict[str, str] = {}


class Stop(Command, frozen=True):
    """``target`` is the answer to stop; None means whichever is running."""

    target: str | None = None


class Regenerate(Command, frozen=True):
    pass


class SelectModel(Command, frozen=True):
    model_id: str


class AskHelp(Command, frozen=True):
    content: str = ""


class CancelHelp(Command, frozen=True):
    pass


class SendFile(Command, frozen=True):
    file_id: str
    voice: bool = False
    content: str = ""


class Typing(Command, frozen=True):
    pass


class Ping(Command, frozen=True):
    pass


class Authenticate(Command, frozen=True):
    token: str


Inbound = Say | Stop | Regenerate | SelectModel | AskHelp | CancelHelp | SendFile | Typing | Ping | Authenticate


_Position = Annotated[int, Meta(ge=0, le=MAX_INT)]
_Text1000 = Annotated[str, Meta(max_length=1000)]


class _Fields(msgspec.Struct):
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


MAX_CONTENT = 10_000


class BadFrame(Exception):
    """A frame that is refused: the refusal, and the frame's id where it could be read."""

    def __init__(self, refusal: Refusal, message_id: str | None) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.message_id = message_id


def decode(text: str, *, now: datetime | None = None) -> Inbound:
    """The command in a client's text frame. Raises ``BadFrame`` with INVALID_FORMAT or MISSING_FIELD."""
    raw: object = None
    try:
        raw = strictjson.loads(text)
        fields = msgspec.convert(raw, _Fields)
        _check(fields, now or datetime.now(UTC))
        return _command(fields)
    except msgspec.ValidationError as error:
        raise BadFrame(_refusal(raw, str(error)), _id_of(raw)) from None
    except Refusal as refusal:
        raise BadFrame(refusal, _id_of(raw)) from None


def _refusal(raw: object, detail: str) -> Refusal:
    if isinstance(raw, dict) and "type" not in raw:
        return InvalidFormat("The frame has no type.")
    return InvalidFormat(f"A field has the wrong type or size: {detail}")


def _id_of(raw: object) -> str | None:
    found = raw.get("message_id") if isinstance(raw, dict) else None
    return found if isinstance(found, str) and 0 < len(found) <= MAX_MESSAGE_ID else None


def _check(fields: _Fields, now: datetime) -> None:
    if len(fields.content) > MAX_CONTENT:
        raise InvalidFormat(f"content is longer than {MAX_CONTENT} characters.")
    if fields.timestamp is not None and _parse_time(fields.timestamp) > now + CLOCK_AHEAD:
        raise InvalidFormat("timestamp is in the future.")


def _parse_time(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidFormat("timestamp is not an RFC 3339 time.") from None
    if parsed.tzinfo is None or "T" not in text.upper():
        raise InvalidFormat("timestamp is not an RFC 3339 time with a zone.")
    return parsed


def clean(text: str) -> str:
    """Text without NUL and without blanks around it."""
    return text.replace("\0", "").strip()


def _command(fields: _Fields) -> Inbound:
    message_id, session_id = clean(fields.message_id) or new_id(), fields.session_id
    content = clean(fields.content)
    match fields.type:
        case "user_message":
            metadata = {clean(key): clean(value) for key, value in fields.metadata.items()}
            content = _required("content", content)
            return Say(
                message_id=message_id,
                session_id=session_id,
                content=content,
                model_id=fields.model_id,
                metadata=metadata,
            )
        case "stop":
            return Stop(message_id=message_id, session_id=session_id, target=fields.metadata.get("target"))
        case "regenerate":
            return Regenerate(message_id=message_id, session_id=session_id)
        case "model_select":
            model_id = _required("model_id", clean(fields.model_id or ""))
            return SelectModel(message_id=message_id, session_id=session_id, model_id=model_id)
        case "help_request":
            return AskHelp(message_id=message_id, session_id=session_id, content=content)
        case "help_cancel":
            return CancelHelp(message_id=message_id, session_id=session_id)
        case "file_upload" | "voice_message" as kind:
            file_id = _required("file_id", clean(fields.file_id or ""))
            voice = kind == "voice_message"
            return SendFile(message_id=message_id, session_id=session_id, file_id=file_id, voice=voice, content=content)
        case "typing_indicator":
            return Typing(message_id=message_id, session_id=session_id)
        case "ping":
            return Ping(message_id=message_id, session_id=session_id)
        case "auth":
            return Authenticate(message_id=message_id, session_id=session_id, token=_required("content", content))
        case _:
            raise InvalidFormat("The frame's type is unknown.")


def _required(field: str, value: str) -> str:
    if not value:
        raise MissingField(f"{field} is required.")
    return value


# -- server to client --------------------------------------------------------------------------------------------------


class Frame(str):
    """An outbound text frame. However many sockets it goes to, it is encoded once."""

    __slots__ = ("_wire",)

    @property
    def wire(self) -> bytes:
        """The whole WebSocket frame: FIN, text, not masked (RFC 6455, 5.2)."""
        try:
            return self._wire
        except AttributeError:
            payload = self.encode()
            self._wire: bytes = _head(len(payload)) + payload
            return self._wire


def _head(size: int) -> bytes:
    if size < 126:
        return bytes((0x81, size))
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2)
    return b"\x81\x7f" + size.to_bytes(8)


class Model(msgspec.Struct, frozen=True):
    """A model that the user can choose."""

    id: str
    name: str


class _ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    code: str
    message: str
    recoverable: bool
    retry_after: int | None = None


class _Frame(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    type: str
    session_id: str | None = None
    message_id: str | None = None
    seq: int | None = None
    prev: int | None = None
    epoch: str | None = None
    content: str | None = None
    sender: str | None = None
    timestamp: str | None = None
    model_id: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    models: Sequence[Model] | None = None
    user_id: str | None = None
    metadata: Mapping[str, str] | None = None
    error: _ErrorBody | None = None


_json = msgspec.json.Encoder()


def _text(frame: _Frame) -> Frame:
    return Frame(_json.encode(frame), "utf-8")


def rfc3339(ms: int) -> str:
    """Unix ms as RFC 3339 UTC with milliseconds."""
    seconds, rest = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def _prev(prev: int, seq: int) -> int | None:
    return None if prev == seq - 1 else prev


def connection_status(
    *, session_id: str, user_id: str, models: Sequence[Model], epoch: str, seq: int, metadata: Mapping[str, str]
) -> Frame:
    """The first frame of every socket."""
    return _text(
        _Frame(
            type="connection_status",
            session_id=session_id,
            user_id=user_id,
            models=models,
            epoch=epoch,
            seq=seq,
            metadata=metadata,
        )
    )


def ack(session_id: str, message_id: str, seq: int, prev: int | None = None) -> Frame:
    """The acknowledgement of a stored frame. ``prev`` None: a resend's, which repeats an old position."""
    place = None if prev is None else _prev(prev, seq)
    return _text(_Frame(type="ack", session_id=session_id, message_id=message_id, seq=seq, prev=place))


def entry_frame(entry: Entry, prev: int | None, *, live: bool = False) -> Frame:
    """A stored entry. ``prev`` None leaves the position out. A ``live`` answer only closes its stream (its pieces were
    sent); otherwise it is given whole and replaces what the client has."""
    content, metadata = entry.content, entry.metadata
    if entry.kind is Kind.AI_RESPONSE:
        done = {"streaming": "true", "done": "true"} if live else {"done": "true"}
        content, metadata = "" if live else content, metadata | done
    return _text(
        _Frame(
            type=entry.kind,
            session_id=entry.session_id,
            message_id=entry.message_id,
            seq=None if prev is None else entry.seq,
            prev=None if prev is None else _prev(prev, entry.seq),
            content=content,
            sender=entry.sender,
            timestamp=rfc3339(entry.timestamp),
            model_id=entry.model_id,
            file_id=entry.file_id,
            file_url=entry.file_url,
            metadata=metadata or None,
        )
    )


def piece_head(session_id: str, answer_id: str) -> str:
    """The part that all pieces of an answer share; see ``piece``."""
    shared = _Frame(
        type="ai_response",
        session_id=session_id,
        message_id=answer_id,
        sender=Sender.AI,
        metadata={"streaming": "true", "done": "false"},
    )
    return _text(shared)[:-1]


def piece(head: str, seq: int, prev: int, content: str) -> Frame:
    """One piece of a streamed answer, from its answer's prepared head."""
    place = "" if prev == seq - 1 else f',"prev":{prev}'
    return Frame(f'{head},"seq":{seq}{place},"content":{_json.encode(content).decode()}}}')


def loading(session_id: str, answer_id: str, replaces: str | None) -> Frame:
    metadata = {"replaces": replaces} if replaces else None
    return _text(_Frame(type="loading", session_id=session_id, message_id=answer_id, metadata=metadata))


def typing_indicator(session_id: str, sender: Sender) -> Frame:
    return _text(_Frame(type="typing_indicator", session_id=session_id, sender=sender))


def notice(session_id: str, event: str, **metadata: str) -> Frame:
    """A notification that is not part of the log."""
    return _text(_Frame(type="notification", session_id=session_id, metadata={"event": event, **metadata}))


def pong(message_id: str) -> Frame:
    return _text(_Frame(type="pong", message_id=message_id))


def error(
    refusal: Refusal, *, session_id: str | None = None, message_id: str | None = None, recoverable: bool | None = None
) -> Frame:
    """A refusal as a frame. ``recoverable`` overrides what the refusal says of itself."""
    stays = refusal.recoverable if recoverable is None else recoverable
    body = _ErrorBody(refusal.code, refusal.message, stays, refusal.retry_after)
    return _text(_Frame(type="error", session_id=session_id, message_id=message_id, error=body))


def refusal_body(refusal: Refusal) -> bytes:
    """A refusal as an HTTP body."""
    return _json.encode({"error": refusal.message, "code": refusal.code})
