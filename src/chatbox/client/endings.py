"""What each way to lose a connection means: try again, get another token first, or stop. No I/O."""

from __future__ import annotations

import os

import aiohttp

from chatbox.client.backoff import AT_ONCE
from chatbox.errors import (
    ChatboxError,
    ConnectionLost,
    Ended,
    Forbidden,
    InvalidFormat,
    InvalidToken,
    NotFound,
    Refusal,
    Replaced,
    Unavailable,
)
from chatbox.protocol import Close

OUR_FAULT = {1002, Close.NOT_TEXT, 1007, Close.ABUSE, Close.TOO_BIG}
"""The server did not like what it was sent: sending it again would not help."""

REASONS = {
    Close.DRAINING: "the server is restarting",
    Close.INTERNAL: "the server had a problem",
}


def of_close(code: int | None) -> ChatboxError:
    """What a close code means. ``ConnectionLost``: connect again. ``InvalidToken``: with another token. The rest is
    the end. None is a line that broke."""
    match code:
        case Close.DELETED:
            return Ended("the session was deleted")
        case Close.TOKEN:
            return InvalidToken("The token is not valid any more.")
        case Close.FORBIDDEN:
            return Forbidden("The server does not let this user in.")
        case Close.REPLACED:
            return Replaced("another connection of this client has taken over")
        case Close.TOO_SLOW:
            return ConnectionLost("this side was too slow", AT_ONCE)
        case _ if code in OUR_FAULT:
            return InvalidFormat(f"The server refuses what this client sends (close code {code}).")
        case _:
            return ConnectionLost(REASONS.get(code or 0, "the connection broke off"))


def of_status(status: int, retry_after: str | None) -> ChatboxError:
    """What the HTTP answer to a handshake means, in the same terms."""
    wait = float(retry_after) if retry_after and retry_after.isdecimal() else None
    match status:
        case 401:
            return InvalidToken("The token is not valid.")
        case 403:
            return Forbidden("The server does not let this user in, or there is no Chatbox at this address.")
        case 429:
            return ConnectionLost("too many connections of this user", wait)
        case 503:
            return ConnectionLost("the server is full or restarting", wait)
        case _ if status >= 500:
            return ConnectionLost(f"the server answered with status {status}", wait)
        case _:
            return NotFound(f"There is no Chatbox at this address (status {status}).")


def of_failure(error: Exception) -> ConnectionLost:
    """What an attempt to reach the server failed with, in words for people."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    match cause:
        case TimeoutError():
            text = "timed out"
        case OSError(errno=int(number)) if number > 0:
            text = os.strerror(number).lower()
        case OSError(strerror=str(text)):
            text = text.lower()
        case _:
            text = str(cause) or type(cause).__name__
    return ConnectionLost(f"no answer from the server ({text})")


def passing(refusal: Refusal) -> ConnectionLost:
    """A refusal of what the client needs for a connection: it tries again, when the server allows it."""
    return ConnectionLost(refusal.message, None if refusal.retry_after is None else refusal.retry_after / 1000)


def of_answer(status: int, refusal: Refusal) -> Refusal:
    """An HTTP answer's error: what its body says, or what its status does."""
    if type(refusal) is not Refusal:
        return refusal
    found = of_status(status, None)
    return found if isinstance(found, Refusal) else Unavailable(refusal.message or str(found))
