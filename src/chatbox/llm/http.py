"""What the providers behind HTTP share: one connection pool, one way to ask, one way to read, one way to fail.

Errors carry the response's status and the beginning of its body, for the log, and never the key. They are raised
without their cause, since aiohttp's own errors hold the request's headers.
"""

from __future__ import annotations

import asyncio
import email.utils
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import ClassVar, Self
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import msgspec

from chatbox.errors import ProviderBusy, ProviderError, ProviderRefused, ProviderTimeout, ProviderUnreachable
from chatbox.llm.base import CONNECT_TIMEOUT, Event, File, Piece, Provider, ProviderSettings
from chatbox.llm.sse import EventDecoder

MAX_BODY = 8 << 20
"""Bytes of an answer that comes whole: 1 MiB of text may be escaped sixfold."""

MAX_ERROR_BODY = 1 << 16
MAX_SNIPPET = 300
MAX_URL = 2048

LAST_CHUNK = 0.02
"""Seconds that the end of a finished answer may take, so that its connection can be used again."""


class HttpProvider(Provider):
    """A provider behind HTTP: opens and closes its connections, and knows where to ask whether the key is good."""

    check_path: ClassVar[str]

    def __init__(self, settings: ProviderSettings, headers: Mapping[str, str]) -> None:
        super().__init__(settings)
        self._api = Api(settings.endpoint, headers, settings.api_key)

    async def __aenter__(self) -> Self:
        await self._api.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._api.__aexit__(kind, error, trace)

    async def check(self) -> None:
        await self._api.check(self.check_path)


class RequestRefused(ProviderRefused):
    """A request was answered with 4xx: the ``status``, and the ``body`` for those who can mend the request."""

    def __init__(self, detail: str, status: int, body: str) -> None:
        super().__init__(detail)
        self.status = status
        self.body = body


class Api:
    """A vendor's API at one base URL. Connections are made when they are needed, and kept."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], secret: str) -> None:
        self._endpoint = endpoint
        self._headers = {**headers, "Accept-Encoding": "identity", "User-Agent": "chatbox"}
        self._secret = secret

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT),
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, path: str, body: bytes) -> Response:
        """Ask. The response has status 200 and is to be used in ``async with``."""
        return await self._request("POST", path, body)

    async def check(self, path: str) -> None:
        """Raise ``ProviderError`` unless somebody there knows the key. Any answer but 401, 403 and 5xx will do."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT), await self._request("GET", path):
                pass
        except RequestRefused as refused:
            if refused.status in (401, 403):
                raise
        except TimeoutError:
            raise ProviderTimeout(f"no answer within {CONNECT_TIMEOUT:g} s") from None

    async def _request(self, method: str, path: str, body: bytes | None = None) -> Response:
        try:
            url = joined_url(self._endpoint, path)
            got = await self._session.request(method, url, data=body, headers=self._headers, allow_redirects=False)
        except TROUBLE as error:
            raise error_for(error) from None
        response = Response(got)
        if got.status == 200:
            return response
        async with response:
            raise await self._refusal(got, response)

    async def _refusal(self, got: aiohttp.ClientResponse, response: Response) -> ProviderError:
        body = (await response.read_up_to(MAX_ERROR_BODY)).decode(errors="replace")
        if 300 <= got.status < 400:
            body = "redirects are not followed; set the endpoint to the final address"
        return self.failure(got.status, body, retry_after_of(got.headers))

    def failure(self, status: int, body: str, retry_after: float | None = None) -> ProviderError:
        """``failure_of``, without the key."""
        return failure_of(status, body.replace(self._secret, "***") if self._secret else body, retry_after)


class Response:
    """The body of a response. Leaving it frees the connection, or cuts it when there is more to come."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.content_type = response.content_type
        self._response = response
        self._read = response.content.readany

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._response.release()

    async def read(self) -> bytes:
        """What is there, waiting for something; nothing at the end."""
        try:
            return await self._read()
        except TROUBLE as error:
            raise error_for(error) from None

    async def read_up_to(self, limit: int) -> bytes:
        """The whole body, or its first ``limit`` bytes."""
        body = bytearray()
        while len(body) < limit and (data := await self.read()):
            body += data
        return bytes(body[:limit])


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


TROUBLE = (aiohttp.ClientError, OSError, ValueError)
"""What aiohttp raises. It takes a bad URL or header for a wrong value."""


def error_for(error: Exception) -> ProviderError:
    """Our name for an error of aiohttp's. Its text is told where it can't hold a header or the URL."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return ProviderTimeout(f"no connection within {CONNECT_TIMEOUT:g} s")
        case aiohttp.ClientSSLError():
            return ProviderRefused(f"no trusted connection: {error}")
        case aiohttp.ClientResponseError():
            return ProviderUnreachable(f"not HTTP: {error.message}")
        case ValueError():
            return ProviderRefused("the endpoint is no URL, or the key has characters that no header can carry")
        case _:
            return ProviderUnreachable(f"{type(error).__name__}: {error}")


def failure_of(status: int, body: str, retry_after: float | None = None) -> ProviderError:
    """The error that an HTTP status means, be it the response's or one that is told inside a stream."""
    detail = f"status {status}: {' '.join(body.split())[:MAX_SNIPPET]}"
    if status in (429, 529):
        return ProviderBusy(detail, retry_after=retry_after)
    if status >= 500 or status == 408:
        return ProviderUnreachable(detail, retry_after=retry_after)
    return RequestRefused(detail, status, body)


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from ``Retry-After``: a number, or a date. ``None`` when absent or nonsense."""
    value = headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        seconds = seconds_until(value)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def seconds_until(date: str) -> float:
    """Seconds from now to an HTTP date; NaN when it is none."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return math.nan


def joined_url(endpoint: str, path: str) -> str:
    """``path`` appended to the endpoint's own path; a query stays at the end, as Azure wants it."""
    scheme, host, base, query, _ = urlsplit(endpoint)
    return urlunsplit((scheme, host, base.rstrip("/") + path, query, ""))


def file_at(url: str) -> list[File]:
    """The file that a model names, if a browser can fetch it. Images inside the text (``data:``) are left out."""
    fits = url.startswith(("https://", "http://")) and len(url) <= MAX_URL
    return [File(url, name=urlsplit(url).path.rpartition("/")[2])] if fits else []
