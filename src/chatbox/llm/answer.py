"""From a response to events: what every vendor's stream has in common."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import ClassVar, Self
from urllib.parse import urlsplit

import msgspec

from chatbox.errors import ProviderError, ProviderRefused, ProviderUnreachable
from chatbox.llm.base import Event, File, Piece
from chatbox.llm.http import Response
from chatbox.llm.sse import EventDecoder

MAX_BODY = 8 << 20
"""Bytes of an answer that comes whole: 1 MiB of text may be escaped sixfold."""

MAX_URL = 2048

LAST_CHUNK = 0.02
"""Seconds that the end of a finished answer may take, so that its connection can be used again."""


class Answer(ABC):
    """What the events of one answer add up to, in a vendor's words. Pure."""

    comes_whole: ClassVar[bool] = False
    """The vendor's kind of server may ignore that a stream was asked for, and send one JSON object."""

    def __init__(self, failure: Callable[[int, str], ProviderError]) -> None:
        self.over = False
        """There is nothing more to read: the last event was there, or an error."""
        self._failure = failure
        self._files: list[File] = []
        self._error: ProviderError | None = None

    def take(self, events: Sequence[bytes]) -> list[Event]:
        """What these events say; they came together, so their text is one piece. What precedes an error counts."""
        texts: list[str] = []
        try:
            for data in events:
                texts.append(self._text(data))
                if self.over:
                    break
        except msgspec.MsgspecError as error:
            self._fail(ProviderRefused(f"malformed event: {error}"))
        except ProviderError as error:
            self._fail(error)
        text, files, self._files = "".join(texts), self._files, []
        return [Piece(text), *files] if text else [*files]

    def end(self) -> list[Event]:
        """The last of it. Raises the error that ended the answer, if any."""
        if self._error is not None:
            raise self._error
        if not self._is_complete():
            raise ProviderUnreachable("the stream ended before the answer did")
        return self._last()

    def _fail(self, error: ProviderError) -> None:
        self._error = error
        self.over = True

    @abstractmethod
    def _text(self, data: bytes) -> str:
        """The text in an event. Notes what else is in it."""

    @abstractmethod
    def _last(self) -> list[Event]:
        """What a complete answer ends with."""

    def _is_complete(self) -> bool:
        return self.over


class AnswerStream:
    """What a response says, as much at a time as one read of the network brought."""

    def __init__(self, response: Response, answer: Answer) -> None:
        self._response = response
        self._answer = answer
        self._decoder = EventDecoder()
        self._whole = answer.comes_whole and response.content_type == "application/json"
        if response.content_type != "text/event-stream" and not self._whole:
            raise ProviderRefused(f"the response is {response.content_type} and no event stream")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Event]:
        while not self._answer.over and (texts := await self._texts()):
            if events := self._answer.take(texts):
                return events
        await self._finish()
        raise StopAsyncIteration

    async def _texts(self) -> list[bytes]:
        """The next events' data; none at the end."""
        if self._whole:
            return await self._whole_body()
        while data := await self._response.read():
            if events := self._decoder.feed(data):
                return [event.data for event in events]
        return []

    async def _whole_body(self) -> list[bytes]:
        body = await self._response.read_up_to(MAX_BODY + 1)
        if len(body) > MAX_BODY:
            raise ProviderRefused(f"the response has more than {MAX_BODY} bytes")
        return [body] if body else []

    async def _finish(self) -> None:
        """Read what little follows the last event, so that the connection can be used again."""
        with suppress(TimeoutError, ProviderError):
            async with asyncio.timeout(LAST_CHUNK):
                while await self._response.read():
                    pass


def file_at(url: str) -> list[File]:
    """The file that a model names, if a browser can fetch it. Images inside the text (``data:``) are left out."""
    fits = url.startswith(("https://", "http://")) and len(url) <= MAX_URL
    return [File(url, name=urlsplit(url).path.rpartition("/")[2])] if fits else []
