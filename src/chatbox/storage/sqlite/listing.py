"""Staff's list of sessions: pages and counts. Each function is a read on the connection that it gets.

A page is merged from a few runs, each of them in the wanted order: for each pair of (assisted, help asked for) those in
``listed``, by the index of the order, and the active ones, which are sorted on the spot. So what is looked at is about
what is shown. With a range of starts there are two ways through a pair: in the wanted order, passing by what began
outside; or all that began inside, sorted on the spot. The counts tell which is shorter.
"""

# ruff: noqa: S608 - only this module's own words are put into statements; values go by names

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from chatbox.session import Session
from chatbox.storage.overview import SortBy, StaffQuery
from chatbox.storage.sqlite import rows
from chatbox.storage.sqlite.summaries import DAY

SORTED = 4
"""So many rows can be passed by in the time in which one is sorted."""

FIRST, LAST = 0, 1 << 62

ORDERS = {
    SortBy.START_TIME: "start_time",
    SortBy.END_TIME: "end_time",
    SortBy.LAST_ACTIVITY: "last_activity",
    SortBy.DURATION: "duration_ms",
    SortBy.MESSAGE_COUNT: "message_count",
    SortBy.TOTAL_TOKENS: "total_tokens",
    SortBy.USER_ID: "user_id",
}
ALONG_START = (SortBy.END_TIME, SortBy.LAST_ACTIVITY)
"""Orders in which sessions that were not ``long`` come within a day of their beginning."""

LONG = 10
"""About one session in so many is long, where it is not known."""

RUNNING = {SortBy.DURATION: "duration_ms + iif(opened_at IS NULL, 0, :now - opened_at)"}
"""What a session that may be active is sorted by, where it is not the column."""

_SESSION = ", ".join(f"sessions.{column}" for column in rows.SESSION_COLUMNS)
_INDEXES = {by: f"listed_by_{by.value}" for by in ORDERS if by is not SortBy.START_TIME}


class Span(NamedTuple):
    """Sessions that began from ``start`` on, before ``end``."""

    start: int
    end: int


def page(db: sqlite3.Connection, query: StaffQuery, now: int) -> list[Session]:
    span, way = span_of(query), "DESC" if query.descending else "ASC"
    found = " UNION ALL ".join(_runs(db, query, span))
    sql = (
        f"SELECT {_SESSION} FROM ({found} ORDER BY key {way}, id {way} LIMIT :limit OFFSET :offset) AS page"
        f" CROSS JOIN sessions ON sessions.id = page.id ORDER BY page.key {way}, page.id {way}"
    )
    names = {"now": now, "user_id": query.user_id, "limit": query.limit, "offset": query.offset}
    return [rows.session_from(row) for row in db.execute(sql, names | span._asdict())]


def count(db: sqlite3.Connection, query: StaffQuery) -> int:
    span, total = span_of(query), 0
    if query.user_id is None and query.active is not True:
        total += sum(listed(db, assisted, helped, span) for assisted, helped in pairs(query))
    if query.user_id is not None or query.active is not False:
        sql = f"SELECT count(*) FROM {_looked_at(query)}"
        total += db.execute(sql, {"user_id": query.user_id} | span._asdict()).fetchone()[0]
    return total


def listed(db: sqlite3.Connection, assisted: bool, helped: bool, span: Span) -> int:
    """How many of a pair are in ``listed``: whole days are counted already."""
    pair, (start, end) = (assisted, helped), span
    first, last = start + -start % DAY, end - end % DAY
    if first >= last:
        return _between(db, pair, start, end)
    sql = (
        "SELECT coalesce(sum(sessions), 0) FROM listed_days"
        " WHERE admin_assisted = ? AND help_requested = ? AND day >= ? AND day < ?"
    )
    whole: int = db.execute(sql, (*pair, first, last)).fetchone()[0]
    return whole + _between(db, pair, start, first) + _between(db, pair, last, end)


def pairs(query: StaffQuery) -> list[tuple[bool, bool]]:
    """The pairs of (assisted, help asked for) that a query wants."""
    both = (False, True)
    return [
        (assisted, helped)
        for assisted in both
        for helped in both
        if query.admin_assisted in (None, assisted) and query.help_requested in (None, helped)
    ]


def span_of(query: StaffQuery) -> Span:
    start = FIRST if query.start_from is None else max(FIRST, query.start_from)
    end = LAST if query.start_to is None else min(LAST, query.start_to + 1)
    return Span(start, max(start, end))


def _between(db: sqlite3.Connection, pair: tuple[bool, bool], start: int, end: int) -> int:
    if start >= end:
        return 0
    sql = (
        "SELECT count(*) FROM listed"
        " WHERE admin_assisted = ? AND help_requested = ? AND start_time >= ? AND start_time < ?"
    )
    found: int = db.execute(sql, (*pair, start, end)).fetchone()[0]
    return found


def _runs(db: sqlite3.Connection, query: StaffQuery, span: Span) -> list[str]:
    key = RUNNING.get(query.sort_by, ORDERS[query.sort_by])
    looked_at = f"SELECT id, {key} AS key FROM {_looked_at(query)}"
    if query.user_id is not None or query.active:
        return [looked_at]
    found = [run for assisted, helped in pairs(query) for run in _runs_of(db, query, span, assisted, helped)]
    return found if query.active is False else [*found, looked_at]


def _runs_of(db: sqlite3.Connection, query: StaffQuery, span: Span, assisted: bool, helped: bool) -> list[str]:
    """The runs of a pair."""
    column, pair = ORDERS[query.sort_by], f"admin_assisted = {assisted:d} AND help_requested = {helped:d}"
    inside = f"{pair} AND start_time >= :start AND start_time < :end"
    if query.sort_by is SortBy.START_TIME:
        return [f"SELECT id, start_time AS key FROM listed WHERE {inside}"]
    if _is_few(db, query, span, assisted, helped):
        return [f"SELECT id, +{column} AS key FROM listed WHERE {inside}"]
    walked = f"SELECT id, {column} AS key FROM listed INDEXED BY {_INDEXES[query.sort_by]} WHERE {inside}"
    if query.sort_by not in ALONG_START:
        return [walked]
    short = f"{walked} AND long = 0"
    near = f"{short} AND {column} >= :start AND {column} <= :end + {DAY}"
    return [short if span == (FIRST, LAST) else near, f"{walked} AND long = 1"]


def _is_few(db: sqlite3.Connection, query: StaffQuery, span: Span, assisted: bool, helped: bool) -> bool:
    """Whether it is shorter to sort what began inside the range."""
    if span == (FIRST, LAST):
        return False
    inside, every = listed(db, assisted, helped, span), listed(db, assisted, helped, Span(FIRST, LAST))
    reach = (query.offset + query.limit) * every // max(1, inside)
    passed_by = every // LONG if query.sort_by in ALONG_START else reach
    return inside * SORTED < passed_by


def _looked_at(query: StaffQuery) -> str:
    """The sessions that are looked at one by one, and the conditions on them."""
    wanted = [
        "is_active = 1" if query.user_id is None else "user_id = :user_id",
        "last_index > 0",
        "start_time >= :start AND start_time < :end",
        *(
            f"{column} = {value:d}"
            for column, value in (
                ("is_active", query.active),
                ("admin_assisted", query.admin_assisted),
                ("help_requested", query.help_requested),
            )
            if value is not None
        ),
    ]
    index = "sessions_active" if query.user_id is None else "sessions_by_user"
    return f"sessions INDEXED BY {index} WHERE {' AND '.join(wanted)}"
