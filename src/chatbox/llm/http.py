"""What the providers behind HTTP share: one connection pool, one way to ask, one way to read, one way to fail.

Errors carry the response's status and the beginning of its body, for the log, and never the key. They are raised
without their cause, since aiohttp's own errors hold the request's headers.
"""

from __future__ import annotations

import asyncio
import email.utils
import math
import time
from abc import abstractmethod
from collections.abc import Mapping
from types import SimpleNamespace, TracebackType
from typing import ClassVar, Self
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from chatbox.errors import (
    ConfigError,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnreachable,
)
from chatbox.llm.base import CONNECT_TIMEOUT, Provider, ProviderSettings

MAX_ERROR_BODY = 1 << 16
MAX_SNIPPET = 300


class HttpProvider(Provider):
    """A provider behind HTTP: opens and closes its connections, and knows where to ask whether the key is good.

    Raises ``ConfigError`` for an endpoint that is no URL and for a key that no header can carry.
    """

    check_path: ClassVar[str]

    def __init__(self, settings: ProviderSettings) -> None:
        super().__init__(settings)
        if problems := problems_of(settings):
            raise ConfigError(problems)
        self._api = Api(settings.endpoint, self.headers(), settings.api_key)

    @abstractmethod
    def headers(self) -> dict[str, str]:
        """What goes with every request, the key among it."""

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
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(note_reuse)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT),
            auto_decompress=False,
            trace_configs=[trace],
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
            got = await self._send(method, url, body)
        except TROUBLE as error:
            raise error_for(error) from None
        response = Response(got)
        if got.status == 200 and got.headers.get("Content-Encoding", "identity") == "identity":
            return response
        async with response:
            raise await self._refusal(got, response)

    async def _send(self, method: str, url: str, body: bytes | None) -> aiohttp.ClientResponse:
        """A kept connection that the server has closed meanwhile says nothing about the server: take another one."""
        while True:
            attempt = Attempt()
            try:
                return await self._session.request(
                    method, url, data=body, headers=self._headers, allow_redirects=False, trace_request_ctx=attempt
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not attempt.reused:
                    raise

    async def _refusal(self, got: aiohttp.ClientResponse, response: Response) -> ProviderError:
        body = (await response.read_up_to(MAX_ERROR_BODY)).decode(errors="replace")
        if got.status == 200:
            return ProviderRefused("the response is compressed, though that was not asked for")
        if 300 <= got.status < 400:
            body = "redirects are not followed; set the endpoint to the final address"
        return self.failure(got.status, body, retry_after_of(got.headers))

    def failure(self, status: int, body: str, retry_after: float | None = None) -> ProviderError:
        """``failure_of``, without the key."""
        return failure_of(status, body.replace(self._secret, "***") if self._secret else body, retry_after)


class Attempt:
    reused = False


async def note_reuse(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.reused = True


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


TROUBLE = (aiohttp.ClientError, OSError, ValueError)
"""What aiohttp raises. ``ValueError`` is about the URL or a header."""


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
            return ProviderRefused("the request can't be made with this endpoint and key")
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


def problems_of(settings: ProviderSettings) -> list[str]:
    """What is wrong with the settings, each with its remedy."""
    problems = []
    if not is_http_url(settings.endpoint):
        problems.append(f"the endpoint of model {settings.id!r} has to be a URL that begins with https:// or http://")
    if not (settings.api_key.isascii() and settings.api_key.isprintable()):
        problems.append(f"the API key of model {settings.id!r} has characters that no key has, perhaps a line break")
    return problems


def is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def joined_url(endpoint: str, path: str) -> str:
    """``path`` appended to the endpoint's own path; a query stays at the end, as Azure wants it."""
    scheme, host, base, query, _ = urlsplit(endpoint)
    return urlunsplit((scheme, host, base.rstrip("/") + path, query, ""))
