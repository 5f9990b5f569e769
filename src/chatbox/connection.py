"""A user's socket: one session, attached when it opens."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from chatbox import protocol
from chatbox.access import Gate
from chatbox.auth import Origins
from chatbox.backplane.base import Piece
from chatbox.chat import Asked, Caller, Chat
from chatbox.connections import Connections
from chatbox.hub import Position
from chatbox.metrics import Metrics
from chatbox.protocol import Command, Frame, Inbound
from chatbox.room import Listener
from chatbox.sockets import Accepted, Endpoint, Handshake, OpenSocket
from chatbox.strictjson import MAX_INT
from chatbox.tasks import Tasks

STORED = (protocol.Say, protocol.SendFile, protocol.Regenerate, protocol.AskHelp)


class Connection(OpenSocket, Listener):
    """An accepted socket. Its reader is the task that serves it; nothing else changes its session."""

    __slots__ = ("client", "joined", "position", "sending", "session_id")

    def __init__(self, accepted: Accepted, gate: Gate, tasks: Tasks) -> None:
        self.client = accepted.request.query.get("client", "")[:64]
        self.joined = 0
        self.session_id = ""
        self.position = 0
        self.sending: set[str] = set()
        super().__init__(accepted, gate, tasks)

    @property
    def greeted(self) -> bool:
        return bool(self.session_id)

    def send(self, frame: Frame, piece: Piece | None = None) -> None:
        if piece is None:
            self.outbox.put(frame, self.session_id)
        else:
            self.outbox.put_piece(frame, self.session_id, self.position, piece)

    def may_pass(self, command: Command) -> bool:
        """Whether a frame that is not stored is within its limit."""
        return isinstance(command, STORED) or super().may_pass(command)


class ChatSocket(Endpoint[Connection, Inbound]):
    """The ASGI endpoint of a user's own chat. ``seen`` is told the session of each socket that comes or goes."""

    def __init__(
        self,
        chat: Chat,
        connections: Connections,
        gate: Gate,
        origins: Origins,
        metrics: Metrics,
        tasks: Tasks,
        *,
        query_token: bool,
        seen: Callable[[str], None],
    ) -> None:
        super().__init__(connections, gate, origins, metrics, tasks, query_token=query_token)
        self._chat = chat
        self._seen = seen

    def _open(self, accepted: Accepted) -> Connection:
        return Connection(accepted, self._gate, self._tasks)

    async def _attach(self, opened: Connection, request: Handshake) -> None:
        session = await self._chat.attach(opened.principal, opened, _asked(request.query))
        structlog.contextvars.bind_contextvars(session=session.id)
        self._seen(session.id)

    async def _leave(self, opened: Connection) -> None:
        await self._chat.leave(opened)
        if opened.session_id:
            self._seen(opened.session_id)

    def _decode(self, text: str) -> Inbound:
        return protocol.decode(text)

    async def _carry_out(self, opened: Connection, command: Inbound) -> None:
        await self._chat.handle(Caller(opened.principal, opened.session_id, opened), command)


def _asked(query: Mapping[str, str]) -> Asked:
    session_id = query.get("session_id", "")[:128]
    last = query.get("last_seq", "")
    if not last:
        return Asked(session_id)
    seq = int(last) if last.isascii() and last.isdigit() and len(last) <= 16 else MAX_INT
    return Asked(session_id, Position(query.get("epoch", ""), seq))
