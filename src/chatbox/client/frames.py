"""Frames as a client reads and writes them. Fields and types that it does not know are ignored. No I/O."""

from __future__ import annotations

import msgspec

from chatbox.errors import (
    ChatboxError,
    Conflict,
    DatabaseUnavailable,
    ExpiredToken,
    Forbidden,
    InvalidFormat,
    InvalidToken,
    MissingField,
    ModelTooSlow,
    ModelUnavailable,
    NotFound,
    Refusal,
    TooMany,
    TooManyConnections,
    Unavailable,
)
from chatbox.fields import MAX_CONTENT, clean
from chatbox.protocol import Model
from chatbox.session import new_id

MAX_ID = 64

REFUSALS = {
    str(kind.code): kind
    for kind in (
        InvalidFormat,
        MissingField,
        InvalidToken,
        ExpiredToken,
        Forbidden,
        NotFound,
        Conflict,
        TooMany,
        TooManyConnections,
        Unavailable,
        DatabaseUnavailable,
        ModelUnavailable,
        ModelTooSlow,
    )
}


class ErrorBody(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""
    recoverable: bool = True
    retry_after: int | None = None

    @property
    def refusal(self) -> Refusal:
        """The error that the server raised, as the same type."""
        return REFUSALS.get(self.code, Refusal)(self.message, retry_after=self.retry_after)


class Frame(msgspec.Struct, frozen=True):
    """Any frame of the server."""

    type: str
    session_id: str = ""
    message_id: str = ""
    seq: int | None = None
    prev: int | None = None
    epoch: str = ""
    content: str = ""
    sender: str = ""
    timestamp: str = ""
    model_id: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    models: tuple[Model, ...] = ()
    user_id: str = ""
    metadata: dict[str, str] = {}
    error: ErrorBody = ErrorBody()


class NoFrame(ChatboxError):
    """The server sent something that is no frame."""


_decoder = msgspec.json.Decoder(Frame)
_encoder = msgspec.json.Encoder()


def decode(text: str) -> Frame:
    """Raises ``NoFrame``."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise NoFrame(f"the server sent something that is no frame: {error}") from None


class Command(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the client asks for. The same ``message_id`` again is the same command."""

    type: str
    message_id: str = msgspec.field(default_factory=new_id)
    content: str = ""
    model_id: str | None = None
    metadata: dict[str, str] = {}

    @property
    def text(self) -> str:
        """The frame to send."""
        return _encoder.encode(self).decode()


def command(
    kind: str,
    *,
    message_id: str | None = None,
    content: str = "",
    model_id: str | None = None,
    metadata: dict[str, str] | None = None,
) -> Command:
    """What the client asks for, in the form in which the server will store it. Raises ``InvalidFormat`` for what can't
    be sent at all."""
    made = Command(
        type=kind,
        message_id=clean(message_id or "") or new_id(),
        content=clean(content),
        model_id=model_id and clean(model_id),
        metadata={clean(key): clean(value) for key, value in (metadata or {}).items()},
    )
    if len(made.content) > MAX_CONTENT:
        raise InvalidFormat(f"A message has at most {MAX_CONTENT} characters.")
    if len(made.message_id) > MAX_ID:
        raise InvalidFormat(f"A message_id has at most {MAX_ID} characters.")
    try:
        _encoder.encode(made)
    except UnicodeEncodeError:
        raise InvalidFormat("The text has half of a surrogate pair, which is no character.") from None
    return made
