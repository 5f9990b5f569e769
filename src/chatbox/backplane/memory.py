"""A backplane for one process: everything happens at once and in order."""

from __future__ import annotations

from collections.abc import Mapping

from chatbox.backplane.base import Backplane, Event, Piece, Receiver, Removed, Running, Signal, Stored, Turn
from chatbox.errors import Fenced
from chatbox.limits import SlidingWindow
from chatbox.session import STEP


class MemoryBackplane(Backplane):
    """``limits`` are the named limits that ``hit`` counts against."""

    def __init__(self, limits: Mapping[str, SlidingWindow]) -> None:
        self._limits = limits
        self._listening: set[str] = set()
        self._answers: dict[str, _Answer] = {}
        self._receiver: Receiver = _nobody

    def connect(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def listen(self, session_id: str) -> None:
        self._listening.add(session_id)

    async def ignore(self, session_id: str) -> None:
        self._listening.discard(session_id)

    async def publish(self, session_id: str, event: Stored | Signal | Removed) -> None:
        answer = self._answers.get(session_id)
        if answer and isinstance(event, Stored):
            answer.passed(event.entry.seq)
        self._tell(session_id, event)

    async def begin(self, session_id: str, turn: Turn) -> None:
        self._answers[session_id] = _Answer(turn)
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

    async def running(self, session_id: str) -> Running | None:
        answer = self._answers.get(session_id)
        return Running(answer.turn, tuple(answer.pieces)) if answer else None

    async def hit(self, limit: str, key: str) -> float:
        return self._limits[limit].hit(key)

    def _tell(self, session_id: str, event: Event) -> None:
        if session_id in self._listening:
            self._receiver(session_id, event)


class _Answer:
    """A running answer's pieces, and the position of the newest."""

    __slots__ = ("pieces", "seq", "turn")

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.seq = turn.index * STEP
        self.pieces: list[Piece] = []

    def passed(self, seq: int) -> None:
        self.seq = max(self.seq, seq)

    def add(self, text: str) -> Piece:
        self.seq += 1
        piece = Piece(self.turn.answer_id, self.seq, text)
        self.pieces.append(piece)
        return piece


def _nobody(session_id: str, event: Event) -> None:
    """The receiver before ``connect``."""
