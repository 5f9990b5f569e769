"""A backplane for the replicas of one process, usually a single one: everything happens at once and in order."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from types import TracebackType

from chatbox.backplane.base import (
    Backplane,
    Event,
    Grant,
    Piece,
    Pool,
    Published,
    Quotas,
    Receiver,
    Running,
    Stored,
    Turn,
    Window,
)
from chatbox.errors import Fenced
from chatbox.limits import SlidingWindow, sweep_regularly
from chatbox.session import STEP


class MemoryBus:
    """What the backplanes of one process share."""

    def __init__(self) -> None:
        self.planes: list[MemoryBackplane] = []
        self.known: dict[str, int] = {}  # a session that is listened to, and its newest known entry
        self.leases: dict[str, tuple[str, MemoryBackplane]] = {}
        self.answers: dict[str, _Answer] = {}


class MemoryBackplane(Backplane):
    """One replica's end of a bus. Nobody else knows it unless a bus is given."""

    def __init__(self, bus: MemoryBus | None = None) -> None:
        self._bus = bus or MemoryBus()
        self._bus.planes.append(self)
        self._listening: set[str] = set()
        self._receiver: Receiver = _nobody

    def connect(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def listen(self, session_id: str) -> None:
        self._listening.add(session_id)
        self._bus.known.setdefault(session_id, 0)

    async def ignore(self, session_id: str) -> None:
        self._listening.discard(session_id)
        if all(session_id not in plane._listening for plane in self._bus.planes):  # noqa: SLF001 - its own kind
            self._bus.known.pop(session_id, None)

    async def publish(self, session_id: str, event: Published) -> None:
        self._tell(session_id, self._placed(session_id, event) if isinstance(event, Stored) else event)

    async def acquire(self, session_id: str, answer_id: str) -> Grant | None:
        holder = self._bus.leases.setdefault(session_id, (answer_id, self))
        return Grant.SURE if holder == (answer_id, self) else None

    async def begin(self, session_id: str, turn: Turn) -> None:
        self._bus.answers[session_id] = _Answer(turn, self._bus.known.get(session_id, 0))
        self._tell(session_id, turn)

    async def push(self, session_id: str, answer_id: str, text: str) -> None:
        answer, holder = self._bus.answers.get(session_id), self._bus.leases.get(session_id)
        if answer is None or answer.turn.answer_id != answer_id or holder != (answer_id, self):
            raise Fenced("another turn has begun, or this one is over")
        self._tell(session_id, answer.add(text))

    async def finish(self, session_id: str, answer_id: str, *, stored: bool = True) -> None:
        answer, holder = self._bus.answers.get(session_id), self._bus.leases.get(session_id)
        if holder == (answer_id, self):
            del self._bus.leases[session_id]
        if stored and answer and answer.turn.answer_id == answer_id:
            del self._bus.answers[session_id]

    async def running(self, session_id: str, known: int) -> Running | None:
        answer = self._bus.answers.get(session_id)
        if answer is None:
            return None
        answer.pass_by(known)
        return Running(answer.turn, tuple(answer.pieces))

    async def check(self) -> None:
        """The process is always there for itself."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bus as a dead process does: what it has begun is still to be seen, its leases are free."""
        self._bus.planes.remove(self)
        for session_id, (_, holder) in list(self._bus.leases.items()):
            if holder is self:
                del self._bus.leases[session_id]

    def _placed(self, session_id: str, event: Stored) -> Stored:
        known = self._bus.known
        if session_id in known:
            known[session_id] = max(event.entry.index, known[session_id])
        answer = self._bus.answers.get(session_id)
        if answer is None:
            return event
        answer.pass_by(event.entry.index)
        return Stored(event.entry, after=answer.pieces[-1].seq if answer.pieces else 0)

    def _tell(self, session_id: str, event: Event) -> None:
        for plane in self._bus.planes:
            if session_id in plane._listening:  # noqa: SLF001 - its own kind
                plane._receiver(session_id, event)  # noqa: SLF001


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


class MemoryQuotas(Quotas):
    """The counts of one process."""

    def __init__(self, windows: Mapping[str, Window], pools: Mapping[str, Pool]) -> None:
        self._windows = {name: SlidingWindow(window.limit, window.seconds) for name, window in windows.items()}
        self._pools = {name: _Members(pool) for name, pool in pools.items()}

    async def hit(self, window: str, key: str) -> float:
        return self._windows[window].hit(key)

    async def enter(self, pool: str, key: str, member: str) -> bool:
        return self._pools[pool].enter(key, member)

    async def leave(self, pool: str, key: str, member: str) -> None:
        self._pools[pool].leave(key, member)

    async def members(self, pool: str, key: str) -> set[str]:
        return set(self._pools[pool].of(key))

    async def clean(self, interval: float) -> None:
        await sweep_regularly((*self._windows.values(), *self._pools.values()), interval)


FOREVER = float("inf")


class _Members:
    """Who is in a pool, by key: members, and when they have left for good (monotonic s)."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._keys: defaultdict[str, dict[str, float]] = defaultdict(dict)

    def enter(self, key: str, member: str) -> bool:
        members = self.of(key)
        if self._pool.limit and len(members) >= self._pool.limit and member not in members:
            return False
        self._keys[key][member] = FOREVER
        return True

    def leave(self, key: str, member: str) -> None:
        members = self._keys.get(key, {})
        if member not in members:
            return
        if self._pool.linger:
            members[member] = time.monotonic() + self._pool.linger
        else:
            del members[member]
        self._tidy(key, members)

    def of(self, key: str) -> dict[str, float]:
        """The members; those that have left for good are forgotten."""
        members = self._keys.get(key, {})
        self._tidy(key, members)
        return members

    def sweep(self) -> int:
        """Forget the keys that have no member any more; how many those were."""
        before = len(self._keys)
        for key, members in list(self._keys.items()):
            self._tidy(key, members)
        return before - len(self._keys)

    def _tidy(self, key: str, members: dict[str, float]) -> None:
        now = time.monotonic()
        for member in [member for member, until in members.items() if until <= now]:
            del members[member]
        if not members:
            self._keys.pop(key, None)
