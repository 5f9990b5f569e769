"""Keys change while the service runs: every row stays readable, and a rotation that was cut short goes on."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

import pytest
from msgspec.structs import replace

from chatbox.errors import StorageCorrupt
from chatbox.session import Change, Entry, Kind, Session
from chatbox.storage.base import CellStorage, Partial, Renewal, SessionQuery, Storage
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.records import Record
from chatbox.storage.rotate import BATCH, rotate
from chatbox.storage.sqlite import SqliteStorage
from tests.storage.conftest import CELL_STORES
from tests.storage.processes import program, rest, until
from tests.storage.values import entry, ring, session


def token(number: int) -> str:
    return f"token-{number}"


async def filled(storage: Storage, sessions: int, messages: int) -> list[Session]:
    """Sessions with everything that is sealed; each one's answer is running."""
    return [await conversation(storage, number, messages) for number in range(sessions)]


async def conversation(storage: Storage, number: int, messages: int) -> Session:
    new = session(user_name="Ada", assisting_admin_name="Bob", context={"page": "/"})
    await storage.create(new)
    hello = [entry(new.id, content="Hello", metadata={"lang": "en"}) for _ in range(messages)]
    await asyncio.gather(*(storage.append(one, Change(first_name="Greeting")) for one in hello))
    await storage.append(entry(new.id, kind=Kind.SHARE), Change(share_token=token(number)))
    taken = await storage.append(entry(new.id, kind=Kind.TURN), Change(takes_turn="answer"))
    await storage.keep(Partial(new.id, "answer", 1, "Paris"))
    await storage.records.add(record(new.id))
    return taken.session


def record(name: str) -> Record:
    return Record(kind="audit", id=name, key="ada", data={"text": ["Hello"]})


async def everything(
    storage: Storage, sessions: list[Session]
) -> list[tuple[Session | None, list[Entry], Partial | None]]:
    ids = [one.id for one in sessions]
    return [(await storage.get(one), await storage.read(one), await storage.partial(one)) for one in ids]


async def values_not_under(cells: CellStorage, key_id: str) -> int:
    return sum([len(batch) async for batch in cells.stale(ring(key_id).prefix, BATCH)])


async def test_everything_is_sealed_again_and_reads_as_before(cells: CellStorage) -> None:
    sessions = await filled(EncryptedStorage(cells, ring("old")), 3, 5)
    before = await everything(EncryptedStorage(cells, ring("old")), sessions)
    seen: list[int] = []
    assert await rotate(cells, ring("new", "old"), seen.append) == 3 * (5 + 7 + 1 + 1) == seen[-1]
    assert seen == sorted(seen)
    assert await values_not_under(cells, "new") == 0
    assert await everything(EncryptedStorage(cells, ring("new")), sessions) == before


async def test_the_old_key_is_not_needed_after_the_rotation_and_is_before(tmp_path: Path) -> None:
    path = tmp_path / "chatbox.db"
    async with EncryptedStorage(SqliteStorage(path), ring("old")) as storage:
        sessions = await filled(storage, 2, 2)
    async with EncryptedStorage(inner := SqliteStorage(path), ring("new", "old")):
        with pytest.raises(StorageCorrupt):
            await EncryptedStorage(inner, ring("new"))._check_keys()
        await rotate(inner, ring("new", "old"), lambda _: None)
    async with EncryptedStorage(SqliteStorage(path), ring("new")) as storage:
        for number, expected in enumerate(sessions):
            assert await storage.find(SessionQuery(share_token=token(number))) == [expected]


async def test_a_rotation_with_nothing_to_do_does_nothing(cells: CellStorage) -> None:
    assert await rotate(cells, ring("new"), lambda _: None) == 0
    await filled(EncryptedStorage(cells, ring("new")), 1, 1)
    assert await rotate(cells, ring("new"), lambda _: None) == 0


async def test_what_was_written_under_the_old_key_meanwhile_is_sealed_again_too(sqlite: SqliteStorage) -> None:
    old = EncryptedStorage(sqlite, ring("old", "new"))
    (new,) = await filled(old, 1, 3)
    renamings: list[asyncio.Task[object]] = []

    def rename(_: int) -> None:
        if not renamings:
            renamings.append(asyncio.create_task(old.append(entry(new.id), Change(name="Renamed"))))

    await rotate(sqlite, ring("new", "old"), rename)
    await renamings[0]
    assert await values_not_under(sqlite, "new") == 0


async def test_an_append_after_a_rotation_gives_back_what_was_sealed_again(cells: CellStorage) -> None:
    (new,) = await filled(EncryptedStorage(cells, ring("old")), 1, 1)
    await rotate(cells, ring("new", "old"), lambda _: None)
    appended = await EncryptedStorage(cells, ring("new")).append(entry(new.id))
    assert appended.session.name == "Greeting"


@pytest.mark.parametrize(("kind", "sessions", "messages"), [("sqlite", 8, 150), ("mongo", 2, 15)])
async def test_every_row_is_readable_while_keys_rotate_under_load(
    tmp_path: Path, kind: str, sessions: int, messages: int
) -> None:
    inner = CELL_STORES[kind](tmp_path)
    async with EncryptedStorage(inner, ring("old")) as storage:
        talks = await filled(storage, sessions, messages)
    async with EncryptedStorage(inner, ring("new", "old")) as storage:
        load = [asyncio.create_task(use(storage, one)) for one in talks]
        await rotate(inner, ring("new", "old"), lambda _: None)
        done = asyncio.gather(*load)
        await asyncio.sleep(0.05)
        for task in load:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await done
        assert await values_not_under(inner, "new") == 0
    async with EncryptedStorage(inner, ring("new")) as storage:
        for _, log, _ in await everything(storage, talks):
            assert [found.index for found in log] == list(range(1, len(log) + 1))
            assert len(log) > messages + 2


async def use(storage: Storage, one: Session) -> None:
    """Write and rename, and read everything, for ever."""
    for number in count():
        written = await storage.append(entry(one.id, content=str(number)), Change(name=str(number)))
        await storage.keep(Partial(one.id, "answer", 1, str(number)))
        stored, log, partial = (await everything(storage, [one]))[0]
        assert stored == written.session
        assert log[-1].content == stored.name == str(number)
        assert partial == Partial(one.id, "answer", 1, str(number))
        assert log[0].content == "Hello"


async def test_a_rotation_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "chatbox.db"
    async with EncryptedStorage(SqliteStorage(path), ring("old")) as storage:
        sessions = await filled(storage, 5, 4 * BATCH)
        before = await everything(storage, sessions)
    async with program("renew", path) as running:
        await until(running, "rotated")
        running.kill()
        await rest(running)
    async with EncryptedStorage(inner := SqliteStorage(path), ring("new", "old")) as storage:
        assert await everything(storage, sessions) == before
        left = await values_not_under(inner, "new")
        assert 0 < left < 5 * (4 * BATCH + 8)
        assert await rotate(inner, ring("new", "old"), lambda _: None) == left
    async with EncryptedStorage(SqliteStorage(path), ring("new")) as storage:
        assert await everything(storage, sessions) == before


async def test_a_value_that_changed_meanwhile_is_left_alone(cells: CellStorage) -> None:
    storage = EncryptedStorage(cells, ring("old"))
    new = (await filled(storage, 1, 1))[0]
    (found,) = [batch async for batch in cells.stale(ring("new").prefix, 100) if batch[0].table == "sessions"][:1]
    name = next(cell for cell in found if cell.column == "name")
    await storage.append(entry(new.id), Change(name="Renamed"))
    assert await cells.rewrite([Renewal(name, "v1.new.late")]) == 0
    assert await cells.rewrite([Renewal(replace(name, session_id="gone", row="gone"), "v1.new.late")]) == 0
    stored = await storage.get(new.id)
    assert stored is not None
    assert stored.name == "Renamed"


async def test_values_that_do_not_open_are_left_and_reported_at_the_end(tmp_path: Path) -> None:
    async with EncryptedStorage(inner := SqliteStorage(tmp_path / "chatbox.db"), ring("old")) as storage:
        new = (await filled(storage, 1, 5))[0]
        await inner._writer.run(lambda: inner._ledger._db.execute("UPDATE messages SET content = 'x' WHERE idx = 2"))
        with pytest.raises(StorageCorrupt, match="1 values"):
            await rotate(inner, ring("new", "old"), lambda _: None)
        assert await values_not_under(inner, "new") == 1
        both = EncryptedStorage(inner, ring("new", "old"))
        assert len(await both.read(new.id, after=2)) == 5
        with pytest.raises(StorageCorrupt):
            await EncryptedStorage(inner, ring("new"))._check_keys()
