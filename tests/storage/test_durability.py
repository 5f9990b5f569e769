"""What is acknowledged is on the disk, and survives the process."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.sqlite import SqliteStorage
from tests.storage.processes import program, rest, said, until
from tests.storage.program import SESSION
from tests.storage.values import ring

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


async def stored(path: Path) -> list[str]:
    """The message ids of the program's session, in order; positions have no holes."""
    async with EncryptedStorage(SqliteStorage(path), ring("new")) as storage:
        entries = await storage.read(SESSION, limit=10**6)
        session = await storage.get(SESSION)
    assert session is not None
    assert [found.index for found in entries] == list(range(1, len(entries) + 1))
    assert session.last_index == session.message_count == session.total_tokens == len(entries)
    return [found.message_id for found in entries]


async def test_everything_acknowledged_is_there_after_kills(tmp_path: Path) -> None:
    path, acked = tmp_path / "chatbox.db", set[str]()
    for messages in (1, 40, 200):
        async with program("flood", path) as running:
            lines = await until(running, "acked", messages)
            running.kill()
            lines += await rest(running)
        acked |= said("acked", lines)
        found = await stored(path)
        assert acked <= set(found)
        assert len(found) == len(set(found))


@needs_strace
async def test_a_flush_has_completed_between_each_commit_and_its_acknowledgement(tmp_path: Path) -> None:
    acked, early = await traced("few", tmp_path)
    assert len(acked) >= 100
    assert early == set()


@needs_strace
async def test_a_store_that_does_not_flush_would_be_found(tmp_path: Path) -> None:
    acked, early = await traced("unsafe", tmp_path)
    assert early == acked
    assert len(acked) == 30


async def traced(task: str, folder: Path) -> tuple[set[str], set[str]]:
    """The ids that a program acknowledged, and those of them that it acknowledged before they were flushed."""
    trace = folder / "trace"
    strace = ["strace", "-f", "-y", "-s", "65536", "-o", str(trace), "-e", "trace=pwrite64,fdatasync,write"]
    async with program(task, folder / "chatbox.db", *strace) as running:
        lines = await rest(running)
        assert await running.wait() == 0
    return said("acked", lines), unflushed(trace.read_text(errors="replace"))


def unflushed(trace: str) -> set[str]:
    """Ids acknowledged before a flush, begun after they were written to the log, had completed."""
    written, flushing, durable, early = set[str](), set[str](), set[str](), set[str]()
    for event in trace.splitlines():
        if "pwrite64(" in event and "-wal>" in event:
            written |= set(re.findall(r"id-\d{6}", event))
        elif "fdatasync(" in event and "-wal>" in event:
            flushing = set(written)
        elif " write(1" in event and "acked" in event:
            early |= set(re.findall(r"id-\d{6}", event)) - durable
        if re.search(r"fdatasync(\(| resumed).* = 0$", event):
            durable |= flushing
    return early


async def test_the_wrong_order_is_found_in_a_trace() -> None:
    commit = '7 pwrite64(5</x-wal>, "id-000001") = 4096'
    flush = ["7 fdatasync(5</x-wal> <unfinished ...>", "7 <... fdatasync resumed>) = 0"]
    acked = '6 write(1</pipe>, "acked id-000001") = 16'
    assert unflushed("\n".join([commit, *flush, acked])) == set()
    for order in ([commit, acked, *flush], [*flush, commit, acked], [commit, flush[0], acked, flush[1]]):
        assert unflushed("\n".join(order)) == {"id-000001"}


async def test_a_second_process_is_refused_and_a_restart_after_a_kill_is_not(tmp_path: Path) -> None:
    path = tmp_path / "chatbox.db"
    async with program("hold", path) as first:
        await until(first, "open")
        async with program("hold", path) as second:
            assert await rest(second) == []
            assert await second.wait() != 0
        first.kill()
        await first.wait()
        async with program("hold", path) as third:
            await until(third, "open")
