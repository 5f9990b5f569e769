"""What a socket still has to send. Nobody ever waits for it.

While the line takes frames, each is written at once, inside ``put``: no queue, no task. When the line is full, frames
wait in a queue bounded in bytes, and pieces of an answer that nothing of their session separates are merged into one.
When even that is full, the queue is dropped and the socket is closed with 4408: its client comes back and resumes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, MutableMapping
from typing import Any

from chatbox import protocol
from chatbox.backplane.base import Piece
from chatbox.protocol import Frame
from chatbox.tasks import Tasks

MAX_BYTES = 4 << 20
"""What may wait for a slow socket: more than the longest answer and a whole replay."""

Message = MutableMapping[str, Any]
Send = Callable[[Message], Coroutine[Any, Any, None]]


class Line:
    """The line under a socket. This one is every ASGI server's: frames go through its ``send``, one task at a time."""

    @property
    def missed_ping(self) -> bool:
        """Whether a ping has been waiting for its pong."""
        return False

    def offer(self, frame: bytes) -> bool:
        """Write a whole WebSocket frame now; false when the line can't take it."""
        return False

    def abort(self) -> None:
        """Drop the line without waiting for anything."""


class Outbox:
    """Frames on their way to one socket; ``send`` is the ASGI callable. ``sent`` counts them, ``blocked`` says that
    some wait, ``size`` how many characters of them; ``dropped`` counts those that waited when it was too much."""

    __slots__ = (
        "_close", "_gone", "_growing", "_line", "_queue", "_send", "_shrunk", "_tasks",
        "blocked", "closing", "dropped", "sent", "size",
    )  # fmt: skip

    def __init__(self, line: Line, send: Send, tasks: Tasks) -> None:
        self._line = line
        self._send = send
        self._tasks = tasks
        self._queue: deque[Frame | _Merged] | None = None
        self._growing: dict[str, _Merged] = {}
        self._shrunk: asyncio.Event | None = None
        self._close: Message | None = None
        self._gone = False
        self.blocked = False
        self.closing = False
        self.dropped = 0
        self.size = 0
        self.sent = 0

    def put(self, frame: Frame, session_id: str | None = None) -> None:
        """Send a frame now, or as soon as the line takes it. Pieces of other sessions than the one named may be merged
        across it."""
        if self._written(frame):
            return
        if session_id is None:
            self._growing.clear()
        else:
            self._growing.pop(session_id, None)
        self._wait(frame, len(frame))

    def put_piece(self, frame: Frame, session_id: str, prev: int, piece: Piece) -> None:
        """Send a piece of an answer, ``prev`` being the session's position before it. Waiting pieces are merged."""
        if self._written(frame):
            return
        last = self._growing.get(session_id)
        if last and last.answer_id == piece.answer_id:
            last.add(piece)
            self._grow(len(piece.text))
        else:
            merged = self._growing[session_id] = _Merged(session_id, prev, piece)
            self._wait(merged, len(frame))

    async def below(self, size: int) -> None:
        """Wait until no more than so many characters wait, or nothing is sent any more."""
        while self.size > size and not self.closing and not self._gone:
            self._shrunk = self._shrunk or asyncio.Event()
            self._shrunk.clear()
            await self._shrunk.wait()

    def close(self, code: int, reason: str) -> None:
        """Close the socket after what was put before."""
        if not self.closing:
            self.closing = True
            self._close = {"type": "websocket.close", "code": code, "reason": reason}
            self._start()

    def leave(self) -> None:
        """The socket is gone, and nobody waits for it any more."""
        self._gone = True
        self._shrink()

    def _written(self, frame: Frame) -> bool:
        """Whether the frame needs no more care."""
        if self.closing:
            return True
        self.sent += 1
        return not self.blocked and self._line.offer(frame.wire)

    def _wait(self, item: Frame | _Merged, size: int) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(item)
        self._start()
        self._grow(size)

    def _grow(self, size: int) -> None:
        self.size += size
        if self.size > MAX_BYTES and self._queue:
            self.dropped += len(self._queue)
            self._queue.clear()
            self._growing.clear()
            self.close(protocol.Close.TOO_SLOW, "too slow: come back and resume")

    def _start(self) -> None:
        if not self.blocked:
            self.blocked = True
            self._tasks.start(self._drain(), "outbox")

    async def _drain(self) -> None:
        try:
            while self._queue:
                item = self._queue.popleft()
                frame = item if isinstance(item, Frame) else self._grown(item)
                await self._send({"type": "websocket.send", "text": str(frame)})
                self.size = max(0, self.size - len(frame)) if self._queue else 0
                self._shrink()
            if self._close:
                await self._send(self._close)
        except Exception:  # noqa: BLE001 - the socket is gone; its reader finds out
            self.closing = True
        finally:
            self.blocked = False
            self._queue = None
            self._growing.clear()
            self._shrink()

    def _grown(self, merged: _Merged) -> Frame:
        """What there is of pieces when their time has come; later ones begin anew."""
        if self._growing.get(merged.session_id) is merged:
            del self._growing[merged.session_id]
        return merged.frame()

    def _shrink(self) -> None:
        if self._shrunk:
            self._shrunk.set()


class _Merged:
    """Neighbouring pieces of one answer, as one frame."""

    __slots__ = ("_prev", "_seq", "_texts", "answer_id", "session_id")

    def __init__(self, session_id: str, prev: int, piece: Piece) -> None:
        self.answer_id = piece.answer_id
        self.session_id, self._prev = session_id, prev
        self._seq, self._texts = piece.seq, [piece.text]

    def add(self, piece: Piece) -> None:
        self._seq = piece.seq
        self._texts.append(piece.text)

    def frame(self) -> Frame:
        head = protocol.piece_head(self.session_id, self.answer_id)
        return protocol.piece(head, self._seq, self._prev, "".join(self._texts))
