"""Event streams (``text/event-stream``): bytes in, events out, without I/O.

The rules are those of the WHATWG HTML standard, section "Server-sent events", but for what only a browser needs: the
fields ``id`` and ``retry`` are ignored, since nobody reconnects in the middle of an answer. An event that the stream's
end cuts off is never seen, as the standard demands.
"""

from __future__ import annotations

import msgspec

from chatbox.errors import ProviderRefused

MAX_EVENT = 1 << 20
"""Bytes of one event. A line without an end can't fill the memory."""

BOM = b"\xef\xbb\xbf"


class ServerEvent(msgspec.Struct, frozen=True):
    """``data`` is UTF-8 as it came; who decodes it also checks it."""

    name: str
    data: bytes


class EventDecoder:
    """Takes the bytes of one stream as they come, split anywhere.

    A stream's text is brought to ``\\n`` line ends first. Then every event ends with an empty line, which is what the
    bytes are split at: the work for an event is a few calls into C.
    """

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._head = b""
        self._started = False
        self._rest = bytearray()
        self._after_cr = False

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that these bytes complete. Raises ``ProviderRefused`` for an event beyond the limit."""
        if not self._started:
            data = self._without_bom(data)
        if self._after_cr or b"\r" in data:
            data = self._plain_lines(data)
        if self._rest or not data.endswith(b"\n\n"):
            data = self._complete(data)
        return [event for block in data.split(b"\n\n") if block and (event := self._event(block))]

    def _without_bom(self, data: bytes) -> bytes:
        """Hold the first bytes back until they can be told from a byte order mark."""
        self._head += data
        if self._head != BOM and BOM.startswith(self._head):
            return b""
        self._started = True
        return self._head.removeprefix(BOM)

    def _plain_lines(self, data: bytes) -> bytes:
        """``\\r\\n`` and ``\\r`` become ``\\n``, also when the two of a pair come apart."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        self._after_cr = self._after_cr or data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _complete(self, data: bytes) -> bytes:
        """All whole events so far; the rest is kept."""
        rest = self._rest
        seen = max(0, len(rest) - 1)
        rest += data
        end = rest.rfind(b"\n\n", seen)
        whole = bytes(rest[: end + 2]) if end >= 0 else b""
        del rest[: len(whole)]
        if len(rest) > self._limit + 1:
            raise self._too_long()
        return whole

    def _event(self, block: bytes) -> ServerEvent | None:
        if len(block) > self._limit:
            raise self._too_long()
        if block.startswith(b"data: ") and b"\n" not in block:
            return ServerEvent("message", block[6:])
        return event_of(block)

    def _too_long(self) -> ProviderRefused:
        return ProviderRefused(f"the stream has an event of more than {self._limit} bytes")


def event_of(block: bytes) -> ServerEvent | None:
    """The event that these lines make, or ``None`` when they have no data."""
    name = b""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    if not data:
        return None
    return ServerEvent(name.decode(errors="replace") or "message", b"\n".join(data))
