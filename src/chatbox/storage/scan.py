"""The overview that goes through everything: the specification that the others follow, and the memory store's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from chatbox.session import Session, Takeover, takeover_of
from chatbox.storage.base import Copy
from chatbox.storage.overview import Bucket, Figures, Overview, SortBy, StaffQuery, Tally, grid, place, together

Period = tuple[int, int]


class ScanOverview(Overview):
    """``everything`` is all sessions with what is beside them, ``minutes`` what was counted in each minute."""

    def __init__(self, everything: Callable[[], Awaitable[Sequence[Copy]]], minutes: Mapping[int, Tally]) -> None:
        self._everything = everything
        self._minutes = minutes

    async def sessions(self, query: StaffQuery, now: int) -> list[Session]:
        found = [copy.session for copy in await self._copies() if fits(copy.session, query)]
        found.sort(key=lambda session: sort_key(session, query.sort_by, now), reverse=query.descending)
        return found[query.offset : query.offset + query.limit]

    async def count(self, query: StaffQuery) -> int:
        return sum(fits(copy.session, query) for copy in await self._copies())

    async def figures(self, start: int, end: int, now: int) -> Figures:
        copies = await self._copies()
        begun = [copy.session for copy in copies if start <= copy.session.start_time < end]
        periods = list(periods_of(copies, now))
        return Figures(
            total_sessions=len(begun),
            active_sessions=sum(copy.session.is_active for copy in copies),
            admin_assisted_count=sum(session.admin_assisted for session in begun),
            avg_concurrent=average(periods, start, min(end, now)),
            max_concurrent=most(periods, start, end),
            tally=self._tally(start, end),
        )

    async def series(self, start: int, end: int, step: int, now: int) -> list[Bucket]:
        copies = await self._copies()
        steps = grid(start, end, step)
        return [self._bucket(copies, at, min(at + steps.step, steps.stop), now) for at in steps]

    async def takeovers(
        self,
        *,
        session_id: str | None = None,
        admin_id: str | None = None,
        before: tuple[int, str, int] | None = None,
        limit: int = 100,
    ) -> list[Takeover]:
        found = [
            takeover
            for copy in await self._copies()
            for takeover in takeovers_of(copy)
            if session_id in (None, takeover.session_id)
            and admin_id in (None, takeover.admin_id)
            and (before is None or place(takeover) < before)
        ]
        return sorted(found, key=place, reverse=True)[:limit]

    async def _copies(self) -> list[Copy]:
        return [copy for copy in await self._everything() if copy.session.last_index]

    def _bucket(self, copies: Sequence[Copy], start: int, end: int, now: int) -> Bucket:
        return Bucket(
            start=start,
            sessions=sum(start <= copy.session.start_time < end for copy in copies),
            max_concurrent=most(list(periods_of(copies, now)), start, end),
            tally=self._tally(start, end),
        )

    def _tally(self, start: int, end: int) -> Tally:
        return together(tally for at, tally in self._minutes.items() if start <= at < end)


def fits(session: Session, query: StaffQuery) -> bool:
    """Whether a session is one that the query asks for."""
    wanted = (
        (query.user_id, session.user_id),
        (query.active, session.is_active),
        (query.admin_assisted, session.admin_assisted),
        (query.help_requested, session.help_requested),
    )
    return (
        all(value is None or value == actual for value, actual in wanted)
        and (query.start_from is None or session.start_time >= query.start_from)
        and (query.start_to is None or session.start_time <= query.start_to)
    )


def sort_key(session: Session, by: SortBy, now: int) -> tuple[Any, ...]:
    """By what sessions are sorted: no value comes first, ties are decided by id."""
    if by is SortBy.DURATION:
        return open_ms(session, now), session.id
    if by is SortBy.USER_ID:
        return session.user_id.encode(), session.id
    value = getattr(session, by.value)
    return value is not None, value or 0, session.id


def open_ms(session: Session, now: int) -> int:
    """How long a session has been open, over all its periods."""
    return session.duration_ms + (now - session.opened_at if session.opened_at is not None else 0)


def takeovers_of(copy: Copy) -> Iterator[Takeover]:
    yield from copy.takeovers
    if going_on := takeover_of(copy.session):
        yield going_on


def periods_of(copies: Iterable[Copy], now: int) -> Iterator[Period]:
    """All periods, those that are open until now."""
    for copy in copies:
        yield from copy.periods
        opened_at = copy.session.opened_at
        if opened_at is not None and opened_at <= now:
            yield opened_at, now


def average(periods: Iterable[Period], start: int, end: int) -> float:
    """How many periods were open at once between two times, on average."""
    if end <= start:
        return 0.0
    return sum(max(0, min(last, end) - max(first, start)) for first, last in periods) / (end - start)


def most(periods: Sequence[Period], start: int, end: int) -> int:
    """How many periods, at most, were open at one of the moments from ``start`` on, up to but without ``end``."""
    moments = {max(first, start) for first, last in periods if last >= start and max(first, start) < end}
    return max((sum(first <= at <= last for first, last in periods) for at in moments), default=0)
