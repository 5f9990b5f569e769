"""A backplane for one process: everything happens at once and in order."""

from __future__ import annotations

from collections.abc import Mapping

from chatbox.backplane.base import Backplane, Event, Piece, Receiver, Removed, Running, Signal, Stored, Turn
from chatbox.errors import Fenced
from chatbox.limits import SlidingWindow
from chatbox.session import STEP, Entry


class MemoryBackplane(Backplane):
    """``limits`` are the named limits that ``hit`` counts against."""

    def __init__(self, limits: Mapping[str, SlidingWindow]) -> None:
        self._limits = limits
        self._listening: dict[str, int] = {}  # session to its newest known entry
        self._answers: dict[str, _Answer] = {}
        self._receiver: Receiver = _nobody

    def connect(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def listen(self, session_id: str) -> None:
        self._listening.setdefault(session_id, 0)

    async def ignore(self, session_id: str) -> None:
        self._listening.pop(session_id, None)

    async def publish(self, session_id: str, event: Stored | Signal | Removed) -> None:
        if isinstance(event, Stored):
            event = self._place(session_id, event.entry)
        self._tell(session_id, event)

    async def begin(self, session_id: str, turn: Turn) -> None:
        self._answers[session_id] = _Answer(turn, self._listening.get(session_id, 0))
        self._tell(session_id, turn)

    async def push(self, session_id: str, answer_id: str, text: str) -> None:
        answer = self._answers.get(session_id)
        if answer is None or answer.turn.answer_id != answer_id:
            raise Fenced("another turn has begun, or this one is over")
        self._tell(session_id, answer.add(text))

    async def finish(self, session_id: str, answer_id: str) -> None:
        answer = self._answers.get(session_id)
        if answer and answer.turn.answer_id == answer_id:
            del self._answers[session_id]

    async def running(self, session_id: str, known: int) -> Running | None:
        answer = self._answers.get(session_id)
        if answer is None:
            return None
        answer.pass_by(known)
        return Running(answer.turn, tuple(answer.pieces))

    async def hit(self, limit: str, key: str) -> float:
        return self._limits[limit].hit(key)

    def _place(self, session_id: str, entry: Entry) -> Stored:
        if session_id in self._listening:
            self._listening[session_id] = max(entry.index, self._listening[session_id])
        answer = self._answers.get(session_id)
        if answer is None:
            return Stored(entry)
        answer.pass_by(entry.index)
        return Stored(entry, after=answer.pieces[-1].seq if answer.pieces else 0)

    def _tell(self, session_id: str, event: Event) -> None:
        if session_id in self._listening:
            self._receiver(session_id, event)


class _Answer:
    """A running answer's pieces; ``seq`` is the newest position, a piece's or a known entry's."""

    __slots__ = ("pieces", "seq", "turn")

    def __init__(self, turn: Turn, known: int) -> None:
        self.turn = turn
        self.seq = max(turn.index, known) * STEP
        self.pieces: list[Piece] = []

    def pass_by(self, index: int) -> None:
        self.seq = max(self.seq, index * STEP)

    def add(self, text: str) -> Piece:
        self.seq += 1
        piece = Piece(self.turn.answer_id, self.seq, text)
        self.pieces.append(piece)
        return piece


def _nobody(session_id: str, event: Event) -> None:
    """The receiver before ``connect``."""
