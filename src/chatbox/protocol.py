"""The wire contract: text frames to typed commands, and events to text frames. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from chatbox import fields
from chatbox.errors import InvalidFormat, Refusal
from chatbox.fields import Fields, clean, email_address, required
from chatbox.session import Entry, Kind, Sender, new_id

SUBPROTOCOL = "chatbox.v1"


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
    """``email`` is where an answer can be sent, "" when the user leaves no address."""

    content: str = ""
    email: str = ""


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


def decode(text: str, *, now: datetime | None = None) -> Inbound:
    """The command in a client's text frame. Raises ``BadFrame`` with INVALID_FORMAT or MISSING_FIELD."""
    return fields.decode(text, Fields, _command, now)


def _command(given: Fields) -> Inbound:
    message_id, session_id = clean(given.message_id) or new_id(), given.session_id
    content = clean(given.content)
    match given.type:
        case "user_message":
            metadata = {clean(key): clean(value) for key, value in given.metadata.items()}
            content = required("content", content)
            return Say(
                message_id=message_id,
                session_id=session_id,
                content=content,
                model_id=given.model_id,
                metadata=metadata,
            )
        case "stop":
            return Stop(message_id=message_id, session_id=session_id, target=given.metadata.get("target"))
        case "regenerate":
            return Regenerate(message_id=message_id, session_id=session_id)
        case "model_select":
            model_id = required("model_id", clean(given.model_id or ""))
            return SelectModel(message_id=message_id, session_id=session_id, model_id=model_id)
        case "help_request":
            email = email_address(given.metadata.get("email", ""))
            return AskHelp(message_id=message_id, session_id=session_id, content=content, email=email)
        case "help_cancel":
            return CancelHelp(message_id=message_id, session_id=session_id)
        case "file_upload" | "voice_message" as kind:
            file_id = required("file_id", clean(given.file_id or ""))
            voice = kind == "voice_message"
            return SendFile(message_id=message_id, session_id=session_id, file_id=file_id, voice=voice, content=content)
        case "typing_indicator":
            return Typing(message_id=message_id, session_id=session_id)
        case "ping":
            return Ping(message_id=message_id, session_id=session_id)
        case "auth":
            return Authenticate(message_id=message_id, session_id=session_id, token=required("content", content))
        case _:
            raise InvalidFormat("The frame's type is unknown.")


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


class Outbound(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An outbound frame; what is left out is not sent."""

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


def encode(frame: Outbound) -> Frame:
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
    return encode(
        Outbound(
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
    return encode(Outbound(type="ack", session_id=session_id, message_id=message_id, seq=seq, prev=place))


def entry_frame(entry: Entry, prev: int | None, *, live: bool = False) -> Frame:
    """A stored entry. ``prev`` None leaves the position out. A ``live`` answer only closes its stream (its pieces were
    sent); otherwise it is given whole and replaces what the client has."""
    content, metadata = entry.content, entry.metadata
    if entry.kind is Kind.AI_RESPONSE:
        done = {"streaming": "true", "done": "true"} if live else {"done": "true"}
        content, metadata = "" if live else content, metadata | done
    return encode(
        Outbound(
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
    shared = Outbound(
        type="ai_response",
        session_id=session_id,
        message_id=answer_id,
        sender=Sender.AI,
        metadata={"streaming": "true", "done": "false"},
    )
    return encode(shared)[:-1]


def piece(head: str, seq: int, prev: int, content: str) -> Frame:
    """One piece of a streamed answer, from its answer's prepared head."""
    place = "" if prev == seq - 1 else f',"prev":{prev}'
    return Frame(f'{head},"seq":{seq}{place},"content":{_json.encode(content).decode()}}}')


def loading(session_id: str, answer_id: str, replaces: str | None) -> Frame:
    metadata = {"replaces": replaces} if replaces else None
    return encode(Outbound(type="loading", session_id=session_id, message_id=answer_id, metadata=metadata))


def typing_indicator(session_id: str, sender: Sender) -> Frame:
    return encode(Outbound(type="typing_indicator", session_id=session_id, sender=sender))


def notice(session_id: str | None, event: str, **metadata: str) -> Frame:
    """A notification that is not part of the log."""
    return encode(Outbound(type="notification", session_id=session_id, metadata={"event": event, **metadata}))


def pong(message_id: str) -> Frame:
    return encode(Outbound(type="pong", message_id=message_id))


def error(
    refusal: Refusal, *, session_id: str | None = None, message_id: str | None = None, recoverable: bool | None = None
) -> Frame:
    """A refusal as a frame. ``recoverable`` overrides what the refusal says of itself."""
    stays = refusal.recoverable if recoverable is None else recoverable
    body = _ErrorBody(refusal.code, refusal.message, stays, refusal.retry_after)
    return encode(Outbound(type="error", session_id=session_id, message_id=message_id, error=body))


def refusal_body(refusal: Refusal) -> bytes:
    """A refusal as an HTTP body."""
    return _json.encode({"error": refusal.message, "code": refusal.code})
