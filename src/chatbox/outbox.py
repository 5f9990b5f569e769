"""What a socket still has to send. Nobody ever waits for it.

While the socket takes frames, each is sent at once, inside ``put``: no queue, no task. When the socket is full, frames
wait in a queue bounded in bytes, and neighbouring pieces of an answer are merged into one. When even that is full, the
queue is dropped and the socket is closed with 4408: its client comes back and resumes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, MutableMapping
from functools import partial
from typing import Any

from chatbox import protocol
from chatbox.backplane.base import Piece
from chatbox.tasks import Tasks

MAX_BYTES = 4 << 20

Message = MutableMapping[str, Any]
Send = Callable[[Message], Coroutine[Any, Any, None]]


class Outbox:
    """Frames on their way to one socket. ``send`` is the ASGI callable. ``sent`` counts frames."""

    __slots__ = ("_close", "_queue", "_send", "_session_id", "_tasks", "blocked", "closing", "sent", "size")

    def __init__(self, send: Send, tasks: Tasks) -> None:
        self._send = send
        self._tasks = tasks
        self._queue: deque[str | _Merged] = deque()
        self._close: Message | None = None
        self._session_id = ""
        self.blocked = False
        self.closing = False
        self.size = 0
        self.sent = 0

    def put(self, frame: str, prev: int, session_id: str, piece: Piece | None = None) -> None:
        """Send a frame now, or as soon as the socket takes it. ``prev`` is the socket's position before a piece."""
        if self.closing:
            return
        self.sent += 1
        if not self.blocked:
            self._start({"type": "websocket.send", "text": frame})
            return
        self._session_id = session_id
        self.size += len(frame) if piece is None else len(piece.text)
        if self.size > MAX_BYTES:
            self._overflow()
        elif piece is None:
            self._queue.append(frame)
        else:
            self._merge(piece, prev)

    def close(self, code: int, reason: str) -> None:
        """Close the socket after what was put before."""
        if self.closing:
            return
        self.closing = True
        message = {"type": "websocket.close", "code": code, "reason": reason}
        if self.blocked:
            self._close = message
        else:
            self._start(message)

    def _overflow(self) -> None:
        self._queue.clear()
        self.size = 0
        self.close(protocol.Close.TOO_SLOW, "too slow: come back and resume")

    def _merge(self, piece: Piece, prev: int) -> None:
        last = self._queue[-1] if self._queue else None
        if isinstance(last, _Merged) and last.answer_id == piece.answer_id:
            last.add(piece)
        else:
            self._queue.append(_Merged(piece, prev))

    def _start(self, message: Message) -> None:
        """Run the send up to where it would wait; only then it needs a task."""
        sending = self._send(message)
        try:
            waits_for = sending.send(None)
        except StopIteration:
            return
        except Exception:  # noqa: BLE001 - the socket is gone; its reader finds out
            self.closing = True
            return
        self.blocked = True
        self._tasks.start(self._drain(_Resumed(sending, waits_for)), "outbox")

    async def _drain(self, first: Awaitable[None]) -> None:
        try:
            await first
            while self._queue:
                item = self._queue.popleft()
                frame = item if isinstance(item, str) else item.frame(self._session_id)
                self.size = self.size - len(frame) if self._queue else 0
                await self._send({"type": "websocket.send", "text": frame})
            if self._close:
                await self._send(self._close)
        except Exception:  # noqa: BLE001 - the socket is gone; its reader finds out
            self.closing = True
        finally:
            self.blocked = False


class _Merged:
    """Neighbouring pieces of one answer, as one frame."""

    __slots__ = ("answer_id", "prev", "seq", "texts")

    def __init__(self, piece: Piece, prev: int) -> None:
        self.answer_id, self.prev = piece.answer_id, prev
        self.seq, self.texts = piece.seq, [piece.text]

    def add(self, piece: Piece) -> None:
        self.seq = piece.seq
        self.texts.append(piece.text)

    def frame(self, session_id: str) -> str:
        head = protocol.piece_head(session_id, self.answer_id)
        return protocol.piece(head, self.seq, self.prev, "".join(self.texts))


class _Resumed:
    """A coroutine that was started by hand and waits for something: awaiting this goes on with it."""

    __slots__ = ("_coroutine", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._coroutine, self._waits_for = coroutine, waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._waits_for
        while True:
            try:
                value = yield waits_for
            except BaseException as error:  # noqa: BLE001 - handed on, cancellation too
                go_on = partial(self._coroutine.throw, error)
            else:
                go_on = partial(self._coroutine.send, value)
            try:
                waits_for = go_on()
            except StopIteration:
                return
