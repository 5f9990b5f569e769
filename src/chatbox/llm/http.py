"""What the providers behind HTTP share: one connection pool, one way to ask, one way to fail.

Errors carry the response's status and the beginning of its body, for the log, and never the key. They are raised
without their cause, since aiohttp's own errors hold the request's headers.
"""

from __future__ import annotations

import asyncio
import email.utils
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import msgspec

from chatbox.errors import ProviderBusy, ProviderError, ProviderRefused, ProviderTimeout, ProviderUnreachable
from chatbox.llm.base import CONNECT_TIMEOUT, File
from chatbox.llm.sse import EventDecoder, ServerEvent

EVENT_STREAM = "text/event-stream"
MAX_BODY = 8 << 20
"""Bytes of an answer that comes whole: 1 MiB of text may be escaped sixfold."""

MAX_URL = 2048
MAX_ERROR_BODY = 1 << 16
SNIPPET = 300
LAST_CHUNK = 0.02
"""Seconds that the end of a finished answer may take, so that its connection can be used again."""


class RequestRefused(ProviderRefused):
    """The answer to a request was 4xx; with its ``body`` for those who can mend the request."""

    def __init__(self, detail: str, status: int, body: str) -> None:
        super().__init__(detail)
        self.status = status
        self.body = body


class Api:
    """A vendor's API at one base URL. Connections are made when they are needed and kept."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], secret: str) -> None:
        self.endpoint = endpoint
        self._headers = {**headers, "Accept-Encoding": "identity", "User-Agent": "chatbox"}
        self._secret = secret

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT, sock_read=None),
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    @asynccontextmanager
    async def post(self, path: str, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask; the response has status 200. Leaving the block frees the connection, or cuts it when there is more."""
        async with self._request("POST", path, body) as response:
            yield response

    async def check(self, path: str) -> None:
        """Raise ``ProviderError`` unless somebody there knows the key. Any answer but 401, 403 and 5xx will do."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT), self._request("GET", path):
                pass
        except RequestRefused as refused:
            if refused.status in (401, 403):
                raise
        except TimeoutError:
            raise ProviderTimeout(f"{urlsplit(self.endpoint).netloc} did not answer") from None

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, body: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        with mapped_errors():
            response = await self._session.request(
                method, joined(self.endpoint, path), data=body, headers=self._headers, allow_redirects=False
            )
            try:
                if response.status != 200:
                    raise await self._refusal(response)
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise ProviderRefused("the response is compressed, though Chatbox asked for none of it")
                yield response
            finally:
                response.release()

    async def _refusal(self, response: aiohttp.ClientResponse) -> ProviderError:
        body = (await read_up_to(response, MAX_ERROR_BODY)).decode(errors="replace")
        if 300 <= response.status < 400:
            body = "redirects are not followed; set the endpoint to the final address"
        return self.failure(response.status, body, retry_after_of(response.headers))

    def failure(self, status: int, body: str, retry_after: float | None = None) -> ProviderError:
        """``failure_of``, without the key."""
        return failure_of(status, body.replace(self._secret, "***") if self._secret else body, retry_after)


class EventReader:
    """The events of a response, as many at a time as one read of the network brought."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        if response.content_type != EVENT_STREAM:
            raise ProviderRefused(f"the response is {response.content_type}, not {EVENT_STREAM}")
        self._read = response.content.readany
        self._decoder = EventDecoder()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[ServerEvent]:
        while data := await self._read():
            if events := self._decoder.feed(data):
                return events
        raise StopAsyncIteration

    async def finish(self) -> None:
        """Read what little follows the last event, so that the connection can be used again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_CHUNK):
                while await self._read():
                    pass


def failure_of(status: int, body: str, retry_after: float | None = None) -> ProviderError:
    """The error that an HTTP status means, be it the response's or one that is told inside a stream."""
    detail = f"status {status}: {' '.join(body.split())[:SNIPPET]}"
    if status in (429, 529):
        return ProviderBusy(detail, retry_after=retry_after)
    if status >= 500 or status == 408:
        return ProviderUnreachable(detail, retry_after=retry_after)
    return RequestRefused(detail, status, body)


async def read_up_to(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, or its first ``limit`` bytes."""
    body = bytearray()
    while len(body) < limit and (data := await response.content.readany()):
        body += data
    return bytes(body[:limit])


async def read_whole(response: aiohttp.ClientResponse) -> bytes:
    """The body of an answer that came whole."""
    body = await read_up_to(response, MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise ProviderRefused(f"the response has more than {MAX_BODY} bytes")
    return body


def file_at(url: str, name: str = "", mime_type: str = "") -> list[File]:
    """The file that a model names, if a browser can fetch it: images inside the text (``data:``) are left out."""
    fits = url.startswith(("https://", "http://")) and len(url) <= MAX_URL
    return [File(url=url, name=name, mime_type=mime_type)] if fits else []


def joined(endpoint: str, path: str) -> str:
    """``path`` appended to the endpoint's own path; a query stays at the end, as Azure wants it."""
    scheme, host, base, query, _ = urlsplit(endpoint)
    return urlunsplit((scheme, host, base.rstrip("/") + path, query, ""))


@contextmanager
def mapped_errors() -> Iterator[None]:
    """What goes wrong in here is a ``ProviderError``."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError:
        raise ProviderTimeout(f"no connection within {CONNECT_TIMEOUT:g} s") from None
    except aiohttp.ClientSSLError as error:
        raise ProviderRefused(f"no trusted connection: {error}") from None
    except aiohttp.ClientResponseError as error:
        raise ProviderUnreachable(f"not HTTP: {error.message}") from None
    except msgspec.MsgspecError as error:
        raise ProviderRefused(f"malformed response: {error}") from None
    except ValueError:
        raise ProviderRefused("the endpoint is no URL, or the key has characters that no header can carry") from None
    except (aiohttp.ClientError, OSError) as error:
        raise ProviderUnreachable(f"{type(error).__name__}: {error}") from None


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from ``Retry-After``: a number, or a date. ``None`` when absent or nonsense."""
    value = headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        seconds = until(value)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def until(date: str) -> float:
    """Seconds from now to an HTTP date; NaN when it is none."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    except ValueError:
        return math.nan
