"""A client of Chatbox that costs little: parses frames with orjson, remembers where it is, and tallies what it gets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.script import parse
from bench.tally import Tally
from chatbox.auth import mint

HANDSHAKE_TIMEOUT = 60.0


class Client(WSListener):
    """One user with one socket, to the first of some servers. ``over`` is called when an answer is done or can't come
    any more."""

    def __init__(self, urls: Sequence[str], secret: str, user: str, over: Callable[[Client], None]) -> None:
        self._urls = list(urls)
        self._token = mint(secret, user, user, ["user"], 3600)
        self._over = over
        self._texts: list[str] = []
        self._asked_at = 0
        self._transport: WSTransport | None = None
        self.tally = Tally(1)
        self.session_id = self.epoch = ""
        self.seq = 0
        self.answering = False
        self.resumed = False
        self.greeted = asyncio.Event()
        self._acked = asyncio.Event()

    @property
    def newest(self) -> int:
        """When the newest token that is here was sent, in ns; 0 before the first."""
        return parse(self._texts[-1]).tokens[-1].sent if self._texts else 0

    async def connect(self) -> None:
        """Connect, or come back to the session where this client left it; returns after the first frame."""
        place = f"?session_id={self.session_id}&epoch={self.epoch}&last_seq={self.seq}" if self.session_id else ""
        self.greeted.clear()
        await ws_connect(
            lambda: self,
            self._urls[0] + place,
            extra_headers={"Authorization": f"Bearer {self._token}"},
            websocket_handshake_timeout=HANDSHAKE_TIMEOUT,
        )
        await self.greeted.wait()

    def ask(self, tally: Tally, text: str = "hi") -> None:
        """Ask for an answer, to be counted in ``tally``."""
        self.tally, self._texts, self.answering = tally, [], True
        self._asked_at = time.time_ns()
        self._acked.clear()
        if self._transport:
            self._transport.send(WSMsgType.TEXT, orjson.dumps({"type": "user_message", "content": text}))
        else:
            self._fail("not connected")

    async def acknowledged(self) -> None:
        """Wait for the acknowledgement of what was asked last. Raises ``RuntimeError`` when the socket is lost."""
        await self._acked.wait()
        if self._transport is None:
            raise RuntimeError("the socket was lost before the acknowledgement")

    def leave(self) -> None:
        """Drop the line without a word; ``connect`` comes back."""
        transport, self._transport = self._transport, None
        if transport:
            transport.disconnect(graceful=False)

    async def move(self) -> None:
        """Drop the line without a word and come back through the next server."""
        self.leave()
        self._urls.append(self._urls.pop(0))
        await self.connect()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if transport is self._transport:
            self._transport = None
            self._fail("disconnected")
            self.greeted.set()
            self._acked.set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT and transport is self._transport:
            self._frame(orjson.loads(frame.get_payload_as_memoryview()))

    def _frame(self, frame: dict[str, Any]) -> None:
        kind = frame["type"]
        if "seq" in frame:
            self._move(frame)
        if kind == "ai_response":
            self._piece(frame)
        elif kind == "connection_status":
            self._greet(frame)
        elif kind == "ack":
            self._acked.set()
        elif kind == "error":
            self._fail(f"error {frame['error']['code']}")

    def _greet(self, frame: dict[str, Any]) -> None:
        self.session_id, self.epoch = frame["session_id"], frame["epoch"]
        self.resumed = frame["metadata"]["resumed"] == "true"
        self.greeted.set()

    def _move(self, frame: dict[str, Any]) -> None:
        if frame["type"] != "connection_status" and frame.get("prev", frame["seq"] - 1) != self.seq:
            self.tally.wrong["gap in the positions"] += 1
        self.seq = frame["seq"]

    def _piece(self, frame: dict[str, Any]) -> None:
        now = time.time_ns()
        content, metadata = frame.get("content", ""), frame["metadata"]
        if content and "streaming" in metadata:
            if not self._texts:
                self.tally.first.append((now - self._asked_at) / 1e6)
            self._texts.append(content)
            self.tally.piece(content, now)
        elif content:
            self._texts = [content]
        if metadata.get("done") == "true" and self.answering:
            self._finish()

    def _finish(self) -> None:
        self.answering = False
        self.tally.answer("".join(self._texts))
        self._over(self)

    def _fail(self, why: str) -> None:
        self.tally.wrong[why] += 1
        if self.answering:
            self._finish()
