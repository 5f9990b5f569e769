"""Alerts by SMS, through the HTTP API of Twilio."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp

from chatbox.notify.base import Channel, Message, NotDelivered, plain

PATIENCE = 15.0
"""Seconds that the API has for one message."""
AT_ONCE = 5
MAX_TEXT = 320
MAX_ANSWER = 1 << 16

OURS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.PAYMENT_REQUIRED})
"""Answers about our own account, which people set right."""
BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})

OUR_CODES = frozenset({20003, 20005, 21606, 21608, 21660, 30002})
"""Twilio's codes about the account or its sending number, whatever the status that they come with."""


class SmsChannel(Channel):
    """``endpoint`` is the base of the API, ``sender`` the account's number that alerts are from."""

    name = "sms"

    def __init__(self, endpoint: str, account: str, token: str, sender: str) -> None:
        self._url = f"{endpoint.rstrip('/')}/2010-04-01/Accounts/{account}/Messages.json"
        self._headers = {
            "Authorization": aiohttp.encode_basic_auth(account, token),
            "User-Agent": "chatbox",
            "Accept": "application/json",
        }
        self._sender = sender
        self._free = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=PATIENCE),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(self, message: Message, to: Sequence[str]) -> Mapping[str, NotDelivered]:
        text = text_of(message)
        results = await asyncio.gather(*[self._send(text, number) for number in to])
        return {number: failure for number, failure in zip(to, results, strict=True) if failure}

    async def _send(self, text: str, number: str) -> NotDelivered | None:
        form = {"To": number, "From": self._sender, "Body": text}
        try:
            async with (
                self._free,
                self._session.post(self._url, data=form, allow_redirects=False) as answer,
            ):
                if answer.status == HTTPStatus.CREATED:
                    return None
                return refusal(answer.status, await _beginning(answer), answer.headers)
        except TimeoutError:
            return NotDelivered(f"no answer within {PATIENCE:.0f} s", transient=True)
        except (aiohttp.ClientError, OSError) as error:
            return NotDelivered(f"{type(error).__name__}: {plain(str(error), 200)}", transient=True)


def text_of(message: Message) -> str:
    """The alert in one short message, which ends with its id."""
    end = f" {message.link}" if message.link else ""
    end += f" [{message.short_id}]"
    return plain(f"Chatbox: {message.subject}", MAX_TEXT - len(end)) + end


async def _beginning(answer: aiohttp.ClientResponse) -> bytes:
    """An answer's body, as far as it is of use."""
    body = bytearray()
    async for part in answer.content.iter_any():
        body += part
        if len(body) >= MAX_ANSWER:
            break
    return bytes(body)


def refusal(status: int, body: bytes, headers: Mapping[str, str]) -> NotDelivered:
    """What an answer that is not 201 means. The API tells a code of its own and a text."""
    told = _told(body)
    code = told.get("code")
    detail = f"status {status}, code {code}: {plain(str(told.get('message', '')), 200)}"
    transient = status in OURS or status in BUSY or status >= 500 or status < 400 or code in OUR_CODES
    return NotDelivered(detail, transient=transient, retry_after=_retry_after(headers))


def _told(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        seconds = float(headers.get("Retry-After", "0"))
    except ValueError:
        return 0.0
    return min(max(0.0, seconds), 3600.0) if math.isfinite(seconds) else 0.0
