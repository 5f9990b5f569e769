"""A store around another one, which measures how long each operation takes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import Protocol, Self, TypeVar

from prometheus_client import Histogram

from chatbox.session import Change, Entry, Session, Takeover
from chatbox.storage.base import Appended, Partial, SessionQuery, Storage
from chatbox.storage.overview import Bucket, Figures, Overview, StaffQuery
from chatbox.storage.records import Record, Records

T = TypeVar("T")


class Timed(Protocol):
    """Measures how long an operation takes."""

    def __call__(self, operation: str, call: Awaitable[T], /) -> Awaitable[T]: ...


class TimedStorage(Storage):
    """Opens and closes ``inner``. The histograms have one label, the operation; what fails or is cancelled counts."""

    def __init__(self, inner: Storage, histograms: Sequence[Histogram]) -> None:
        self._inner = inner
        self._histograms = histograms
        self._records = TimedRecords(inner.records, self._timed)
        self._overview = TimedOverview(inner.overview, self._timed)

    async def create(self, session: Session) -> Session:
        return await self._timed("create", self._inner.create(session))

    async def get(self, session_id: str) -> Session | None:
        return await self._timed("get", self._inner.get(session_id))

    async def find(self, query: SessionQuery) -> list[Session]:
        return await self._timed("find", self._inner.find(query))

    async def append(self, entry: Entry, change: Change | None = None, *, fence: int | None = None) -> Appended:
        return await self._timed("append", self._inner.append(entry, change, fence=fence))

    async def read(
        self, session_id: str, *, after: int = 0, before: int | None = None, limit: int = 500
    ) -> list[Entry]:
        return await self._timed("read", self._inner.read(session_id, after=after, before=before, limit=limit))

    async def keep(self, partial: Partial) -> None:
        await self._timed("keep", self._inner.keep(partial))

    async def partial(self, session_id: str) -> Partial | None:
        return await self._timed("partial", self._inner.partial(session_id))

    async def delete(self, session_id: str, *, last_index: int | None = None) -> bool:
        return await self._timed("delete", self._inner.delete(session_id, last_index=last_index))

    async def usage(self, user_id: str, day: str) -> int:
        return await self._timed("usage", self._inner.usage(user_id, day))

    @property
    def records(self) -> TimedRecords:
        return self._records

    @property
    def overview(self) -> TimedOverview:
        return self._overview

    async def check(self) -> None:
        await self._timed("check", self._inner.check())

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    async def _timed(self, operation: str, call: Awaitable[T]) -> T:
        start = time.perf_counter()
        try:
            return await call
        finally:
            seconds = time.perf_counter() - start
            for histogram in self._histograms:
                histogram.labels(operation).observe(seconds)


class TimedRecords(Records):
    """The records of another store, measured."""

    def __init__(self, inner: Records, timed: Timed) -> None:
        self._inner = inner
        self._timed = timed

    async def add(self, record: Record) -> bool:
        return await self._timed("records_add", self._inner.add(record))

    async def get(self, kind: str, record_id: str) -> Record | None:
        return await self._timed("records_get", self._inner.get(kind, record_id))

    async def replace(self, record: Record) -> bool:
        return await self._timed("records_replace", self._inner.replace(record))

    async def remove(self, kind: str, record_id: str) -> bool:
        return await self._timed("records_remove", self._inner.remove(kind, record_id))

    async def find(
        self,
        kind: str,
        *,
        key: str | None = None,
        since: int | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[Record]:
        call = self._inner.find(kind, key=key, since=since, before=before, limit=limit)
        return await self._timed("records_find", call)

    async def due(self, kind: str, now: int, limit: int) -> list[Record]:
        return await self._timed("records_due", self._inner.due(kind, now, limit))


class TimedOverview(Overview):
    """The overview of another store, measured."""

    def __init__(self, inner: Overview, timed: Timed) -> None:
        self._inner = inner
        self._timed = timed

    async def sessions(self, query: StaffQuery, now: int) -> list[Session]:
        return await self._timed("overview_sessions", self._inner.sessions(query, now))

    async def count(self, query: StaffQuery) -> int:
        return await self._timed("overview_count", self._inner.count(query))

    async def figures(self, start: int, end: int, now: int) -> Figures:
        return await self._timed("overview_figures", self._inner.figures(start, end, now))

    async def series(self, start: int, end: int, step: int, now: int) -> list[Bucket]:
        return await self._timed("overview_series", self._inner.series(start, end, step, now))

    async def takeovers(
        self,
        *,
        session_id: str | None = None,
        admin_id: str | None = None,
        before: tuple[int, str, int] | None = None,
        limit: int = 100,
    ) -> list[Takeover]:
        call = self._inner.takeovers(session_id=session_id, admin_id=admin_id, before=before, limit=limit)
        return await self._timed("overview_takeovers", call)
