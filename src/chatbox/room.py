"""One session in this process: where its log is, its running answer, and who listens.

Every event passes through the room once and in log order: doubles are dropped, and at a gap the room waits until the
hub has filled it. So each listener gets each position exactly once. A frame is encoded once for all listeners.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from chatbox import protocol
from chatbox.backplane.base import Behind, Event, Joined, Piece, Removed, Running, Signal, Stored, Turn
from chatbox.protocol import Frame
from chatbox.session import VISIBLE, Entry, Kind, Session
from chatbox.turn import Owing

WAITING = 1024
"""Events that a room holds while a gap is filled; of more, the oldest are dropped and make the next gap."""


class Listener(ABC):
    """A socket as its room sees it. ``position`` is the last one sent to it; the room alone moves it, after ``send``.

    ``sending`` holds the message_ids of this socket's frames on their way to the log: when such an entry comes by, this
    socket gets its ack in the entry's place. ``client`` names the tab, "" where that is not known; ``joined`` is when
    the socket came to its session (Unix ns). ``sees`` are the kinds of entries that it gets.
    """

    id: str
    client: str
    joined: int
    session_id: str
    position: int
    sending: set[str]
    sees: ClassVar[frozenset[Kind]] = VISIBLE

    @abstractmethod
    def send(self, frame: Frame, piece: Piece | None = None) -> None:
        """Take a frame; never waits and never raises. ``piece`` allows merging when the socket is slow."""

    @abstractmethod
    def close(self, code: int, reason: str) -> None:
        """End the socket after what it was sent."""


class Answer:
    """The running answer of a room, as far as it has been seen here. ``partly`` are the listeners that were not shown
    all of it here: those get it whole at its end, whatever their position says."""

    __slots__ = ("head", "partly", "pieces", "turn")

    def __init__(self, session_id: str, turn: Turn) -> None:
        self.turn = turn
        self.pieces: list[Piece] = []
        self.partly: set[str] = set()
        self.head = protocol.piece_head(session_id, turn.answer_id)


class Room:
    """Only ``Hub`` makes rooms. ``fill`` has to bring ``merge`` about; until then, what comes waits. Entries that pass
    are given to ``follow``. ``owing`` is what the log says about answers, as far as it has passed."""

    __slots__ = (
        "_fill", "_filling", "_follow", "_waiting", "answer", "index", "left_at", "listeners", "named",
        "owing", "position", "session_id",
    )  # fmt: skip

    def __init__(self, session_id: str, fill: Callable[[Room], None], follow: Callable[[Entry], None]) -> None:
        self.session_id = session_id
        self.index = 0
        self.position = 0
        self.named = False
        self.answer: Answer | None = None
        self.listeners: dict[str, Listener] = {}
        self.left_at = time.monotonic()
        self.owing = Owing()
        self._fill = fill
        self._follow = follow
        self._filling = True
        self._waiting: deque[Event] = deque(maxlen=WAITING)

    def start(self, session: Session) -> None:
        """Begin where the store says that the session is; ``merge`` has to follow."""
        self.index, self.position = session.last_index, session.seq
        self.named = bool(session.name)
        self.owing.open_answer = session.answer_id
        self.owing.assisted = session.assisting_admin_id is not None

    def receive(self, event: Event) -> None:
        match event:
            case Signal(frame, but):
                self._all(Frame(frame), but)
            case Removed():
                self._removed()
            case Joined():
                self._replace(event)
            case _ if self._filling:
                self._waiting.append(event)
            case Piece():
                self._piece(event)
            case Turn():
                self._turn(event)
            case Stored():
                self._stored(event)
            case Behind(seq):
                if seq is None or seq > self.position:
                    self._look()

    def merge(self, entries: Sequence[Entry], running: Running | None) -> None:
        """Fill a gap with the log's end and the running answer, which are consistent with each other."""
        fresh = False
        for event in in_order(entries, running):
            match event:
                case Entry() if event.index == self.index + 1:
                    self._pass_entry(event)
                case Turn() if self._begins(event):
                    fresh = True
                    self._begin(event)
                case Piece() if (answer := self._answer_of(event)) and event.seq == self.position + 1:
                    self._pass_piece(answer, event)
                case Piece() if answer and fresh and event.seq <= self.position:
                    answer.pieces.append(event)
                    answer.partly.update(self.listeners)
        self._filling = False
        waiting, self._waiting = self._waiting, deque(maxlen=WAITING)
        for late in waiting:
            self.receive(late)

    def join(self, listener: Listener, position: int, missed: Sequence[Entry]) -> None:
        """Give a listener at ``position`` the entries that it missed and the running answer, then all that comes."""
        listener.session_id, listener.position = self.session_id, position
        self.listeners[listener.id] = listener
        answer = self.answer
        shown = bool(answer and answer.pieces and answer.pieces[0].seq <= position)
        if answer and shown:
            answer.partly.add(listener.id)
        pieces: list[Piece] = []
        for event in in_order(missed, Running(answer.turn, tuple(answer.pieces)) if answer else None):
            match event:
                case Piece() if event.seq > position:
                    pieces.append(event)
                case Turn() if not shown:
                    listener.send(protocol.loading(self.session_id, event.answer_id, event.replaces))
                case Entry() if event.kind in listener.sees:
                    self._give_merged(listener, pieces)
                    self._give(listener, event)
                    pieces.clear()
        self._give_merged(listener, pieces)

    def acknowledge_again(self, listener: Listener, first: Entry) -> None:
        """Repeat the ack of an entry that has passed. One that was hidden from this listener is new to it."""
        if first.seq > listener.position:
            self._acknowledge(listener, first)
        else:
            listener.sending.discard(first.message_id)
            listener.send(protocol.ack(first.session_id, first.message_id, first.seq))

    def leave(self, listener: Listener) -> bool:
        """Forget a listener; false when another one has taken its place or it is gone already."""
        if self.listeners.get(listener.id) is not listener:
            return False
        del self.listeners[listener.id]
        self.left_at = time.monotonic()
        return True

    # -- what comes from the backplane ---------------------------------------------------------------------------------

    def _piece(self, piece: Piece) -> None:
        if piece.seq <= self.position:
            return
        answer = self._answer_of(piece)
        if answer and piece.seq == self.position + 1:
            self._pass_piece(answer, piece)
        else:
            self._miss(piece)

    def _turn(self, turn: Turn) -> None:
        if turn.index > self.index:
            self._miss(turn)
        elif self._begins(turn):
            self._begin(turn)

    def _stored(self, event: Stored) -> None:
        if event.entry.index <= self.index:
            return
        if event.entry.index == self.index + 1 and event.after <= self.position:
            self._pass_entry(event.entry)
        else:
            self._miss(event)

    def _miss(self, event: Event) -> None:
        """Something before this event is missing."""
        self._look()
        self._waiting.append(event)

    def _look(self) -> None:
        self._filling = True
        self._fill(self)

    def _begins(self, turn: Turn) -> bool:
        """Whether this turn is open, as far as the log has passed, and new here."""
        begun = self.answer is not None and self.answer.turn.answer_id == turn.answer_id
        return turn.answer_id == self.owing.open_answer and not begun

    def _answer_of(self, piece: Piece) -> Answer | None:
        return self.answer if self.answer and self.answer.turn.answer_id == piece.answer_id else None

    # -- what goes to the listeners ------------------------------------------------------------------------------------

    def _begin(self, turn: Turn) -> None:
        self.answer = Answer(self.session_id, turn)
        self._all(protocol.loading(self.session_id, turn.answer_id, turn.replaces))

    def _pass_piece(self, answer: Answer, piece: Piece) -> None:
        answer.pieces.append(piece)
        prev, self.position = self.position, piece.seq
        frame = protocol.piece(answer.head, piece.seq, prev, piece.text)
        for listener in list(self.listeners.values()):
            at = listener.position
            listener.send(frame if at == prev else protocol.piece(answer.head, piece.seq, at, piece.text), piece)
            listener.position = piece.seq

    def _pass_entry(self, entry: Entry) -> None:
        self.position, self.index = entry.seq, entry.index
        shown = self._ends(entry) if entry.kind is Kind.AI_RESPONSE else set()
        self.owing.take(entry, time.monotonic())
        self._follow(entry)
        frames: dict[tuple[int, bool], Frame] = {}
        for listener in list(self.listeners.values()):
            if entry.message_id in listener.sending:
                self._acknowledge(listener, entry)
            elif entry.kind in listener.sees:
                at, live = key = listener.position, listener.id in shown
                frame = frames.get(key) or frames.setdefault(key, protocol.entry_frame(entry, at, live=live))
                listener.send(frame)
                listener.position = entry.seq

    def _ends(self, entry: Entry) -> set[str]:
        """The listeners that were shown all of the answer's text, so that this entry only closes it."""
        answer = self.answer
        if answer is None or answer.turn.answer_id != entry.message_id:
            return set()
        self.answer = None
        whole = sum(len(piece.text) for piece in answer.pieces) == len(entry.content)
        return self.listeners.keys() - answer.partly if whole else set()

    @staticmethod
    def _acknowledge(listener: Listener, entry: Entry) -> None:
        listener.sending.discard(entry.message_id)
        listener.send(protocol.ack(entry.session_id, entry.message_id, entry.seq, listener.position))
        listener.position = entry.seq
        if entry.kind is Kind.NOTIFICATION:
            listener.send(protocol.entry_frame(entry, None))

    @staticmethod
    def _give(listener: Listener, entry: Entry) -> None:
        listener.send(protocol.entry_frame(entry, listener.position))
        listener.position = entry.seq

    def _give_merged(self, listener: Listener, pieces: Sequence[Piece]) -> None:
        if pieces and self.answer:
            text = "".join([piece.text for piece in pieces])
            listener.send(protocol.piece(self.answer.head, pieces[-1].seq, listener.position, text))
            listener.position = pieces[-1].seq

    def _all(self, frame: Frame, but: str = "") -> None:
        for listener in list(self.listeners.values()):
            if listener.id != but:
                listener.send(frame)

    def _replace(self, event: Joined) -> None:
        """Of a tab's sockets the newest stays."""
        same = [listener for listener in self.listeners.values() if listener.client == event.client]
        newest = max([event.joined, *[listener.joined for listener in same]])
        for listener in same:
            if listener.joined < newest:
                listener.close(protocol.Close.REPLACED, "replaced by a newer connection")

    def _removed(self) -> None:
        for listener in list(self.listeners.values()):
            listener.send(protocol.notice(self.session_id, "session_deleted"))
            listener.close(protocol.Close.DELETED, "session deleted")


def in_order(entries: Iterable[Entry], running: Running | None) -> list[Entry | Turn | Piece]:
    """Entries and a running answer by position; a turn follows its own entry."""
    events: list[Entry | Turn | Piece] = [*entries]
    if running:
        events += [running.turn, *running.pieces]
    return sorted(events, key=lambda event: event.seq)
