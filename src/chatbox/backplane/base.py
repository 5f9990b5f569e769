"""The contracts of what replicas share beside the store: a backplane of events and turns, and counts.

The store is the truth; the backplane is a hint about it, and the only home of what is not stored yet: the pieces of
running answers. Losing it loses pieces and never a position.

- **Events** reach the receiver of every replica that listens to the session, the publisher's too, each in the order of
  its publishing where the backplane can, but a receiver must bear events that are late, doubled, reordered or missing:
  ``Stored`` carries its index, a piece its position, and both show what comes before them. What goes missing is found
  by ``Behind``, which says from time to time how far the session has come.
- **Pieces.** ``push`` gives a piece its position: one more than that of the newest piece or known entry, whichever is
  later. An entry is known when it was published or named to ``running``. The pieces of an answer can be read by any
  replica until ``finish``.
- **One answer a session.** Whoever wants to begin a turn, or to end one whose process died, first acquires the
  session's lease. It lives as long as its holder renews it, which the backplane does by itself, and for at most
  ``LEASE`` seconds without. The lease keeps others away; the store's fence decides. ``push`` without the lease raises
  ``Fenced``, also when it can't be known any more whether it is held, and also for a process that was paused meanwhile.
- **Alone.** While the others can't be reached, events go to the own receiver only, and a lease is granted ``alone``:
  good for a new turn (the store refuses a second one), not for ending somebody else's. When the others are there
  again, the receiver is told that it is ``Behind`` in every session, and nobody's turn is ended for ``LEASE`` seconds.
- Nothing here waits for a slow receiver: a receiver takes an event at once or does without.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Self

import msgspec

from chatbox.session import STEP, Entry

LEASE = 10.0
"""Seconds after which a turn whose process is silent may be ended by others."""


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


class Joined(msgspec.Struct, frozen=True):
    """A socket of the tab ``client`` came at ``joined`` (Unix ns): older sockets of that tab are replaced."""

    client: str
    joined: int


class Removed(msgspec.Struct, frozen=True):
    """The session was deleted: its sockets close."""


class Behind(msgspec.Struct, frozen=True):
    """The session has come to the position ``seq``; None: nobody knows how far, look into the store."""

    seq: int | None = None


Published = Stored | Signal | Joined | Removed
Event = Published | Piece | Turn | Behind
Receiver = Callable[[str, Event], None]


class Running(msgspec.Struct, frozen=True):
    """A running answer as any replica can see it; its process may be dead already."""

    turn: Turn
    pieces: tuple[Piece, ...]


class Grant(StrEnum):
    """How a lease is held: nobody else has it, or nobody else could be asked."""

    SURE = "sure"
    ALONE = "alone"


class Backplane(ABC):
    """See the module's text for the guarantees. Opened and closed by ``async with``.

    That others can't be reached is no error of any call here: it makes the rest of the guarantees say what happens.
    """

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
    async def publish(self, session_id: str, event: Published) -> None:
        """Tell every listening replica."""

    @abstractmethod
    async def acquire(self, session_id: str, answer_id: str) -> Grant | None:
        """Take the session's lease in the name of an answer; None when another one has it. Under the same answer's id
        it may be called twice."""

    @abstractmethod
    async def begin(self, session_id: str, turn: Turn) -> None:
        """Open the piece log of a turn whose lease was acquired, drop what an older turn left, publish the turn."""

    @abstractmethod
    async def push(self, session_id: str, answer_id: str, text: str) -> None:
        """Append a piece and publish it. Raises ``Fenced`` when the lease is not surely this answer's."""

    @abstractmethod
    async def finish(self, session_id: str, answer_id: str, *, stored: bool = True) -> None:
        """Release the lease, if it is this answer's. Its pieces are dropped if it is ``stored``; else they stay for
        whoever ends the turn."""

    @abstractmethod
    async def running(self, session_id: str, known: int) -> Running | None:
        """The session's running answer with all its pieces. Later pieces lie beyond the entry with the index ``known``,
        so that who has read the log up to there has all that comes before it."""

    @abstractmethod
    async def check(self) -> None:
        """Raises ``BackplaneDown`` when other replicas can't be reached, or do not get or give events."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(  # noqa: B027 - a backplane that holds nothing open has nothing to close
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close connections."""


class Window(msgspec.Struct, frozen=True):
    """At most ``limit`` hits a key in any ``seconds``."""

    limit: int
    seconds: float


class Pool(msgspec.Struct, frozen=True):
    """At most ``limit`` members a key (0: any number); one that left is still a member for ``linger`` seconds."""

    limit: int = 0
    linger: float = 0.0


class Quotas(ABC):
    """Counts that all replicas share, by the names of windows and pools.

    A member counts until it leaves or its process dies (then a minute longer). While the others can't be reached, each
    process counts for itself.
    """

    @abstractmethod
    async def hit(self, window: str, key: str) -> float:
        """Count one in a sliding window: 0.0 when allowed, else nothing is counted, and it will be in so many s."""

    @abstractmethod
    async def enter(self, pool: str, key: str, member: str) -> bool:
        """Become a member; false when the pool is full. Who is one already stays one."""

    @abstractmethod
    async def leave(self, pool: str, key: str, member: str) -> None:
        """Be no member any more, after the pool's ``linger``. Of one who is none: nothing."""

    @abstractmethod
    async def members(self, pool: str, key: str) -> set[str]:
        """Who is a member now."""

    @abstractmethod
    async def clean(self, interval: float) -> None:
        """Forget what has expired in this process, every ``interval`` seconds, until cancelled."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(  # noqa: B027 - counts in memory have nothing to close
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up what this process's members hold."""
