"""The contract of a provider: turns a conversation into a stream of pieces.

- ``stream`` yields ``Piece``, ``File`` and at most one ``Usage``, and ends with exactly one ``End``. Text is whole
  characters; a piece is never empty. All text that one network read brought is one piece.
- It raises ``ProviderError`` and nothing else (beside cancellation). ``transient`` errors before the first piece may be
  tried again by the caller; a provider never retries by itself.
- Deadlines are the caller's, but for the connection: a provider gives up connecting after ``CONNECT_TIMEOUT``.
- Closing the generator or cancelling its task releases the connection or the worker within 200 ms, and the model stops.
- One provider serves many streams at once; it is opened and closed by ``async with`` and does its start-up lazily.
- The event loop is never blocked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Literal, Self

import msgspec

CONNECT_TIMEOUT = 10.0


class Turn(msgspec.Struct, frozen=True):
    """One message for the model."""

    role: Literal["system", "user", "assistant"]
    content: str


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What a model gets. ``turns`` begin with the system turn, if any, and end with a user turn.

    ``state`` is what the provider returned in ``End.state`` for this session's last answer (Dify's conversation id).
    ``user_id`` and ``session_id`` are opaque to the model.
    """

    turns: tuple[Turn, ...]
    session_id: str
    user_id: str
    state: str = ""


class Piece(msgspec.Struct, frozen=True):
    text: str


class File(msgspec.Struct, frozen=True):
    """A file that the model made or names. ``url`` is absolute http(s), ≤2048 characters."""

    url: str
    name: str = ""
    mime_type: str = ""


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the provider counted them."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class End(msgspec.Struct, frozen=True):
    """The answer is complete (``stop``) or cut by the model's own limit (``length``)."""

    reason: Literal["stop", "length"] = "stop"
    state: str = ""


Event = Piece | File | Usage | End


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``LLM_PROVIDER_<n>_*``. ``context`` and ``max_tokens`` count tokens."""

    id: str
    name: str
    type: str
    endpoint: str = ""
    api_key: str = ""
    model: str = ""
    context: int = 8192
    max_tokens: int = 1024
    temperature: float | None = None


class Provider(ABC):
    """See the module's text for the guarantees."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.settings = settings

    @abstractmethod
    def stream(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        """Answer the conversation."""

    async def check(self) -> None:  # noqa: B027 - there may be nothing to check
        """Raise ``ProviderError`` when the provider can't be reached. Cheap, costs no tokens."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(  # noqa: B027 - there may be nothing to close
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close connections and workers."""
