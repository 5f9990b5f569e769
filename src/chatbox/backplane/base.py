"""The contract of a backplane: carries what replicas share beside the store.

The store is the truth; the backplane is a hint about it, and the only home of what is not stored yet: the pieces of
running answers. Losing it loses pieces and never a position.

- **Events** reach the receiver of every replica that listens to the session, the publisher's too, each in the order of
  its publishing where the backplane can, but a receiver must bear events that are late, doubled, reordered or missing:
  ``Stored`` carries its index, a piece its position, and both show what comes before them.
- **Pieces.** ``push`` gives a piece its position: one more than that of the newest piece or known entry, whichever is
  later. An entry is known when it was published or named to ``running``. The pieces of an answer can be read by any
  replica until ``finish``.
- **One answer a session.** ``begin`` replaces what an older turn left behind; ``push`` under another answer's id raises
  ``Fenced``.
- **Limits** are sliding windows shared by all replicas. ``hit`` counts one and returns 0, or counts nothing and returns
  the seconds to wait.
- Nothing here waits for a slow receiver: a receiver takes an event at once or does without.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec

from chatbox.session import STEP, Entry


class Stored(msgspec.Struct, frozen=True):
    """An entry was committed. ``after`` is the position of the newest piece before it, set by the backplane."""

    entry: Entry
    after: int = 0


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A piece of the running answer at its position."""

    answer_id: str
    seq: int
    text: str


class Turn(msgspec.Struct, frozen=True):
    """An answer begins. ``index`` is its turn entry's; ``replaces`` the answer that it replaces, if any."""

    answer_id: str
    index: int
    fence: int
    replaces: str | None = None

    @property
    def seq(self) -> int:
        return self.index * STEP


class Signal(msgspec.Struct, frozen=True):
    """A frame without a position. ``but`` is a socket's id that must not get it."""

    frame: str
    but: str = ""


class Removed(msgspec.Struct, frozen=True):
    """The session was deleted: its sockets close."""


Event = Stored | Piece | Turn | Signal | Removed
Receiver = Callable[[str, Event], None]


class Running(msgspec.Struct, frozen=True):
    """A running answer as any replica can see it."""

    turn: Turn
    pieces: tuple[Piece, ...]


class Backplane(ABC):
    """See the module's text for the guarantees. Opened and closed by ``async with``."""

    @abstractmethod
    def connect(self, receiver: Receiver) -> None:
        """Give every event of the sessions listened to, to this one receiver: ``receiver(session_id, event)``."""

    @abstractmethod
    async def listen(self, session_id: str) -> None:
        """From the return on, events of this session reach the receiver. May be called twice."""

    @abstractmethod
    async def ignore(self, session_id: str) -> None:
        """Stop listening. Of a session not listened to: nothing."""

    @abstractmethod
    async def publish(self, session_id: str, event: Stored | Signal | Removed) -> None:
        """Tell every listening replica."""

    @abstractmethod
    async def begin(self, session_id: str, turn: Turn) -> None:
        """Open the piece log of a turn and publish the turn."""

    @abstractmethod
    async def push(self, session_id: str, answer_id: str, text: str) -> None:
        """Append a piece and publish it. Raises ``Fenced`` when that answer is not the running one."""

    @abstractmethod
    async def finish(self, session_id: str, answer_id: str) -> None:
        """Drop the answer's pieces. Of an answer that is not running: nothing."""

    @abstractmethod
    async def running(self, session_id: str, known: int) -> Running | None:
        """The session's running answer with all its pieces. Later pieces lie beyond the entry with the index ``known``,
        so that who has read the log up to there has all that comes before it."""

    @abstractmethod
    async def hit(self, limit: str, key: str) -> float:
        """Count one against a named limit; 0.0 when allowed, else seconds until it will be."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(  # noqa: B027 - a backplane that holds nothing open has nothing to close
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close connections."""
