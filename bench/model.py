"""The scripted model: an OpenAI-compatible server that is not the bottleneck. `python -m bench.model --help`.

One asyncio protocol, no framework, prepared bytes. At a rate, every token has a timer and a write of its own, as a
model sends them; without one, an answer goes out as fast as its reader takes it. It prints its port when it is ready.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

from bench.script import Stream

BURST = 16
"""Tokens in one write without a rate."""

LATE = 0.010
"""Seconds that a token's timer may be late before it counts as late."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass
class Counts:
    """What the model has done. ``late`` tokens were sent over 10 ms after their time: it was the bottleneck."""

    answers: int = 0
    tokens: int = 0
    aborted: int = 0
    late: int = 0


class Speaker(asyncio.Protocol):
    """One connection: request after request."""

    _transport: asyncio.Transport

    def __init__(self, stream: Stream, rate: float, counts: Counts) -> None:
        self._stream = stream
        self._interval = 1 / rate if rate else 0.0
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._next: int | None = None
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while request := self._take_request():
            self._answer(request)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._counts.aborted += self._next is not None
        self._next = None

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._next is not None and not self._interval:
            self._pour()

    def _take_request(self) -> bytes:
        """The first line of a request that is there with its whole body; empty before that."""
        head, end, rest = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if not end or len(rest) < size:
            return b""
        self._received = rest[size:]
        return head.partition(b"\r\n")[0]

    def _answer(self, request: bytes) -> None:
        if b"/chat/completions" in request:
            self._transport.write(self._stream.head)
            self._next, self._due = 0, self._loop.time()
            self._timer = self._loop.call_at(self._due, self._speak if self._interval else self._pour)
        else:
            self._reply(asdict(self._counts) if b"/counts" in request else {"object": "list", "data": []})

    def _reply(self, body: object) -> None:
        data = json.dumps(body).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data)
        self._transport.write(head + data)

    def _speak(self) -> None:
        """One token at its time; the next one's time does not depend on how late this one is."""
        number = cast("int", self._next)
        self._counts.late += self._loop.time() - self._due > LATE
        self._transport.write(self._stream.token(number))
        self._advance(1)
        if self._next is not None:
            self._due += self._interval
            self._timer = self._loop.call_at(self._due, self._speak)

    def _pour(self) -> None:
        while self._next is not None and not self._full:
            numbers = range(self._next, min(self._next + BURST, self._stream.tokens))
            self._transport.write(b"".join([self._stream.token(number) for number in numbers]))
            self._advance(len(numbers))

    def _advance(self, tokens: int) -> None:
        self._counts.tokens += tokens
        self._next = cast("int", self._next) + tokens
        if self._next == self._stream.tokens:
            self._transport.write(self._stream.tail)
            self._counts.answers += 1
            self._next = None


async def serve(stream: Stream, rate: float, port: int) -> None:
    counts = Counts()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Speaker(stream, rate, counts), "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    options = argparse.ArgumentParser(description="An OpenAI-compatible server with a scripted answer.")
    options.add_argument("--tokens", type=int, default=200, help="of an answer")
    options.add_argument("--rate", type=float, default=20.0, help="tokens a second and answer; 0: as fast as read")
    options.add_argument("--port", type=int, default=0, help="0: a free one")
    chosen = options.parse_args()
    uvloop.run(serve(Stream(chosen.tokens), chosen.rate, chosen.port))


if __name__ == "__main__":
    main()
