"""The TCP lines under the service, and how much of it one peer may take, before and after anyone knows who that is.

uvicorn waits for a peer as long as the peer likes, parses at once whatever has come, and keeps every answer until it is
taken. These lines of its make end what does not arrive or is not taken in time, read a little at a time, and refuse
what floods.
"""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from chatbox.outbox import Line

HANDSHAKE = 10.0
"""Seconds for a request's head, and again for its body."""
BODY_RATE = 1024
"""Bytes of a body that are worth another second."""
WRITE_DEADLINE = 20.0
"""Seconds in which a peer has to take something of an answer that waits for it."""
MAX_HEAD = 1 << 16
MAX_PIPELINED = 20

DEAD_AFTER = 60.0
SLICE = 4096
"""Bytes that are parsed at once."""
NOTHING = memoryview(b"")
MAX_FRAGMENTS = 1000
LINGER = 2.0
"""Seconds in which a peer that was refused may still send, unheard."""
MAX_PINGS, PING_WINDOW = 200, 10.0
ABUSE, NOT_UTF8 = 1008, 1007


class SocketLine(WebSocketsSansIOProtocol, Line):
    """A WebSocket's TCP line, which offers itself to the endpoint."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._unread = NOTHING
        self._refused = False
        self._pings = 0
        self._pinged_since = -PING_WINDOW

    # -- for the endpoint ----------------------------------------------------------------------------------------------

    def offer(self, frame: bytes) -> bool:
        """Write past uvicorn's ``send``, which takes twice as long for the same bytes."""
        if self.disconnected or self.close_sent:
            return True
        if not self.writable.is_set():
            return False
        self.transport.write(frame)
        return True

    @property
    def missed_ping(self) -> bool:
        """Whether a ping waits for its pong for longer than a slow line needs."""
        return self.pending_ping_payload is not None and self.loop.time() - self.ping_sent_at > DEAD_AFTER / 12

    def abort(self) -> None:
        """Drop the line without waiting for anything."""
        self.transport.abort()

    # -- what comes in -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse a little at once; more, and what comes before the handshake is answered, in slices as it can be."""
        if self._refused:
            return
        if len(data) <= SLICE and not self._unread and not self._unanswered:
            super().data_received(data)
        elif not self.close_sent:
            self._unread = memoryview(bytes(self._unread) + data)
            self.transport.pause_reading()
            if not self._unanswered:
                self.loop.call_soon(self._read_on)

    @property
    def _unanswered(self) -> bool:
        return self.handshake_initiated and not self.handshake_complete

    def _read_on(self) -> None:
        """Parse the next slice, and go on when the loop comes round, unless a message waits for the endpoint."""
        if self.close_sent or self.disconnected:
            self._unread = NOTHING
        if not self._unread:
            self._listen()
        elif not self._unanswered:
            piece, self._unread = self._unread[:SLICE], self._unread[SLICE:]
            super().data_received(bytes(piece))
            if not self.read_paused:
                self.loop.call_soon(self._read_on)

    def _listen(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    async def receive(self) -> Any:
        message = await self.queue.get()
        if not self.queue.empty():
            await asyncio.sleep(0)
        elif self.read_paused:
            self.read_paused = False
            self.loop.call_soon(self._read_on)
        return message

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if self._unanswered:
            self.scope["extensions"]["chatbox.line"] = {"line": self}

    def handle_cont(self, event: Any) -> None:
        if len(self.frames) < MAX_FRAGMENTS:
            super().handle_cont(event)
        else:
            self._fail(ABUSE, "too many fragments")

    def handle_ping(self) -> None:
        if not self._flooded():
            super().handle_ping()

    def handle_pong(self, event: Any) -> None:
        if not self._flooded():
            super().handle_pong(event)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not _is_utf8(b"".join(self.frames)):
            self._fail(NOT_UTF8, "not UTF-8")
        else:
            super().send_receive_event_to_app()

    def _flooded(self) -> bool:
        """Count a ping or pong; whether it is one too many."""
        now = self.loop.time()
        if now - self._pinged_since >= PING_WINDOW:
            self._pinged_since, self._pings = now, 0
        self._pings += 1
        if self._pings > MAX_PINGS:
            self._fail(ABUSE, "too many pings")
        return self._pings > MAX_PINGS

    def _fail(self, code: int, reason: str) -> None:
        self.frames = []
        if not self.close_sent:
            self.conn.fail(code, reason)
            self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        """Say goodbye and let the peer hear it: to close while it still sends would take that away from it again."""
        told = self.conn.close_sent
        if told and not self.close_sent:
            self._refused = self.close_sent = True
            self.queue.put_nowait({"type": "websocket.disconnect", "code": told.code, "reason": told.reason})
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.write_eof()
            self.close_timer = self.loop.call_later(LINGER, self.transport.close)

    # -- what goes out -------------------------------------------------------------------------------------------------

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # else uvicorn logs a refused handshake as an error
        elif message["type"] == "websocket.accept" and self._unread:
            self._read_on()

    def shutdown(self) -> None:
        """Called when the server ends. A line that has said goodbye waits for the peer's."""
        if self.close_timer is None:
            super().shutdown()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class Request(HttpToolsProtocol):
    """An HTTP connection. A request's head has to come within 10 s and have no more than 64 KiB; its body gets as long,
    and a second more for each KiB; an answer has to be taken, if slowly."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._arriving = Patience(self.loop)
        self._leaving = Patience(self.loop)
        self._arriving.start(HANDSHAKE, self._give_up)
        self._reading_head = True
        self._head_size = 0
        self._untaken = 0
        self._data = b""
        self._refusal = ""

    def connection_lost(self, exc: Exception | None) -> None:
        self._arriving.stop()
        self._leaving.stop()
        super().connection_lost(exc)

    # -- what comes in -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._data = data
        super().data_received(data)
        self._data = b""
        self._head_size = self._head_size + len(data) if self._reading_head else 0
        if self._head_size > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response("The request's head is too big.")

    def on_message_begin(self) -> None:
        self._reading_head = True
        self._arriving.start(HANDSHAKE, self._give_up)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._reading_head = False
        self._arriving.stop()
        self._arriving.start(HANDSHAKE, self._give_up)
        self._refusal = self._objection()
        if self._refusal:
            raise ValueError(self._refusal)  # ends the parsing; the answer is 400
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._arriving.extend(len(body) / BODY_RATE)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._arriving.stop()
        super().on_message_complete()

    def _objection(self) -> str:
        """What uvicorn would not mind and leave half done."""
        if len(self.pipeline) >= MAX_PIPELINED:
            return "Too many requests at once."
        if not self.parser.should_upgrade() or not self._should_upgrade():
            return ""
        if self.parser.get_http_version() != "1.1":
            return "A WebSocket needs HTTP/1.1. (In nginx: proxy_http_version 1.1)"
        if {name for name, _ in self.headers} & {b"content-length", b"transfer-encoding"}:
            return "A WebSocket's handshake has no body."
        if self.cycle and not self.cycle.response_complete:
            return "A WebSocket's handshake has to wait for the answer to the request before it."
        return ""

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(self._refusal or msg)

    def handle_websocket_upgrade(self) -> None:
        """Hand the line over, with what has come behind the handshake, which uvicorn would drop."""
        self._arriving.stop()
        self._leaving.stop()
        super().handle_websocket_upgrade()
        self.parser = None  # type: ignore[assignment]  # refers back to this connection, which is over
        line, upgrade = self.transport.get_protocol(), sys.exception()
        if isinstance(line, SocketLine) and upgrade and (rest := self._data[upgrade.args[0] :]):
            line.data_received(rest)

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    # -- what goes out -------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self._untaken = self._count_untaken()
        self._leaving.start(WRITE_DEADLINE, self._look_at_answer)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._leaving.stop()

    def _look_at_answer(self) -> None:
        """Drop a peer that has taken nothing since the last look."""
        before, self._untaken = self._untaken, self._count_untaken()
        if self._untaken < before:
            self._leaving.start(WRITE_DEADLINE, self._look_at_answer)
        else:
            self.transport.abort()

    def _count_untaken(self) -> int:
        """Bytes that the peer has not confirmed: here, and among the megabytes that the system may keep."""
        line = self.transport.get_extra_info("socket")
        in_system = int.from_bytes(fcntl.ioctl(line.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        return self.transport.get_write_buffer_size() + in_system


class Patience:
    """Calls back once a time has passed in which it was not stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ends = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float, give_up: Callable[[], None]) -> None:
        """Begin, unless it has begun."""
        if self._timer is None:
            self._ends = self._loop.time() + seconds
            self._timer = self._loop.call_at(self._ends, self._look, give_up)

    def extend(self, seconds: float) -> None:
        self._ends += seconds

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _look(self, give_up: Callable[[], None]) -> None:
        self._timer = None
        if (left := self._ends - self._loop.time()) > 0:
            self.start(left, give_up)
        else:
            give_up()
