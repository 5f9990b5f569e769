"""Everything that can go wrong, as types.

    ChatboxError
    ├── ConfigError            settings that can't be used; carries every problem at once
    ├── Refusal                told to the client as an error frame or an HTTP answer
    │   ├── InvalidFormat, MissingField
    │   ├── InvalidToken       the token can't be used; ExpiredToken: any more
    │   ├── Forbidden          INSUFFICIENT_PERMISSIONS
    │   ├── NotFound           absent, or not yours: the two look the same
    │   ├── Conflict           the state does not allow it
    │   ├── TooMany            a limit; carries when to come back; TooManyConnections
    │   └── Unavailable        worth another try: DatabaseUnavailable, ModelUnavailable, ModelTooSlow
    ├── StorageError           the store can't do it
    │   ├── StorageBusy        transient: the same call may succeed later
    │   ├── StorageLocked      another process has the file
    │   ├── StorageCorrupt     a row that can't be decrypted or decoded
    │   └── Fenced             a late writer; someone else owns the answer now
    ├── BackplaneDown          other replicas can't be reached, or do not hear
    ├── ProviderError          a model did not answer
    │   ├── ProviderBusy       transient: rate limit or overload; may say when to retry
    │   ├── ProviderUnreachable  transient: no connection, reset, 5xx
    │   ├── ProviderTimeout    a deadline passed
    │   └── ProviderRefused    permanent: wrong key, unknown model, bad request
    └── ClientError            in the Python client
        ├── ConnectionLost     transient: the client connects again by itself
        ├── TooManyPending     too much waits for the connection; nothing was taken
        └── Ended              the client is closed, or its session deleted; Replaced: by a newer client

Retry is decided by type (``transient``), never by text.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar


class Code(StrEnum):
    """Error codes of the wire contract."""

    INVALID_TOKEN = "INVALID_TOKEN"  # noqa: S105 - a code, not a password
    EXPIRED_TOKEN = "EXPIRED_TOKEN"  # noqa: S105 - a code, not a password
    INSUFFICIENT_PERMISSIONS = "INSUFFICIENT_PERMISSIONS"
    UNAUTHORIZED = "UNAUTHORIZED"
    INVALID_FORMAT = "INVALID_FORMAT"
    MISSING_FIELD = "MISSING_FIELD"
    INVALID_FILE_TYPE = "INVALID_FILE_TYPE"
    INVALID_FILE_SIZE = "INVALID_FILE_SIZE"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    LLM_UNAVAILABLE = "LLM_UNAVAILABLE"
    LLM_TIMEOUT = "LLM_TIMEOUT"
    DATABASE_ERROR = "DATABASE_ERROR"
    STORAGE_ERROR = "STORAGE_ERROR"
    SERVICE_ERROR = "SERVICE_ERROR"
    TOO_MANY_REQUESTS = "TOO_MANY_REQUESTS"
    CONNECTION_LIMIT_EXCEEDED = "CONNECTION_LIMIT_EXCEEDED"


class ChatboxError(Exception):
    """The root of all errors that Chatbox raises itself."""


class ConfigError(ChatboxError):
    """Settings that can't be used. ``problems`` lists every one, each with its remedy and without any secret."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))


class Refusal(ChatboxError):
    """A request that is refused, with what the client may know.

    ``message`` is generic text for people, ``retry_after`` is in milliseconds, ``recoverable`` is false when the
    connection has to close, ``message_id`` repeats the id of the refused frame.
    """

    code: ClassVar[Code] = Code.SERVICE_ERROR
    status: ClassVar[int] = 400
    recoverable: ClassVar[bool] = True

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class InvalidFormat(Refusal):
    code = Code.INVALID_FORMAT


class MissingField(Refusal):
    code = Code.MISSING_FIELD


class InvalidToken(Refusal):
    code = Code.INVALID_TOKEN
    status = 401
    recoverable = False


class ExpiredToken(InvalidToken):
    code = Code.EXPIRED_TOKEN


class Forbidden(Refusal):
    code = Code.INSUFFICIENT_PERMISSIONS
    status = 403


class NotFound(Refusal):
    code = Code.NOT_FOUND
    status = 404


class Conflict(Refusal):
    code = Code.CONFLICT
    status = 409


class TooMany(Refusal):
    code = Code.TOO_MANY_REQUESTS
    status = 429


class TooManyConnections(TooMany):
    code = Code.CONNECTION_LIMIT_EXCEEDED
    recoverable = False


class Unavailable(Refusal):
    """The service can't do it now; the same request may succeed later."""

    status = 503


class DatabaseUnavailable(Unavailable):
    code = Code.DATABASE_ERROR


class ModelUnavailable(Unavailable):
    code = Code.LLM_UNAVAILABLE


class ModelTooSlow(Unavailable):
    code = Code.LLM_TIMEOUT


class StorageError(ChatboxError):
    """The store can't do it."""

    transient: ClassVar[bool] = False


class StorageBusy(StorageError):
    """A transient failure (busy, I/O error, disk full): nothing was stored; the same call may succeed later."""

    transient = True


class StorageLocked(StorageError):
    """Another process has the database file open for writing."""


class StorageCorrupt(StorageError):
    """A stored value can't be decrypted or decoded: wrong key, moved or damaged row."""


class Fenced(StorageError):
    """A late writer: the session's fence is higher than the one shown, or the answer is not running any more."""


class BackplaneDown(ChatboxError):
    """Other replicas can't be reached, or events do not get through."""


class ProviderError(ChatboxError):
    """A model did not answer. ``detail`` is for the log only; the client gets ``code`` and a generic text."""

    transient: ClassVar[bool] = False
    code: ClassVar[Code] = Code.LLM_UNAVAILABLE

    def __init__(self, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after


class ProviderBusy(ProviderError):
    """Rate limit or overload. ``retry_after`` (s) is what the provider asked for, if it did."""

    transient = True


class ProviderUnreachable(ProviderError):
    """No connection, a reset, a 5xx, or a stream that broke off."""

    transient = True


class ProviderTimeout(ProviderError):
    """A deadline passed: connect, first token, between tokens, or total."""

    code = Code.LLM_TIMEOUT


class ProviderRefused(ProviderError):
    """The provider will not answer this request: wrong key, unknown model, malformed request or stream."""


class ClientError(ChatboxError):
    """Raised in the Python client, beside the refusals that it passes on."""


class ConnectionLost(ClientError):
    """No connection now. ``wait`` (s) is what the server asked for, if it did."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class TooManyPending(ClientError):
    """Too many messages wait for the connection; this one was not taken."""


class Ended(ClientError):
    """The client is closed, or its session was deleted."""


class Replaced(ClientError):
    """A newer connection with the same ``client`` has taken over."""
