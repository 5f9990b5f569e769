"""Anthropic's messages API, version 2023-06-01."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from itertools import dropwhile
from typing import Any

import msgspec

from chatbox.llm.answer import Answer, AnswerStream
from chatbox.llm.base import End, Event, Prompt, ProviderSettings, Turn, Usage
from chatbox.llm.history import joined
from chatbox.llm.http import HttpProvider

PATH = "/messages"
VERSION = "2023-06-01"


class Anthropic(HttpProvider):
    """``endpoint`` is the base URL, e.g. ``https://api.anthropic.com/v1``."""

    check_path = "/models"

    def headers(self) -> dict[str, str]:
        key = self.settings.api_key
        return {"x-api-key": key, "anthropic-version": VERSION, "Content-Type": "application/json"}

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        answer = MessageAnswer(self._api.failure)
        async with await self._api.post(PATH, request_body(self.settings, prompt.turns)) as response:
            async for events in AnswerStream(response, answer):
                for event in events:
                    yield event
        for event in answer.end():
            yield event


def request_body(settings: ProviderSettings, turns: Sequence[Turn]) -> bytes:
    """The system turn has a field of its own; the others alternate and begin with the user's."""
    said = joined(turn for turn in turns if turn.role != "system")
    body: dict[str, Any] = {
        "model": settings.model,
        "max_tokens": settings.max_tokens,
        "messages": list(dropwhile(lambda turn: turn.role != "user", said)),
        "stream": True,
    }
    if system := "\n\n".join(turn.content for turn in turns if turn.role == "system"):
        body["system"] = system
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    return msgspec.json.encode(body)


class MessageAnswer(Answer):
    _stop_reason: str | None = None
    _counts: Counts | None = None

    def _text(self, data: bytes) -> str:
        """Kinds of events that are not named here say nothing to a user."""
        event = decode(data)
        match event.type:
            case "content_block_delta" if event.delta:
                return event.delta.text
            case "content_block_start" if event.content_block:
                return event.content_block.text
            case "message_start" if event.message:
                self._counts = event.message.usage
            case "message_delta":
                self._take_delta(event)
            case "message_stop":
                self.over = True
            case "error":
                error = event.error or Failure()
                raise self._failure(STATUS.get(error.type, 500), f"{error.type} {error.message}")
        return ""

    def _take_delta(self, event: StreamEvent) -> None:
        """The counts in here are those of the whole answer so far; what is left out stays as it was at the start."""
        if event.delta and event.delta.stop_reason:
            self._stop_reason = event.delta.stop_reason
        if event.usage:
            self._counts = event.usage.filled_from(self._counts or Counts())

    def _last(self) -> list[Event]:
        end = End("length" if self._stop_reason in CUT else "stop")
        return [self._counts.usage, end] if self._counts else [end]


class Counts(msgspec.Struct):
    """Tokens. What came from the cache or went there is not part of ``input_tokens``."""

    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None

    def filled_from(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, name) or getattr(other, name) for name in self.__struct_fields__))

    @property
    def usage(self) -> Usage:
        read = (self.input_tokens, self.cache_creation_input_tokens, self.cache_read_input_tokens)
        return Usage(sum(count or 0 for count in read), self.output_tokens or 0)


class Block(msgspec.Struct):
    text: str = ""


class Delta(msgspec.Struct):
    text: str = ""
    stop_reason: str | None = None


class Message(msgspec.Struct):
    usage: Counts | None = None


class Failure(msgspec.Struct):
    type: str = ""
    message: str = ""


class StreamEvent(msgspec.Struct):
    type: str
    delta: Delta | None = None
    content_block: Block | None = None
    message: Message | None = None
    usage: Counts | None = None
    error: Failure | None = None


decode = msgspec.json.Decoder(StreamEvent).decode

CUT = frozenset({"max_tokens", "model_context_window_exceeded"})

STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The HTTP statuses that Anthropic gives these errors outside a stream."""
