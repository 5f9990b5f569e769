"""Who listens to which session, and what each of them has seen.

A room is a session's place in this process: its position in the log, the pieces of its running answer, its listeners.
Every event passes through the room once, in log order: doubles are dropped and a gap is filled from the store, so that a
listener gets each position exactly once. Frames are encoded once for all listeners.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import msgspec

from chatbox import protocol
from chatbox.backplane.base import Backplane, Event, Piece, Removed, Running, Signal, Stored, Turn
from chatbox.errors import NotFound
from chatbox.protocol import Frame
from chatbox.session import STEP, VISIBLE, Entry, Kind, Session
from chatbox.storage.base import Storage
from chatbox.tasks import Tasks

MAX_REPLAY_ENTRIES = 500
MAX_REPLAY_BYTES = 1 << 20


class Listener(ABC):
    """A socket as its room sees it. ``position`` is the last one sent to it; the room alone moves it, after ``send``.

    ``sending`` holds the message_ids of this socket's frames on their way to the log: when such an entry comes by, this
    socket gets its ack in the entry's place.
    """

    id: str
    session_id: str
    position: int
    sending: set[str]

    @abstractmethod
    def send(self, frame: Frame, piece: Piece | None = None) -> None:
        """Take a frame; never waits and never raises. ``piece`` allows merging when the socket is slow."""

    @abstractmethod
    def close(self, code: int, reason: str) -> None:
        """End the socket after what it was sent."""


class Position(msgspec.Struct, frozen=True):
    """Where a client says it is."""

    epoch: str
    seq: int


Refused = Literal["epoch", "too_far", "unknown"]


class Replay(msgspec.Struct, frozen=True):
    """What a client that attaches gets: its position, whether it goes on from there, and if not, why."""

    seq: int
    resumed: bool
    reason: Refused | None = None


class Answer:
    """The running answer of a room, as far as it has been seen here."""

    __slots__ = ("head", "pieces", "turn")

    def __init__(self, session_id: str, turn: Turn, pieces: list[Piece]) -> None:
        self.turn = turn
        self.pieces = pieces
        self.head = protocol.piece_head(session_id, turn.answer_id)


class Room:
    """One session in this process. Only ``Hub`` makes rooms."""

    __slots__ = ("answer", "answered", "fill", "filling", "index", "left_at", "listeners", "position", "session_id")

    def __init__(self, session_id: str, index: int, fill: Callable[[Room], None]) -> None:
        self.session_id = session_id
        self.index = index
        self.position = index * STEP
        self.answer: Answer | None = None
        self.listeners: dict[str, Listener] = {}
        self.left_at = time.monotonic()
        self.fill = fill
        self.filling = False

    def receive(self, event: Event) -> None:
        match event:
            case Piece():
                self._piece(event)
            case Stored(entry):
                self._stored(entry)
            case Turn():
                self._turn(event)
            case Signal(frame, but):
                self._all(Frame(frame), but)
            case Removed():
                self._removed()

    def take_over(self, running: Running) -> None:
        """Go on with an answer that began before this room was opened."""
        self.answer = Answer(self.session_id, running.turn, list(running.pieces))
        self.position = max(self.position, *[piece.seq for piece in running.pieces[-1:]], 0)

    def join(self, listener: Listener, position: int) -> None:
        listener.session_id, listener.position = self.session_id, position
        self.listeners[listener.id] = listener

    def leave(self, listener: Listener) -> bool:
        """Forget a listener; false when another one has taken its place or it is gone already."""
        if self.listeners.get(listener.id) is not listener:
            return False
        del self.listeners[listener.id]
        self.left_at = time.monotonic()
        return True

    def _piece(self, piece: Piece) -> None:
        answer = self.answer
        if answer is None or piece.seq <= self.position or piece.answer_id != answer.turn.answer_id:
            return
        if piece.seq // STEP > self.index:
            self.fill(self)
            return
        answer.pieces.append(piece)
        prev, self.position = self.position, piece.seq
        frame = protocol.piece(answer.head, piece.seq, prev, piece.text)
        for listener in list(self.listeners.values()):
            late = listener.position != prev
            listener.send(
                protocol.piece(answer.head, piece.seq, listener.position, piece.text) if late else frame, piece
            )
            listener.position = piece.seq

    def _turn(self, turn: Turn) -> None:
        if self.answer and self.answer.turn.fence >= turn.fence:
            return
        self.answer = Answer(self.session_id, turn, [])
        self._all(protocol.loading(self.session_id, turn.answer_id, turn.replaces))

    def _stored(self, entry: Entry) -> None:
        if entry.index <= self.index:
            return
        if entry.index > self.index + 1:
            self.fill(self)
            return
        self.pass_entry(entry)

    def pass_entry(self, entry: Entry) -> None:
        """Move past the next entry and give it to everyone."""
        prev, self.position, self.index = self.position, entry.seq, entry.index
        live = entry.kind is Kind.AI_RESPONSE and self._ends(entry)
        frame = protocol.entry_frame(entry, prev, live=live) if entry.kind in VISIBLE else None
        for listener in list(self.listeners.values()):
            if entry.message_id in listener.sending:
                self._acknowledge(listener, entry)
            elif frame:
                same = listener.position == prev
                listener.send(frame if same else protocol.entry_frame(entry, listener.position, live=live))
                listener.position = entry.seq

    def _ends(self, entry: Entry) -> bool:
        """Whether this entry closes the answer that was streamed here."""
        if self.answer is None or self.answer.turn.answer_id != entry.message_id:
            return False
        whole = sum(len(piece.text) for piece in self.answer.pieces) == len(entry.content)
        self.answer = None
        return whole

    @staticmethod
    def _acknowledge(listener: Listener, entry: Entry) -> None:
        listener.sending.discard(entry.message_id)
        listener.send(protocol.ack(entry.session_id, entry.message_id, entry.seq, listener.position))
        listener.position = entry.seq
        if entry.kind is Kind.NOTIFICATION:
            listener.send(protocol.entry_frame(entry, None))

    def _all(self, frame: Frame, but: str = "") -> None:
        for listener in list(self.listeners.values()):
            if listener.id != but:
                listener.send(frame)

    def _removed(self) -> None:
        for listener in list(self.listeners.values()):
            listener.send(protocol.notice(self.session_id, "session_deleted"))
            listener.close(protocol.Close.DELETED, "session deleted")


class Hub:
    """The rooms of this process. Attaching is a snapshot followed by live events, without a gap or a double."""

    def __init__(self, storage: Storage, backplane: Backplane, tasks: Tasks) -> None:
        self._storage = storage
        self._backplane = backplane
        self._tasks = tasks
        self._rooms: dict[str, Room] = {}
        self._opening: dict[str, asyncio.Task[Room]] = {}
        backplane.connect(self._receive)

    def room(self, session_id: str) -> Room | None:
        """The session's room, if this process has one."""
        return self._rooms.get(session_id)

    def __len__(self) -> int:
        return len(self._rooms)

    async def attach(
        self, session: Session, listener: Listener, at: Position | Refused | None, greet: Callable[[Replay], Frame]
    ) -> None:
        """Send what the client missed, then everything that comes. ``greet`` makes the first frame.

        ``at`` None: the client has nothing and asks for nothing. A reason instead: its position can't be used.
        Raises ``NotFound`` when the session was deleted meanwhile, ``StorageError``.
        """
        room = await self._open(session.id)
        missed = await self._missed(room, session, at) if isinstance(at, Position) else at
        if self._rooms.get(session.id) is not room:
            raise NotFound("The session does not exist.")
        if isinstance(at, Position) and isinstance(missed, list):
            self._start_resumed(room, listener, greet, at.seq, missed)
        else:
            self._start_fresh(room, listener, greet, missed if isinstance(missed, str) else None)

    async def _open(self, session_id: str) -> Room:
        opening = self._opening.get(session_id)
        room = self._rooms.get(session_id)
        if room and not opening:
            return room
        if opening is None:
            opening = self._opening[session_id] = self._tasks.start(self._make_room(session_id), "room")
            opening.add_done_callback(lambda _: self._opening.pop(session_id, None))
        return await asyncio.shield(opening)

    async def _make_room(self, session_id: str) -> Room:
        await self._backplane.listen(session_id)
        session = await self._storage.get(session_id)
        if session is None:
            await self._backplane.ignore(session_id)
            raise NotFound("The session does not exist.")
        room = self._rooms[session_id] = Room(session_id, session.last_index, self._fill)
        running = await self._backplane.running(session_id)
        if running:
            room.take_over(running)
        await self._catch_up(room)
        return room

    async def _missed(self, room: Room, session: Session, at: Position) -> list[Entry] | Refused:
        """The entries after a position, up to where the room is at this very moment."""
        if at.epoch != session.epoch:
            return "epoch"
        if at.seq > room.position:
            return "unknown"
        found: list[Entry] = []
        last = at.seq // STEP
        while last < room.index:
            if room.index - at.seq // STEP > MAX_REPLAY_ENTRIES * 2:
                return "too_far"
            more = await self._storage.read(session.id, after=last, limit=MAX_REPLAY_ENTRIES)
            if not more:
                return "unknown"
            found += more
            last = found[-1].index
            if self._too_far(found):
                return "too_far"
        return [entry for entry in found if entry.index <= room.index]

    @staticmethod
    def _too_far(entries: list[Entry]) -> bool:
        size = sum(len(entry.content.encode()) for entry in entries)
        return len(entries) > MAX_REPLAY_ENTRIES or size > MAX_REPLAY_BYTES

    @staticmethod
    def _start_fresh(room: Room, listener: Listener, greet: Callable[[Replay], Frame], reason: Refused | None) -> None:
        answer = room.answer
        start = answer.turn.index * STEP if answer else room.position
        listener.send(greet(Replay(start, False, reason)))
        room.join(listener, start)
        if answer:
            _send_answer(room, answer, listener)

    @staticmethod
    def _start_resumed(
        room: Room, listener: Listener, greet: Callable[[Replay], Frame], seq: int, missed: list[Entry]
    ) -> None:
        listener.send(greet(Replay(seq, True)))
        room.join(listener, seq)
        answer, begun = room.answer, False
        for entry in missed:
            if answer and not begun and entry.index > answer.turn.index:
                begun = True
                _send_answer(room, answer, listener, before=entry.seq)
            elif answer:
                _send_pieces(answer, listener, before=entry.seq)
            if entry.kind in VISIBLE:
                listener.send(protocol.entry_frame(entry, listener.position))
                listener.position = entry.seq
        if answer:
            _send_answer(room, answer, listener) if not begun else _send_pieces(answer, listener)

    def leave(self, session_id: str, listener: Listener) -> None:
        """The socket is gone. Its room stays for a while, for those who come back."""
        room = self._rooms.get(session_id)
        if room:
            room.leave(listener)

    async def evict(self, idle: float) -> int:
        """Forget the rooms that nobody has listened to for ``idle`` seconds and that have no running answer."""
        limit = time.monotonic() - idle
        gone = [r for r in self._rooms.values() if not r.listeners and r.answer is None and r.left_at <= limit]
        for room in gone:
            await self.forget(room.session_id)
        return len(gone)

    async def forget(self, session_id: str) -> None:
        """Drop the room, whatever it holds."""
        if self._rooms.pop(session_id, None):
            await self._backplane.ignore(session_id)

    def _receive(self, session_id: str, event: Event) -> None:
        room = self._rooms.get(session_id)
        if room:
            room.receive(event)

    def _fill(self, room: Room) -> None:
        """Bring a room up to the store's end: an event was lost or came too early."""
        if not room.filling:
            room.filling = True
            self._tasks.start(self._catch_up(room), "catch up")

    async def _catch_up(self, room: Room) -> None:
        try:
            while entries := await self._storage.read(room.session_id, after=room.index):
                for entry in entries:
                    if entry.index == room.index + 1:
                        room.pass_entry(entry)
        finally:
            room.filling = False


def _send_answer(room: Room, answer: Answer, listener: Listener, before: int | None = None) -> None:
    """The running answer to a socket that joins: its start, and the text past the socket's position."""
    if listener.position <= answer.turn.index * STEP:
        listener.send(protocol.loading(room.session_id, answer.turn.answer_id, answer.turn.replaces))
    _send_pieces(answer, listener, before)


def _send_pieces(answer: Answer, listener: Listener, before: int | None = None) -> None:
    rest = [p for p in answer.pieces if p.seq > listener.position and (before is None or p.seq < before)]
    if rest:
        text = "".join([piece.text for piece in rest])
        listener.send(protocol.piece(answer.head, rest[-1].seq, listener.position, text))
        listener.position = rest[-1].seq
