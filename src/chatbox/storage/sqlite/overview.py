"""The overview of the SQLite store. Each function is a read of one state of it, on the connection that it gets."""

# ruff: noqa: S608 - only this module's own words are put into statements; values go by marks

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial as bind
from typing import Any

from chatbox.errors import StorageError
from chatbox.session import Session, Takeover
from chatbox.storage.concurrency import Period
from chatbox.storage.overview import HOUR, MINUTE, Bucket, Figures, Overview, StaffQuery, Tally, grid, spans
from chatbox.storage.sqlite import levels, listing
from chatbox.storage.sqlite.levels import Peak
from chatbox.storage.sqlite.records import Run
from chatbox.storage.sqlite.summaries import ADDED, HIGHEST

_COLUMNS = ", ".join(
    [f"coalesce(sum({name}), 0)" for name in ADDED] + [f"coalesce(max({name}), 0)" for name in HIGHEST]
)


class SqliteOverview(Overview):
    def __init__(self, write: Run, read: Run) -> None:
        self._write = write
        self._read = read

    async def sessions(self, query: StaffQuery, now: int) -> list[Session]:
        return await self._read(bind(sessions, query=query, now=now))

    async def count(self, query: StaffQuery) -> int:
        return await self._read(bind(count, query=query))

    async def figures(self, start: int, end: int, now: int) -> Figures:
        found, peaks = await self._read(bind(figures, start=start, end=end, now=now))
        await self._keep(peaks)
        return found

    async def series(self, start: int, end: int, step: int, now: int) -> list[Bucket]:
        found, peaks = await self._read(bind(series, start=start, end=end, step=step, now=now))
        await self._keep(peaks)
        return found

    async def takeovers(
        self,
        *,
        session_id: str | None = None,
        admin_id: str | None = None,
        before: tuple[int, str, int] | None = None,
        limit: int = 100,
    ) -> list[Takeover]:
        work = bind(takeovers, session_id=session_id, admin_id=admin_id, before=before, limit=limit)
        return await self._read(work)

    async def _keep(self, peaks: list[Peak]) -> None:
        """So that nobody has to find them again; that it fails is no harm."""
        if peaks:
            with suppress(StorageError):
                await self._write(bind(levels.keep, peaks=peaks))


def sessions(db: sqlite3.Connection, query: StaffQuery, now: int) -> list[Session]:
    with snapshot(db):
        return listing.page(db, query, now)


def count(db: sqlite3.Connection, query: StaffQuery) -> int:
    with snapshot(db):
        return listing.count(db, query)


def figures(db: sqlite3.Connection, start: int, end: int, now: int) -> tuple[Figures, list[Peak]]:
    end = max(start, end)
    with snapshot(db):
        running, begun = _running(db, now), StaffQuery(start_from=start, start_to=end - 1)
        highest, peaks = levels.highest(db, running, [start] if start < end else [], end, now)
        found = Figures(
            total_sessions=listing.count(db, begun),
            active_sessions=listing.count(db, StaffQuery(active=True)),
            admin_assisted_count=listing.count(db, StaffQuery(start_from=start, start_to=end - 1, admin_assisted=True)),
            avg_concurrent=levels.average(db, running, start, min(end, now)),
            max_concurrent=max(highest, default=0),
            tally=tally(db, start, end),
        )
    return found, peaks


def series(db: sqlite3.Connection, start: int, end: int, step: int, now: int) -> tuple[list[Bucket], list[Peak]]:
    steps = grid(start, end, step)
    with snapshot(db):
        begun, counted = _begun(db, steps), _tallies(db, steps)
        highest, peaks = levels.highest(db, _running(db, now), steps, steps.stop, now)
    found = [
        Bucket(start=at, sessions=begun.get(place, 0), max_concurrent=most, tally=counted.get(place, Tally()))
        for place, (at, most) in enumerate(zip(steps, highest, strict=True))
    ]
    return found, peaks


def takeovers(
    db: sqlite3.Connection,
    session_id: str | None,
    admin_id: str | None,
    before: tuple[int, str, int] | None,
    limit: int,
) -> list[Takeover]:
    """Those that have ended, newest first, merged with those that go on."""
    names = {"session_id": session_id, "admin_id": admin_id, "limit": limit}
    names |= dict(zip(("start", "id", "index"), before or (), strict=False))
    sql = (
        f"SELECT sessions.id, user_id, admin_id, start, idx, messages, end FROM {_ended(session_id, admin_id)}"
        f" {_before(before, 'start, sessions.id, idx', 'start')}"
        " UNION ALL SELECT id, user_id, assisting_admin_id, assisted_since, assisted_index, staff_messages, NULL"
        f" FROM sessions INDEXED BY sessions_assisted WHERE assisting_admin_id IS NOT NULL"
        f"{_only(session_id, 'id = :session_id')}{_only(admin_id, 'assisting_admin_id = :admin_id')}"
        f" {_before(before, 'assisted_since, id, assisted_index', 'assisted_since')}"
        " ORDER BY 4 DESC, 1 DESC, 5 DESC LIMIT :limit"
    )
    return [_takeover(row) for row in db.execute(sql, names)]


def tally(db: sqlite3.Connection, start: int, end: int) -> Tally:
    """What was counted in the minutes that begin in a period: whole hours are counted already."""
    parts = spans(start, end)
    where = " OR ".join("(width = ? AND at >= ? AND at < ?)" for _ in parts)
    sql = f"SELECT {_COLUMNS} FROM tallies WHERE {where}"
    return Tally(*db.execute(sql, [value for part in parts for value in part]).fetchone())


@contextmanager
def snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """All that is read inside is of one state."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("ROLLBACK")


def _running(db: sqlite3.Connection, now: int) -> list[Period]:
    sql = (
        "SELECT opened_at, ? FROM sessions INDEXED BY sessions_active"
        " WHERE is_active = 1 AND last_index > 0 AND opened_at <= ?"
    )
    return db.execute(sql, (now, now)).fetchall()


def _begun(db: sqlite3.Connection, steps: range) -> dict[int, int]:
    """How many sessions began in each step, by its place."""
    names = {"start": steps.start, "end": steps.stop, "step": steps.step}
    if steps.step >= HOUR:
        sql = "SELECT (at - :start) / :step, sum(began) FROM hours WHERE at >= :start AND at < :end GROUP BY 1"
        return dict(db.execute(sql, names).fetchall())
    began = "start_time >= :start AND start_time < :end"
    ended = f"SELECT start_time FROM listed WHERE admin_assisted IN (0, 1) AND help_requested IN (0, 1) AND {began}"
    going_on = (
        f"SELECT start_time FROM sessions INDEXED BY sessions_active WHERE is_active = 1 AND last_index > 0 AND {began}"
    )
    sql = f"SELECT (start_time - :start) / :step, count(*) FROM ({ended} UNION ALL {going_on}) GROUP BY 1"
    return dict(db.execute(sql, names).fetchall())


def _tallies(db: sqlite3.Connection, steps: range) -> dict[int, Tally]:
    """What was counted in each step, by its place."""
    width = HOUR if steps.step >= HOUR else MINUTE
    sql = f"SELECT (at - ?) / ?, {_COLUMNS} FROM tallies WHERE width = ? AND at >= ? AND at < ? GROUP BY 1"
    found = db.execute(sql, (steps.start, steps.step, width, steps.start, steps.stop))
    return {place: Tally(*values) for place, *values in found}


def _ended(session_id: str | None, admin_id: str | None) -> str:
    """Takeovers with their sessions, in the order of their starts."""
    joined = "CROSS JOIN sessions ON sessions.number = session WHERE TRUE"
    if session_id is not None:
        of_session = " AND session = (SELECT number FROM sessions WHERE id = :session_id)"
        return f"takeovers {joined}{of_session}{_only(admin_id, 'admin_id = :admin_id')}"
    if admin_id is not None:
        return f"takeovers INDEXED BY takeovers_by_admin {joined} AND admin_id = :admin_id"
    return f"takeovers INDEXED BY takeovers_by_start {joined}"


def _only(value: str | None, condition: str) -> str:
    return "" if value is None else f" AND {condition}"


def _before(before: tuple[int, str, int] | None, columns: str, first: str) -> str:
    return "" if before is None else f"AND {first} <= :start AND ({columns}) < (:start, :id, :index)"


def _takeover(row: tuple[Any, ...]) -> Takeover:
    session_id, user_id, admin_id, start, index, messages, end = row
    return Takeover(
        session_id=session_id,
        user_id=user_id,
        admin_id=admin_id,
        start=start,
        index=index,
        messages=messages,
        end=end,
    )
