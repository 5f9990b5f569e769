"""What is particular to the store in a file: how it is opened and closed, what lies in it, how writes are grouped."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from chatbox.errors import StorageBusy, StorageError, StorageLocked
from chatbox.session import Change, Kind, Session
from chatbox.storage.base import Partial, SessionQuery
from chatbox.storage.sqlite import SqliteStorage, groupcommit, ledger, readers
from chatbox.storage.sqlite.queries import conditions
from chatbox.storage.sqlite.rows import SESSION_COLUMNS, session_row
from chatbox.storage.sqlite.schema import MIGRATIONS
from tests.storage.values import NOON, entry, session


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


async def started(storage: SqliteStorage, **fields: object) -> Session:
    new = session(**fields)
    await storage.create(new)
    return (await storage.append(entry(new.id), Change(active=True))).session


async def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "chatbox.db"
    async with SqliteStorage(path) as storage:
        new = await started(storage, response_times=[1, 2], context={"page": "/"})
        running = await storage.append(entry(new.id, kind=Kind.TURN), Change(takes_turn="answer", tokens=3))
        await storage.keep(Partial(new.id, "answer", 1, "Paris"))
        log = await storage.read(new.id)
    async with SqliteStorage(path) as storage:
        assert await storage.get(new.id) == running.session
        assert await storage.read(new.id) == log
        assert await storage.partial(new.id) == Partial(new.id, "answer", 1, "Paris")
        assert (await storage.append(entry(new.id))).entry.index == 3


async def test_the_files_are_their_owners_alone(tmp_path: Path) -> None:
    async with SqliteStorage(tmp_path / "chatbox.db") as storage:
        await started(storage)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys(["chatbox.db", "chatbox.db-wal", "chatbox.db-shm", "chatbox.db.lock"], 0o600)


async def test_a_file_is_opened_once_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "chatbox.db"
    (tmp_path / "other.db").symlink_to(path)
    async with SqliteStorage(path):
        for name in ("chatbox.db", "other.db"):
            with pytest.raises(StorageLocked, match="in use by another process"):
                async with SqliteStorage(tmp_path / name):
                    pass
    async with SqliteStorage(path):
        pass


async def test_a_file_that_can_not_be_opened_is_named_and_left_unlocked(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "folder", tmp_path / "file" / "chatbox.db"):
        for _ in range(2):
            with pytest.raises(StorageError, match=f"{path.name} can't be opened"):
                async with SqliteStorage(path):
                    pass


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chatbox.db"
    async with SqliteStorage(path):
        pass
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        db.execute("PRAGMA user_version = 1000")
    with pytest.raises(StorageError, match="a newer Chatbox wrote it"):
        async with SqliteStorage(path):
            pass


async def test_an_older_database_keeps_of_a_users_empty_sessions_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "chatbox.db"
    used, other = session(last_index=1, start_time=NOON), session(user_id="bob")
    older, old, newest = [
        session(id=name, last_activity=at) for name, at in (("d", NOON), ("b", NOON + 1), ("c", NOON + 1))
    ]
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"{MIGRATIONS[0]}; PRAGMA user_version = 1")
        columns = [row[1] for row in db.execute("PRAGMA table_info(sessions)") if row[1] != "number"]
        marks = ", ".join(f":{column}" for column in columns)
        for one in (used, other, older, newest, old):
            values = dict(zip(SESSION_COLUMNS, session_row(one), strict=True))
            db.execute(f"INSERT INTO sessions ({', '.join(columns)}) VALUES ({marks})", values)
        db.commit()
    async with SqliteStorage(path) as storage:
        found = await storage.find(SessionQuery(empty=None))
        assert {one.id: one for one in found} == {one.id: one for one in (used, newest, other)}
        assert await storage.create(session()) == newest


async def test_every_commit_is_flushed_and_what_is_deleted_is_overwritten(sqlite: SqliteStorage) -> None:
    settings = {name: sqlite._ledger._db.execute(f"PRAGMA {name}").fetchone()[0] for name in
                ("journal_mode", "synchronous", "secure_delete")}  # fmt: skip
    assert settings == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}


async def test_what_is_deleted_is_nowhere_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "chatbox.db"
    async with SqliteStorage(path) as storage:
        new = await started(storage)
        other = await started(storage)
        await storage.append(entry(new.id, content="canary"))
        await storage.append(entry(other.id, content="x" * 100_000))
    assert b"canary" in path.read_bytes()
    async with SqliteStorage(path) as storage:
        await storage.delete(new.id)
    assert b"canary" not in path.read_bytes()


async def test_a_calls_after_the_close_are_refused_as_transient(tmp_path: Path) -> None:
    async with SqliteStorage(tmp_path / "chatbox.db") as storage:
        new = await started(storage)
    with pytest.raises(StorageBusy):
        await storage.append(entry(new.id))
    with pytest.raises(StorageBusy):
        await storage.get(new.id)


async def test_what_was_called_before_the_close_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "chatbox.db"
    async with SqliteStorage(path) as storage:
        new = await started(storage)
        calls = [asyncio.ensure_future(storage.append(entry(new.id))) for _ in range(groupcommit.BATCH + 10)]
        reads = [asyncio.ensure_future(storage.get(new.id)) for _ in range(10)]
        await asyncio.sleep(0)
    assert all(appended.fresh for appended in await asyncio.gather(*calls))
    assert all(await asyncio.gather(*reads))
    assert rows(path, "SELECT count(*) FROM messages") == [(groupcommit.BATCH + 11,)]


async def test_each_closed_period_is_kept_until_its_session_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "chatbox.db"
    async with SqliteStorage(path) as storage:
        first, second = await started(storage), await started(storage)
        await storage.append(entry(first.id, timestamp=NOON + 10), Change(active=True))
        await storage.append(entry(first.id, timestamp=NOON + 70))
        await storage.append(entry(first.id, timestamp=NOON + 99, kind=Kind.NOTIFICATION), Change(active=False))
        sql = "SELECT id, start, end FROM periods JOIN sessions ON number = session ORDER BY periods.rowid"
        assert rows(path, sql) == [(first.id, NOON, NOON), (second.id, NOON, NOON), (first.id, NOON + 10, NOON + 70)]
        await storage.delete(first.id)
        assert rows(path, "SELECT count(*) FROM periods") == [(1,)]


class Commits:
    """Counts the transactions of a connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.count = 0
        db.set_trace_callback(self)

    def __call__(self, statement: str) -> None:
        self.count += statement == "COMMIT"


standing: list[asyncio.Future[None]] = []


async def blocked(storage: SqliteStorage) -> threading.Event:
    """The writer stands still until the event is set."""
    go, stands = threading.Event(), threading.Event()

    def wait() -> None:
        stands.set()
        go.wait()

    standing.append(asyncio.ensure_future(storage._writer.run(wait)))
    await asyncio.to_thread(stands.wait)
    return go


async def test_all_that_is_waiting_shares_a_commit_and_keeps_its_order(sqlite: SqliteStorage) -> None:
    new = await started(sqlite)
    go = await blocked(sqlite)
    calls = [asyncio.ensure_future(sqlite.append(entry(new.id, message_id=str(number)))) for number in range(200)]
    await asyncio.sleep(0)
    commits = Commits(sqlite._ledger._db)
    go.set()
    await asyncio.gather(*calls)
    assert commits.count == 2
    assert [found.message_id for found in (await sqlite.read(new.id))[1:]] == [str(number) for number in range(200)]


async def test_a_full_queue_of_writes_is_refused_as_transient(
    sqlite: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groupcommit, "QUEUE", 10)
    new = await started(sqlite)
    go = await blocked(sqlite)
    calls = [asyncio.ensure_future(sqlite.append(entry(new.id))) for _ in range(9)]
    await asyncio.sleep(0)
    with pytest.raises(StorageBusy, match="waiting"):
        await sqlite.append(entry(new.id))
    go.set()
    await asyncio.gather(*calls)
    assert (await sqlite.append(entry(new.id))).entry.index == 11


async def test_a_full_queue_of_reads_is_refused_as_transient(
    sqlite: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "QUEUE", 1)
    new = await started(sqlite)
    results = await asyncio.gather(sqlite.get(new.id), sqlite.get(new.id), return_exceptions=True)
    assert [type(result) for result in results] == [Session, StorageBusy]
    assert await sqlite.get(new.id) == new


async def test_cancelled_calls_neither_stop_the_others_nor_stay_in_the_queue(
    sqlite: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groupcommit, "QUEUE", 30)
    new = await started(sqlite)
    for _ in range(5):
        calls = [asyncio.ensure_future(sqlite.append(entry(new.id))) for _ in range(20)]
        await asyncio.sleep(0)
        for call in calls[::3]:
            call.cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 7
        await sqlite.check()


async def test_a_value_that_can_not_be_stored_fails_alone(sqlite: SqliteStorage) -> None:
    new = await started(sqlite)
    calls = [
        sqlite.append(entry(new.id)),
        sqlite.append(entry(new.id), Change(name="\ud800", tokens=1)),
        sqlite.append(entry(new.id)),
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["Appended", "UnicodeEncodeError", "Appended"]
    assert [found.index for found in await sqlite.read(new.id)] == [1, 2, 3]


async def test_more_sessions_than_are_remembered_can_be_written_in_turn(
    sqlite: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "REMEMBERED", 2)
    sessions = [await started(sqlite, user_id=name) for name in "abcd"]
    for index in (2, 3):
        for one in sessions:
            assert (await sqlite.append(entry(one.id))).entry.index == index
    assert len(sqlite._ledger._known) == 2


def test_a_writer_whose_loop_is_gone_goes_on_to_its_end(tmp_path: Path) -> None:
    async def abandoned() -> tuple[SqliteStorage, threading.Event]:
        storage = SqliteStorage(tmp_path / "chatbox.db")
        await storage.__aenter__()
        return storage, await blocked(storage)

    storage, go = asyncio.run(abandoned())
    go.set()
    storage._writer._queue.put(None)
    storage._writer._thread.join(10)
    assert not storage._writer._thread.is_alive()


@pytest.mark.parametrize(
    "query",
    [
        SessionQuery(user_id="ada"),
        SessionQuery(user_id="ada", before=(NOON, "x")),
        SessionQuery(user_id="ada", active=True),
        SessionQuery(active=True, idle_since=NOON),
        SessionQuery(answering=True),
        SessionQuery(assisted=True),
        SessionQuery(waiting=True),
        SessionQuery(empty=True, idle_since=NOON),
        SessionQuery(share_token="token", empty=None),
        SessionQuery(share_hashes=("one", "two"), empty=None),
    ],
)
async def test_every_query_that_the_service_makes_uses_an_index(sqlite: SqliteStorage, query: SessionQuery) -> None:
    where, values = conditions(query)
    sql = f"EXPLAIN QUERY PLAN SELECT * FROM sessions WHERE {where} ORDER BY last_activity DESC, id DESC LIMIT 100"
    plan = " ".join(row[3] for row in sqlite._ledger._db.execute(sql, values))
    assert "USING INDEX" in plan
