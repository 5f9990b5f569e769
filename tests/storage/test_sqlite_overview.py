"""Staff's view of the SQLite store: what is summed up stays true, and nothing is scanned."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from itertools import count, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from bench.seed import Shape, fill
from chatbox.session import Change
from chatbox.storage.overview import HOUR, MINUTE, SortBy, StaffQuery, Tally
from chatbox.storage.sqlite import SqliteStorage, levels, listing, overview
from chatbox.storage.sqlite.levels import Peak
from chatbox.storage.sqlite.schema import migrate
from tests.storage.test_overview import DAY, STEPS, Step, ended, files, ids, live, said
from tests.storage.values import NOON, answer, entry, session

BEFORE = 4
"""The version of the tables before anything was summed up."""

SUMMED_UP = {
    "listed": "SELECT * FROM listed ORDER BY id",
    "listed_days": "SELECT * FROM listed_days WHERE sessions <> 0 ORDER BY 1, 2, 3",
    "hours": "SELECT at, opened, closed, late, began FROM hours WHERE opened OR closed OR began ORDER BY at",
    "peaks": "SELECT at, peak FROM hours WHERE peak > 0 ORDER BY at",
}


def as_before(path: Path) -> None:
    """Make the database one that an earlier version has left."""
    with closing(sqlite3.connect(path)) as db:
        for table in ("listed", "listed_days", "hours", "tallies"):
            db.execute(f"DROP TABLE {table}")
        for index in ("periods_by_start", "periods_by_end", "takeovers_by_admin"):
            db.execute(f"DROP INDEX {index}")
        db.execute(f"PRAGMA user_version = {BEFORE}")


def summed_up(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as db:
        return {name: db.execute(sql).fetchall() for name, sql in SUMMED_UP.items()}


async def lived(store: SqliteStorage, steps: list[Step]) -> Tally:
    async with store:
        await live(store, steps)
        return (await store.overview.figures(NOON - 2 * DAY, NOON + 90 * DAY, NOON + 90 * DAY)).tally


async def opened(path: Path) -> Tally:
    async with SqliteStorage(path) as store:
        return (await store.overview.figures(NOON - 2 * DAY, NOON + 90 * DAY, NOON + 90 * DAY)).tally


@pytest.mark.timeout(600)
def test_what_is_summed_up_step_by_step_is_what_an_older_database_is_given_at_once(tmp_path: Path) -> None:
    make, numbers = files(tmp_path), count()

    @settings(max_examples=150)
    @given(steps=STEPS)
    def holds(steps: list[Step]) -> None:
        store = make()
        counted = asyncio.run(lived(store, steps))
        older = Path(shutil.copy(store._path, tmp_path / f"older{next(numbers)}.db"))
        as_before(older)
        anew = asyncio.run(opened(older))
        assert summed_up(older) == summed_up(store._path)
        if not any(step.act == "delete" for step in steps):
            assert (anew.messages, anew.answers) == (counted.messages, counted.answers)
            assert (anew.responses, anew.response_ms) == (counted.responses, counted.response_ms)
        assert anew.tokens == counted.tokens

    holds()


async def test_an_older_database_tells_what_was_counted_as_well_as_it_knows(tmp_path: Path) -> None:
    path = tmp_path / "chatbox.db"
    async with SqliteStorage(path) as store:
        one = await said(store, "ada", NOON)
        reply = Change(tokens=7, response_ms=300, first_ms=20, ends_turn=True)
        await store.append(answer(one.id, timestamp=NOON + MINUTE), reply)
    as_before(path)
    minute, day = NOON - NOON % MINUTE, NOON - NOON % DAY
    async with SqliteStorage(path) as store:
        first = (await store.overview.figures(minute, minute + MINUTE, NOON + HOUR)).tally
        second = (await store.overview.figures(minute + MINUTE, minute + 2 * MINUTE, NOON + HOUR)).tally
        whole = (await store.overview.figures(day, day + DAY, NOON + HOUR)).tally
    assert first == Tally(messages=1)
    assert second == Tally(messages=1, answers=1, responses=1, response_ms=300, response_max=300)
    assert whole.tokens == 7


async def test_a_transaction_that_is_undone_counts_nothing(sqlite: SqliteStorage) -> None:
    new = await sqlite.create(session())

    def breaks() -> None:
        raise ValueError("told to break")

    appends = [sqlite.append(entry(new.id, timestamp=NOON), Change(active=True, tokens=2)) for _ in range(5)]
    outcomes = await asyncio.gather(*appends, sqlite._writer.run(breaks), return_exceptions=True)
    assert sum(isinstance(outcome, ValueError) for outcome in outcomes) == 1
    tally = (await sqlite.overview.figures(NOON - HOUR, NOON + HOUR, NOON + HOUR)).tally
    assert (tally.messages, tally.tokens) == (5, 10)


async def test_a_message_in_an_active_session_touches_nothing_that_lists_are_made_from(sqlite: SqliteStorage) -> None:
    one = await said(sqlite, "ada", NOON)
    db = sqlite._ledger._db
    statements: list[str] = []
    db.set_trace_callback(statements.append)
    await sqlite.append(entry(one.id, timestamp=NOON + 1), Change(active=True))
    db.set_trace_callback(None)
    assert [word for sql in statements for word in ("listed", "hours", "periods") if word in sql] == []
    assert sum("INTO tallies" in sql for sql in statements) == 2


async def test_the_peak_of_an_hour_is_found_once(sqlite: SqliteStorage) -> None:
    await ended(sqlite, await said(sqlite, "ada", NOON - 2 * HOUR))
    for _ in range(2):
        assert (await sqlite.overview.figures(NOON - DAY, NOON, NOON)).max_concurrent == 1
    with closing(sqlite3.connect(sqlite._path)) as db:
        assert db.execute("SELECT peak FROM hours WHERE opened > 0").fetchall() == [(1,)]
        db.execute("UPDATE hours SET peak = 5 WHERE opened > 0")
        db.commit()
    assert (await sqlite.overview.figures(NOON - DAY, NOON, NOON)).max_concurrent == 5
    await ended(sqlite, await said(sqlite, "bob", NOON - 2 * HOUR))
    assert (await sqlite.overview.figures(NOON - DAY, NOON, NOON)).max_concurrent == 2


async def test_a_peak_that_was_found_before_its_hour_changed_is_not_kept(sqlite: SqliteStorage) -> None:
    await ended(sqlite, await said(sqlite, "ada", NOON - 2 * HOUR))
    hour = NOON - 2 * HOUR - NOON % HOUR
    old = Peak(hour, version=0, peak=9)
    await ended(sqlite, await said(sqlite, "bob", NOON - 2 * HOUR))
    await sqlite._write(lambda db: levels.keep(db, [old]))
    assert (await sqlite.overview.figures(NOON - DAY, NOON, NOON)).max_concurrent == 2


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seeded") / "chatbox.db"
    fill(path, Shape(3000, days=30, active=10_000), lambda line: None)
    return path


ALLOWED = (
    "SCAN sessions USING INDEX sessions_active",
    "SCAN sessions USING INDEX sessions_assisted",
    "SCAN page",
)


def plan(db: sqlite3.Connection, statements: list[str]) -> list[str]:
    return [
        step[3] for sql in statements for step in db.execute(f"EXPLAIN QUERY PLAN {sql}") if sql.startswith("SELECT")
    ]


def test_no_filter_in_any_order_scans_a_table(seeded: Path) -> None:
    flags, now = (None, True, False), 1_790_000_000_000
    spans: tuple[dict[str, int], ...] = ({}, {"start_from": now - DAY}, {"start_to": now - 9 * DAY})
    with closing(sqlite3.connect(seeded)) as db:
        for user_id, active, assisted, asked, span, by in product((None, "u"), flags, flags, flags, spans, SortBy):
            query = StaffQuery(
                user_id=user_id, active=active, admin_assisted=assisted, help_requested=asked, sort_by=by, **span
            )
            statements: list[str] = []
            db.set_trace_callback(statements.append)
            listing.page(db, query, now)
            listing.count(db, query)
            db.set_trace_callback(None)
            steps = plan(db, statements)
            assert [step for step in steps if step.startswith("SCAN") and step not in ALLOWED] == [], query


def test_a_page_without_a_range_sorts_only_active_sessions(seeded: Path) -> None:
    with closing(sqlite3.connect(seeded)) as db:
        for by, descending in product(SortBy, (True, False)):
            statements: list[str] = []
            db.set_trace_callback(statements.append)
            listing.page(db, StaffQuery(sort_by=by, descending=descending, active=False), NOON)
            db.set_trace_callback(None)
            assert plan(db, statements).count("USE TEMP B-TREE FOR ORDER BY") == 1, by  # of the page itself


def test_no_figure_scans_a_table(seeded: Path) -> None:
    now = 1_790_000_000_000
    with closing(sqlite3.connect(seeded, isolation_level=None)) as db:
        statements: list[str] = []
        db.set_trace_callback(statements.append)
        overview.figures(db, now - 9 * DAY, now, now)
        for step in (HOUR, MINUTE):
            overview.series(db, now - DAY, now, step, now)
        for session_id, admin_id, before in product((None, "s"), (None, "staff-1"), (None, (now, "s", 1))):
            overview.takeovers(db, session_id, admin_id, before, 10)
        db.set_trace_callback(None)
        steps = plan(db, statements)
    unnamed = ("SCAN (subquery", "SCAN takeovers USING INDEX takeovers_by_start")
    scans = [step for step in steps if step.startswith("SCAN") and step not in ALLOWED]
    assert [step for step in scans if not step.startswith(unnamed)] == []


async def test_made_up_sessions_are_the_same_for_a_seed_and_can_be_listed(seeded: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.db"
    fill(again, Shape(3000, days=30, active=10_000), lambda line: None)
    assert summed_up(again) == summed_up(seeded)
    async with SqliteStorage(again) as store:
        assert await store.overview.count(StaffQuery()) == 3030
        assert await store.overview.count(StaffQuery(active=True)) == len(await ids(store, active=True)) == 30


def test_the_tables_can_be_brought_to_an_earlier_version(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "chatbox.db", isolation_level=None)) as db:
        migrate(db, BEFORE)
        assert db.execute("PRAGMA user_version").fetchone() == (BEFORE,)
        migrate(db)
        assert db.execute("SELECT count(*) FROM listed").fetchone() == (0,)
