"""The contract of the overview: what staff see of all sessions at once. Reached as ``Storage.overview``.

- **Sessions without entries** are in no list, count or figure.
- **Lists** are sorted by the field that the query names, ties by id, and the other way round when ``descending``. A
  field without a value (``end_time`` of a session that goes on) comes before all others. Texts are compared by their
  UTF-8 bytes. ``duration`` is how long a session has been open at ``now``. ``count`` is exact.
- **Begin.** A session belongs to the period in which it began, by its ``start_time``.
- **Open periods** of a session go on until ``now``. Two periods that share no more than a millisecond are concurrent.
  What lies after ``now`` is no part of a period: averages are over what has passed of it.
- **Series** begin and end with full minutes, those in steps of an hour or more with full hours: the period is widened
  to them, and such steps are rounded up to whole minutes or hours.
- **Counted by the minute**: messages, answers, tokens, errors and times. A period has the minutes that begin in it.
  What was counted stays so when a session is deleted, or was not known at the time (see each store for what that is).
- **Takeovers** are those of sessions that exist, those that go on included.
- **Missing things.** A period that ends before it begins, and one that has not begun, is empty: all its figures are 0.
- **Lag.** Lists and figures may for a moment lag behind what other processes append.

``storage.scan`` goes through everything: it is the specification, and the memory store's. One suite runs over all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from enum import StrEnum
from functools import reduce

import msgspec

from chatbox.session import MESSAGES, Change, Entry, Kind, Session, Takeover

MINUTE = 60_000
"""The finest step of what is counted, in ms."""

HOUR = 60 * MINUTE

MAX_STEPS = 2000
"""Steps of a series at most. Callers see to it."""


class SortBy(StrEnum):
    """What a list of sessions is sorted by."""

    START_TIME = "start_time"
    END_TIME = "end_time"
    LAST_ACTIVITY = "last_activity"
    DURATION = "duration"
    MESSAGE_COUNT = "message_count"
    TOTAL_TOKENS = "total_tokens"
    USER_ID = "user_id"


class StaffQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which sessions, in which order. None means any. ``start_from`` and ``start_to`` (Unix ms) are both included."""

    user_id: str | None = None
    active: bool | None = None
    admin_assisted: bool | None = None
    help_requested: bool | None = None
    start_from: int | None = None
    start_to: int | None = None
    sort_by: SortBy = SortBy.LAST_ACTIVITY
    descending: bool = True
    limit: int = 100
    offset: int = 0


class Tally(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was counted in some time. ``tokens`` are those of answers; ``errors`` are answers that failed.

    ``responses`` is how many answers came to their end, in ``response_ms`` together and ``response_max`` at most;
    ``firsts`` how many had a first piece, after ``first_ms`` together and ``first_max`` at most.
    """

    messages: int = 0
    answers: int = 0
    errors: int = 0
    tokens: int = 0
    responses: int = 0
    response_ms: int = 0
    firsts: int = 0
    first_ms: int = 0
    response_max: int = 0
    first_max: int = 0

    def plus(self, other: Tally) -> Tally:
        return Tally(
            messages=self.messages + other.messages,
            answers=self.answers + other.answers,
            errors=self.errors + other.errors,
            tokens=self.tokens + other.tokens,
            responses=self.responses + other.responses,
            response_ms=self.response_ms + other.response_ms,
            firsts=self.firsts + other.firsts,
            first_ms=self.first_ms + other.first_ms,
            response_max=max(self.response_max, other.response_max),
            first_max=max(self.first_max, other.first_max),
        )

    @property
    def avg_response(self) -> int:
        return mean(self.response_ms, self.responses)

    @property
    def avg_first(self) -> int:
        return mean(self.first_ms, self.firsts)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of a period, but for ``active_sessions``, which are those that are active now.

    ``total_sessions`` began in it, ``admin_assisted_count`` of them were ever assisted. ``avg_concurrent`` and
    ``max_concurrent`` are how many were open at once. ``tally`` is what was counted.
    """

    total_sessions: int = 0
    active_sessions: int = 0
    admin_assisted_count: int = 0
    avg_concurrent: float = 0.0
    max_concurrent: int = 0
    tally: Tally = Tally()


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a series, from ``start`` on (Unix ms): sessions that began, the most that were open at once, and what
    was counted."""

    start: int
    sessions: int = 0
    max_concurrent: int = 0
    tally: Tally = Tally()


class Overview(ABC):
    """See the module's text for the guarantees. Can be called while its store is open. Times are Unix ms, and a period
    is from ``start`` on, up to but without ``end``."""

    @abstractmethod
    async def sessions(self, query: StaffQuery, now: int) -> list[Session]:
        """A page of the sessions that match."""

    @abstractmethod
    async def count(self, query: StaffQuery) -> int:
        """How many sessions match, whatever ``limit`` and ``offset`` are."""

    @abstractmethod
    async def figures(self, start: int, end: int, now: int) -> Figures:
        """The figures of a period."""

    @abstractmethod
    async def series(self, start: int, end: int, step: int, now: int) -> list[Bucket]:
        """A period in steps of so many ms, on the ``grid``; the last one may be cut short."""

    @abstractmethod
    async def takeovers(
        self,
        *,
        session_id: str | None = None,
        admin_id: str | None = None,
        before: tuple[int, str, int] | None = None,
        limit: int = 100,
    ) -> list[Takeover]:
        """Takeovers, newest first by (start, session_id, index). ``before``, the place of one, continues a page."""


def place(takeover: Takeover) -> tuple[int, str, int]:
    """By what takeovers are ordered."""
    return takeover.start, takeover.session_id, takeover.index


NOTHING = Tally()
MESSAGE = Tally(messages=1)


def tally_of(entry: Entry, change: Change) -> Tally:
    """What is counted of an entry, in the minute of its time. Every store gives the same; of most entries that is
    ``MESSAGE`` or ``NOTHING``, these very ones."""
    timed = change.response_ms is not None or change.first_ms is not None
    if not (change.ends_turn or change.tokens or change.failed or timed):
        return MESSAGE if entry.kind in MESSAGES else NOTHING
    return Tally(
        messages=int(entry.kind in MESSAGES),
        answers=int(change.ends_turn and entry.kind is Kind.AI_RESPONSE),
        errors=int(change.failed),
        tokens=change.tokens,
        responses=int(change.response_ms is not None),
        response_ms=change.response_ms or 0,
        response_max=change.response_ms or 0,
        firsts=int(change.first_ms is not None),
        first_ms=change.first_ms or 0,
        first_max=change.first_ms or 0,
    )


def together(tallies: Iterable[Tally]) -> Tally:
    return reduce(Tally.plus, tallies, Tally())


def minute_of(timestamp: int) -> int:
    """When the minute of a time began."""
    return timestamp - timestamp % MINUTE


def mean(total: int, count: int) -> int:
    return round(total / count) if count else 0


def grid(start: int, end: int, step: int) -> range:
    """When the steps of a series begin."""
    width = HOUR if step >= HOUR else MINUTE
    return range(start - start % width, end + -end % width, max(width, step + -step % width))


def spans(start: int, end: int) -> list[tuple[int, int, int]]:
    """A period as whole hours and the minutes around them: (width, from, up to)."""
    first, last = start + -start % HOUR, end - end % HOUR
    if first >= last:
        return [(MINUTE, start, end)]
    return [(MINUTE, start, first), (HOUR, first, last), (MINUTE, last, end)]
