"""The chat completions API as OpenAI defined it and vLLM, Ollama, LiteLLM, llama.cpp and Azure speak it.

Servers differ in what they accept: a field that one needs, another refuses. Chatbox begins with what most know, changes
its dialect as a refusal tells it to, and keeps that.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from chatbox.llm.answer import Answer, AnswerStream, file_at
from chatbox.llm.base import End, Event, Prompt, ProviderSettings, Usage
from chatbox.llm.http import HttpProvider, RequestRefused, Response

PATH = "/chat/completions"
DONE = b"[DONE]"


class OpenAI(HttpProvider):
    """``endpoint`` is the base URL, e.g. ``https://api.openai.com/v1``; a query in it is kept."""

    check_path = "/models"

    def __init__(self, settings: ProviderSettings) -> None:
        super().__init__(settings)
        self._dialect = Dialect()

    def headers(self) -> dict[str, str]:
        """Azure takes keys in a header of its own."""
        headers = {"Content-Type": "application/json"}
        if key := self.settings.api_key:
            headers["Authorization"] = f"Bearer {key}"
            if is_azure(self.settings.endpoint):
                headers["api-key"] = key
        return headers

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        answer = ChatAnswer(self._api.failure)
        async with await self._ask(prompt) as response:
            async for events in AnswerStream(response, answer):
                for event in events:
                    yield event
        for event in answer.end():
            yield event

    async def _ask(self, prompt: Prompt) -> Response:
        while True:
            dialect = self._dialect
            try:
                return await self._api.post(PATH, request_body(self.settings, prompt, dialect))
            except RequestRefused as refused:
                self._dialect = dialect.after(refused)
                if self._dialect == dialect:
                    raise


class Dialect(msgspec.Struct, frozen=True):
    """How a server wants to be asked."""

    usage: bool = True
    limit: str = "max_tokens"

    def after(self, refused: RequestRefused) -> Dialect:
        """The dialect to try next: this one, when the refusal names none of the fields in question."""
        if refused.status not in (400, 422):
            return self
        usage = self.usage and "stream_options" not in refused.body
        limit = "max_completion_tokens" if "max_completion_tokens" in refused.body else self.limit
        return Dialect(usage, limit)


def is_azure(endpoint: str) -> bool:
    url = urlsplit(endpoint)
    return (url.hostname or "").endswith(".azure.com") or "api-version" in parse_qs(url.query)


def request_body(settings: ProviderSettings, prompt: Prompt, dialect: Dialect) -> bytes:
    body: dict[str, Any] = {"messages": prompt.turns, "stream": True, dialect.limit: settings.max_tokens}
    if settings.model:
        body["model"] = settings.model
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    if dialect.usage:
        body["stream_options"] = {"include_usage": True}
    return msgspec.json.encode(body)


class ChatAnswer(Answer):
    comes_whole = True
    _finish: str | None = None
    _counts: Counts | None = None

    def _text(self, data: bytes) -> str:
        if data == DONE:
            self.over = True
            return ""
        chunk = decode(data)
        if chunk.error is not None:
            raise self._failure(*meaning(chunk.error))
        self._counts = chunk.usage or self._counts
        return self._choice(chunk.choices[0]) if chunk.choices else ""

    def _choice(self, choice: Choice) -> str:
        self._finish = choice.finish_reason or self._finish
        delta = choice.delta or choice.message or Delta()
        if type(delta.content) is str and not (delta.images or delta.refusal):
            return delta.content
        return (delta.refusal or "") + self._parts(delta)

    def _parts(self, delta: Delta) -> str:
        """The text of an answer in parts; its images become files."""
        parts = [Part(delta.content)] if isinstance(delta.content, str) else delta.content or []
        for part in (*parts, *(delta.images or ())):
            self._files += file_at(part.image_url.url) if part.image_url else []
        return "".join([part.text for part in parts])

    def _is_complete(self) -> bool:
        return self.over or self._finish is not None

    def _last(self) -> list[Event]:
        end = End("length" if self._finish == "length" else "stop")
        return [self._counts.usage, end] if self._counts else [end]


class ImageUrl(msgspec.Struct):
    url: str = ""


class Part(msgspec.Struct):
    text: str = ""
    image_url: ImageUrl | None = None


class Delta(msgspec.Struct):
    content: str | list[Part] | None = None
    refusal: str | None = None
    images: list[Part] | None = None


class Choice(msgspec.Struct):
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None


class Counts(msgspec.Struct):
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0

    @property
    def usage(self) -> Usage:
        return Usage(self.prompt_tokens or 0, self.completion_tokens or 0)


class Failure(msgspec.Struct):
    message: str | None = ""
    type: str | None = ""
    code: str | int | None = ""


class Chunk(msgspec.Struct):
    choices: list[Choice] | None = None
    usage: Counts | None = None
    error: Failure | str | None = None


decode = msgspec.json.Decoder(Chunk).decode

STATUS = {
    "insufficient_quota": 429,
    "invalid_request_error": 400,
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
}


def meaning(error: Failure | str) -> tuple[int, str]:
    """An error inside the stream as a status and a text. What nobody has a name for is the server's own trouble."""
    if isinstance(error, str):
        return 500, error
    code = str(error.code or "")
    status = int(code) if code.isdecimal() else STATUS.get(code) or STATUS.get(error.type or "", 500)
    return status, f"{error.type or code} {error.message or ''}"
