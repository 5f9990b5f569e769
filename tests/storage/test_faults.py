"""A disk that fails or is full, and locks that others hold: refused as transient, nothing stored, no restart needed."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import stamina
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatbox.errors import NotFound, StorageBusy, StorageCorrupt, StorageError
from chatbox.session import Change, new_id
from chatbox.storage.sqlite import SqliteStorage, schema
from chatbox.storage.sqlite.groupcommit import translated
from tests.storage.processes import process, program, rest, said, until
from tests.storage.test_durability import needs_strace, stored
from tests.storage.values import entry, session

CODES = {name: getattr(sqlite3, name) for name in dir(sqlite3) if name.startswith("SQLITE_")}
EXTENDED = {name: code for name, code in CODES.items() if isinstance(code, int) and code > 0xFF}
TRANSIENT = {"BUSY", "LOCKED", "NOMEM", "INTERRUPT", "IOERR", "FULL", "CANTOPEN"}

one_store = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tmpfs_allowed() -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


@asynccontextmanager
async def failing_flushes(pid: int) -> AsyncIterator[None]:
    """Every fdatasync of a process fails with EIO. The tracer is killed: asked to go, it waits for the dead."""
    command = ["strace", "-f", "-q", "-p", str(pid), "-o", os.devnull, "-e", "trace=fdatasync"]
    async with process(*command, "-e", "inject=fdatasync:error=EIO"):
        yield


@needs_strace
@pytest.mark.readiness(issue=9)
async def test_writes_are_refused_while_flushes_fail_and_go_on_after(tmp_path: Path) -> None:
    path = tmp_path / "chatbox.db"
    async with program("steady", path) as running:
        lines = await until(running, "acked", 5)
        async with failing_flushes(running.pid):
            lines += await until(running, "busy", 5)
        lines += await until(running, "acked", 5)
        running.kill()
        lines += await rest(running)
    found = set(await stored(path))
    assert said("acked", lines) <= found
    assert not said("busy", lines) & found


@needs_strace
@pytest.mark.readiness(issue=9)
async def test_a_write_refused_by_a_failed_flush_does_not_come_back_by_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "chatbox.db"
    async with program("steady", path) as running:
        lines = await until(running, "acked", 5)
        async with failing_flushes(running.pid):
            lines += await until(running, "busy", 1)
            running.kill()
            lines += await rest(running)
    assert said("acked", lines) <= set(await stored(path))
    assert not said("busy", lines) & set(await stored(path))


@pytest.mark.skipif(not tmpfs_allowed(), reason="a small file system can't be mounted here")
@pytest.mark.readiness(issue=9)
async def test_a_full_disk_refuses_writes_until_there_is_room(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=1m none {tmp_path} && exec "$@"'
    async with program("fill", tmp_path / "chatbox.db", "unshare", "-rm", "sh", "-c", mount, "sh") as running:
        lines = await rest(running)
        assert await running.wait() == 0
    assert said("busy", lines)
    assert {f"again-{number}" for number in range(5)} <= said("acked", lines)
    assert said("stored", lines) == said("acked", lines)


@pytest.mark.readiness(issue=9)
async def test_a_full_database_refuses_writes_until_it_may_grow(sqlite: SqliteStorage) -> None:
    new = session()
    await sqlite.create(new)
    db = sqlite._ledger._db
    db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StorageBusy):
        await sqlite.append(entry(new.id, content="x" * 100_000))
    db.execute("PRAGMA max_page_count = 1000000")
    assert (await sqlite.append(entry(new.id))).entry.index == 1


@pytest.mark.readiness(issue=9)
async def test_a_lock_that_another_program_holds_is_waited_for_and_then_refused_as_transient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_TIMEOUT", 0.05)
    async with SqliteStorage(tmp_path / "chatbox.db") as storage:
        await storage.create(new := session())
        other = sqlite3.connect(tmp_path / "chatbox.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageBusy):
            await storage.append(entry(new.id))
        assert await storage.get(new.id) == new
        other.execute("COMMIT")
        assert (await storage.append(entry(new.id))).fresh
        other.close()


class Interruption:
    """Makes SQLite itself break off a statement of a connection, at its nth step from now."""

    def __init__(self, db: sqlite3.Connection, steps: int, times: int = 1) -> None:
        self._steps = steps
        self.left = times
        db.set_progress_handler(self, 1)

    def __call__(self) -> bool:
        self._steps -= 1
        if self._steps > 0 or self.left <= 0:
            return False
        self.left -= 1
        return True


@pytest.mark.readiness(issue=9)
@one_store
@given(steps=st.integers(1, 600))
async def test_an_append_that_breaks_off_at_any_step_stores_nothing_and_may_be_repeated(
    sqlite: SqliteStorage, steps: int
) -> None:
    user_id = new_id()
    first = await sqlite.create(session(user_id=user_id))
    await sqlite.append(entry(first.id), Change(active=True))
    second = await sqlite.create(session(user_id=user_id))
    before = [await sqlite.get(new.id) for new in (first, second)]
    message = entry(second.id)
    everything = Change(active=True, tokens=5, takes_turn="answer", response_ms=7, first_name="Name")
    interruption = Interruption(sqlite._ledger._db, steps)
    try:
        appended = await sqlite.append(message, everything)
    except StorageBusy:
        assert [await sqlite.get(new.id) for new in (first, second)] == before
        assert await sqlite.read(second.id) == []
        appended = await sqlite.append(message, everything)
    interruption.left = 0
    assert appended.fresh
    assert appended.closed == (first.id,)
    assert appended.session == await sqlite.get(second.id)


@pytest.mark.readiness(issue=9)
@one_store
@given(failures=st.integers(0, 30), attempts=st.integers(1, 20))
async def test_retrying_what_is_transient_stores_once_or_not_at_all(
    sqlite: SqliteStorage, failures: int, attempts: int
) -> None:
    await sqlite.create(new := session())
    message = entry(new.id)
    Interruption(sqlite._ledger._db, 1, times=failures)
    tried = 0

    def transient(error: Exception) -> bool:
        return isinstance(error, StorageError) and error.transient

    try:
        async for attempt in stamina.retry_context(on=transient, attempts=attempts, wait_initial=0, wait_jitter=0):
            with attempt:
                tried += 1
                await sqlite.append(message)
    except StorageBusy:
        assert tried == attempts
    sqlite._ledger._db.set_progress_handler(None, 1)
    assert len(await sqlite.read(new.id)) <= 1
    assert (await sqlite.append(message)).entry.index == 1


@pytest.mark.readiness(issue=9)
@given(name=st.sampled_from(sorted(EXTENDED)), text=st.text())
def test_the_code_and_not_the_text_decides_whether_an_error_is_transient(name: str, text: str) -> None:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = EXTENDED[name]
    ours = translated(error)
    assert isinstance(ours, StorageError)
    assert ours.transient == (name.split("_")[1] in TRANSIENT)
    assert isinstance(ours, StorageCorrupt) == (name.split("_")[1] in {"CORRUPT", "NOTADB"})


@pytest.mark.readiness(issue=9)
@pytest.mark.parametrize("error", [ValueError("database is locked"), NotFound("disk I/O error")])
def test_errors_that_are_not_the_databases_stay_what_they_are(error: Exception) -> None:
    assert translated(error) is error


@pytest.mark.readiness(issue=9)
async def test_a_permanent_error_is_raised_at_once_and_is_not_transient(sqlite: SqliteStorage) -> None:
    await sqlite.create(new := session())
    await sqlite.append(entry(new.id))
    with pytest.raises(StorageError) as refused:
        await sqlite.create(new)
    assert not refused.value.transient


@pytest.mark.readiness(issue=9)
async def test_when_a_transaction_fails_all_its_callers_are_told_and_nothing_is_stored(sqlite: SqliteStorage) -> None:
    await sqlite.create(new := session())
    Interruption(sqlite._ledger._db, 300)
    calls = [sqlite.append(entry(new.id)) for _ in range(20)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    stored_ones = [result for result in results if not isinstance(result, BaseException)]
    assert len(stored_ones) < 20
    assert all(isinstance(result, StorageBusy) for result in results if isinstance(result, BaseException))
    assert len(await sqlite.read(new.id)) == len(stored_ones)
    assert (await sqlite.append(entry(new.id))).entry.index == len(stored_ones) + 1


async def test_a_rollback_that_fails_too_does_not_stop_the_store(sqlite: SqliteStorage) -> None:
    await sqlite.create(new := session())
    interruption = Interruption(sqlite._ledger._db, 1, times=10**6)
    for _ in range(5):
        with pytest.raises(StorageBusy):
            await sqlite.append(entry(new.id))
    interruption.left = 0
    assert (await sqlite.append(entry(new.id))).entry.index == 1


async def test_a_damaged_file_is_refused_as_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "chatbox.db"
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(StorageCorrupt):
        async with SqliteStorage(path):
            pass


async def test_reads_report_damage_too(sqlite: SqliteStorage) -> None:
    await sqlite.create(new := session())
    other = sqlite3.connect(sqlite._path)
    other.execute("DROP TABLE partials")
    other.commit()
    with pytest.raises(StorageError):
        await sqlite.partial(new.id)
    other.close()
