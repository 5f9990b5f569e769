"""The staff socket: many conversations on one line.

What is about one conversation is carried out in the order in which it came; conversations do not wait for each other,
nor for questions about all of them. Answers that may be long are given one after the other, as fast as the line takes
them.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

from chatbox.access import Gate
from chatbox.auth import Origins
from chatbox.connections import Connections
from chatbox.errors import Forbidden, TooMany
from chatbox.metrics import Metrics
from chatbox.outbox import MAX_BYTES
from chatbox.protocol import Frame, Ping
from chatbox.session import Principal
from chatbox.sockets import OTHER_FRAMES, Accepted, Endpoint, Handshake, OpenSocket
from chatbox.staff import protocol
from chatbox.staff.board import Board
from chatbox.staff.desk import Desk
from chatbox.staff.protocol import AskFigures, History, ListSessions, StaffCommand, Suggest, Summarise, Watch
from chatbox.tasks import Tasks

LONG = (Watch, History)
"""What is answered with much of a conversation."""
QUERIES = (ListSessions, AskFigures)
"""What is asked of all sessions, and may take a while."""
FRAMES = "staff_frames"
MAX_ASSISTANCE = 3
"""What the model may write for one socket at once."""
MAX_PENDING = 400
"""Frames of one socket that are being carried out or wait for that."""


class StaffConnection(OpenSocket):
    """An accepted staff socket; ``principal`` is who speaks now, with the present roles."""

    __slots__ = ("_greeted", "assistance", "long", "pending", "turns", "watching")

    def __init__(self, accepted: Accepted, gate: Gate, desk: Desk, tasks: Tasks) -> None:
        super().__init__(accepted, gate, tasks)
        self.session_id = ""
        self.watching = desk.watching(self.outbox)
        self.turns: dict[str, asyncio.Task[None]] = {}
        self.assistance: set[asyncio.Task[None]] = set()
        self.pending = 0
        self.long = asyncio.Lock()
        self._greeted = False

    @property
    def greeted(self) -> bool:
        return self._greeted

    @property
    def begins_to_drop(self) -> bool:
        """Whether the frame that was just refused is the first one of its second."""
        return self._others.count == OTHER_FRAMES + 1

    def send(self, frame: Frame) -> None:
        self._greeted = True
        self.outbox.put(frame, "")


class StaffSocket(Endpoint[StaffConnection, StaffCommand]):
    """The ASGI endpoint of staff."""

    def __init__(
        self,
        desk: Desk,
        board: Board,
        connections: Connections,
        gate: Gate,
        origins: Origins,
        metrics: Metrics,
        tasks: Tasks,
        *,
        query_token: bool,
    ) -> None:
        super().__init__(connections, gate, origins, metrics, tasks, query_token=query_token)
        self._desk = desk
        self._board = board

    def _allow(self, principal: Principal) -> None:
        if not principal.is_staff:
            raise Forbidden("This needs the role admin or chat_admin.")

    def _open(self, accepted: Accepted) -> StaffConnection:
        return StaffConnection(accepted, self._gate, self._desk, self._tasks)

    async def _attach(self, opened: StaffConnection, request: Handshake) -> None:
        await self._board.enter(opened)

    async def _leave(self, opened: StaffConnection) -> None:
        opened.watching.close()
        opened.outbox.leave()
        for task in opened.assistance:
            task.cancel()
        self._metrics.admin_messages_dropped_total.inc(opened.outbox.dropped)
        await self._board.leave(opened)

    def _decode(self, text: str) -> StaffCommand:
        return protocol.decode(text)

    def _drop(self, opened: StaffConnection, command: StaffCommand) -> None:
        self._metrics.ratelimit_blocked_total.labels(FRAMES).inc()
        self._metrics.admin_messages_dropped_total.inc()
        if opened.begins_to_drop:
            refusal = TooMany(f"Too many frames. Send at most {OTHER_FRAMES} a second.", retry_after=1000)
            opened.refuse(refusal, command.message_id, command.session_id)

    async def _carry_out(self, opened: StaffConnection, command: StaffCommand) -> None:
        if isinstance(command, Ping):
            await self._desk.handle(opened.principal, opened.watching, opened.outbox, command)
            return
        if isinstance(command, Suggest | Summarise):
            self._assist(opened, command)
            return
        if opened.pending >= MAX_PENDING:
            raise TooMany("Too much is waiting to be done. Send it again later.", retry_after=1000)
        opened.pending += 1
        turn = command.session_id or type(command).__name__
        before = opened.turns.get(turn)
        opened.turns[turn] = self._tasks.start(self._in_turn(opened, command, turn, before), "staff command")

    def _assist(self, opened: StaffConnection, command: Suggest | Summarise) -> None:
        """Let the model write beside all else: it may take a while."""
        if len(opened.assistance) >= MAX_ASSISTANCE:
            raise TooMany("The assistant is writing already. Wait for it to finish.", retry_after=2000)
        work = self._attempt(opened, command, self._do(opened, command))
        task = self._tasks.start(work, "assistance")
        opened.assistance.add(task)
        task.add_done_callback(opened.assistance.discard)

    async def _in_turn(
        self, opened: StaffConnection, command: StaffCommand, turn: str, before: asyncio.Task[None] | None
    ) -> None:
        try:
            if before:
                await asyncio.wait([before])
            await self._attempt(opened, command, self._do(opened, command))
        finally:
            opened.pending -= 1
            if opened.turns.get(turn) is asyncio.current_task():
                del opened.turns[turn]

    async def _do(self, opened: StaffConnection, command: StaffCommand) -> None:
        """Whoever waited has to have the right still."""
        if not opened.admitted():
            return
        async with opened.long if isinstance(command, LONG) else nullcontext():
            if isinstance(command, LONG + QUERIES):
                await opened.outbox.below(MAX_BYTES // 4)
            await self._desk.handle(opened.principal, opened.watching, opened.outbox, command)
