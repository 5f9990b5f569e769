"""Everything that one store holds is copied into another: whole, once, and going on where it was cut short."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from chatbox.errors import StorageBusy, StorageError
from chatbox.session import Change, Kind, Session, day_of
from chatbox.storage import moving
from chatbox.storage.base import CellStorage, Counted, Partial, SessionQuery, Spent, Storage
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.memory import MemoryStorage
from chatbox.storage.mongo import MongoStorage, MongoTarget
from chatbox.storage.moving import Move, Moved, Progress
from chatbox.storage.overview import HOUR, MINUTE, Tally
from chatbox.storage.records import Record
from chatbox.storage.sqlite import SqliteStorage
from tests.storage.mongo import shared
from tests.storage.values import NOON, answer, entry, ring, session, turn

DAY = 24 * 3600 * 1000
RECORDS = 8


async def talk(storage: Storage, user_id: str, messages: int, **fields: Any) -> Session:
    """A conversation with everything that one can have, at the end of which an answer runs."""
    new = await storage.create(session(user_id=user_id, user_name="Ada", context={"page": "/"}, **fields))
    for number in range(messages):
        await storage.append(entry(new.id, timestamp=NOON + number), Change(active=True, first_name="Geography"))
    old = (await storage.append(answer(new.id, content="old", timestamp=NOON + DAY), Change(tokens=5))).entry
    await storage.append(answer(new.id, content="new"), Change(tokens=7, supersedes=old.message_id, response_ms=9))
    await storage.append(entry(new.id, kind=Kind.SHARE), Change(share_token=f"token {new.id}"))
    await storage.append(entry(new.id, kind=Kind.NOTIFICATION), Change(active=False))
    for change in (Change(joins="bea", admin_name="Bea"), Change(leaves=True), Change(joins="cy", admin_name="Cy")):
        await storage.append(entry(new.id, kind=Kind.ADMIN_JOIN), change)
    await storage.append(entry(new.id, kind=Kind.ADMIN_LEAVE), Change(leaves=True, active=True))
    await storage.append(turn(new.id), Change(active=True, takes_turn="answer"))
    await storage.keep(Partial(new.id, "answer", 3, "Par"))
    return new


def record(number: int, **fields: Any) -> Record:
    given = {"key": "ada", "at": NOON, "due": NOON if number % 2 else None, "version": 3, "data": {"text": ["Hello"]}}
    return Record(id=str(number), **given | {"kind": "alert" if number < 2 else "audit"} | fields)


async def fill(storage: Storage) -> list[Session]:
    talks = [await talk(storage, user_id, number) for number, user_id in enumerate(["ada", "bob", "ada", "eve"], 1)]
    for number in range(RECORDS):
        await storage.records.add(record(number))
    return [*talks, await storage.create(session(user_id="ada"))]


async def everything(store: CellStorage) -> tuple[list[Any], ...]:
    copies = await store.copies("", 1000)
    logs = [await store.read(copy.session.id) for copy in copies]
    spent, checks = await store.spent(("", ""), 1000), await store.key_checks()
    counted, records = await store.counted((0, 0), 1000), await store.recorded(("", ""), 1000)
    assert bool(copies) == bool(counted)
    return copies, logs, spent, sorted(checks.items()), counted, records


async def move(source: CellStorage, target: MongoTarget, origin: str = "here") -> tuple[Moved, list[Progress]]:
    seen: list[Progress] = []
    moved = await Move(source, target, copying=seen.append, comparing=seen.append).run(origin)
    return moved, seen


@pytest.fixture
async def target() -> AsyncIterator[MongoTarget]:
    async with MongoTarget(shared.settings()) as opened:
        yield opened


# -- what a store holds -----------------------------------------------------------------------------------------------


async def test_sessions_come_in_the_order_of_their_ids_with_their_periods_and_kept_texts(cells: CellStorage) -> None:
    first = await talk(cells, "ada", 2, id="b")
    second = await talk(cells, "ada", 1, id="c")
    empty = await cells.create(session(user_id="ada", id="a"))
    copies = await cells.copies("", 10)
    assert [copy.session for copy in copies] == [empty, await cells.get(first.id), await cells.get(second.id)]
    assert [copy.periods for copy in copies] == [(), ((NOON, NOON + DAY), (NOON, NOON + DAY)), ((NOON, NOON + DAY),)]
    assert [copy.partial for copy in copies] == [
        None,
        Partial(first.id, "answer", 3, "Par"),
        Partial(second.id, "answer", 3, "Par"),
    ]
    assert [copy.session.id for copy in await cells.copies("a", 1)] == ["b"]
    assert await cells.copies("c", 10) == []
    assert [[one.admin_id for one in copy.takeovers] for copy in copies] == [[], ["bea", "cy"], ["bea", "cy"]]
    assert await cells.sizes() == (3, 10 + 11)


async def test_usages_come_in_the_order_of_users_and_days(cells: CellStorage) -> None:
    for user_id in ("bob", "ada"):
        await talk(cells, user_id, 1)
    today, tomorrow = day_of(NOON), day_of(NOON + DAY)
    expected = [Spent(name, day, tokens) for name in ("ada", "bob") for day, tokens in ((today, 7), (tomorrow, 5))]
    assert await cells.spent(("", ""), 10) == expected
    assert await cells.spent(("ada", today), 2) == expected[1:3]
    assert await cells.spent(("bob", tomorrow), 10) == []


async def test_what_was_counted_comes_in_the_order_of_minutes_and_hours(cells: CellStorage) -> None:
    for user_id in ("bob", "ada"):
        await talk(cells, user_id, 1)
    today, tomorrow = (
        Tally(messages=4, tokens=14, responses=2, response_ms=18, response_max=9),
        Tally(messages=2, tokens=10),
    )
    days = ((NOON, today), (NOON + DAY, tomorrow))
    expected = [Counted(width, at - at % width, tally) for width in (MINUTE, HOUR) for at, tally in days]
    assert await cells.counted((0, 0), 10) == expected
    assert await cells.counted(expected[0].place, 2) == expected[1:3]
    assert await cells.counted(expected[-1].place, 10) == []


# -- copies -----------------------------------------------------------------------------------------------------------


async def test_a_copy_holds_what_the_original_does(cells: CellStorage, target: MongoTarget) -> None:
    await fill(EncryptedStorage(cells, ring("new")))
    await cells.replace_key_checks({"new": "check"})
    before = await everything(cells)
    moved, seen = await move(cells, target)
    assert await everything(target) == await everything(cells) == before
    assert moved == Moved(sessions=5, entries=4 * 9 + 1 + 2 + 3 + 4, tokens=4 * 12, mended=0, records=8)
    assert seen[0] == Progress(5, moved.entries)
    assert seen[1:] == [Progress(number, seen[number].entries) for number in range(1, 6)]


async def test_a_copy_is_used_on_under_the_same_keys(tmp_path: Path, target: MongoTarget) -> None:
    async with EncryptedStorage(SqliteStorage(tmp_path / "chatbox.db"), ring("new")) as source:
        talks = await fill(source)
        expected = [(await source.get(one.id), await source.read(one.id)) for one in talks]
        figures = await source.overview.figures(NOON - DAY, NOON + 2 * DAY, NOON + 3 * DAY)
        assert figures.tally.tokens == 4 * 12
        await move(source._inner, target)
    async with EncryptedStorage(MongoStorage(target._settings), ring("new")) as copy:
        assert [(await copy.get(one.id), await copy.read(one.id)) for one in talks] == expected
        (found,) = await copy.find(SessionQuery(share_token=f"token {talks[0].id}"))
        assert found.id == talks[0].id
        assert await copy.usage("ada", day_of(NOON)) == 14
        assert await copy.overview.figures(NOON - DAY, NOON + 2 * DAY, NOON + 3 * DAY) == figures
        assert await copy.records.find("alert", key="ada") == [record(1), record(0)]
        assert await copy.records.due("audit", NOON, 2) == [record(3), record(5)]
        assert await copy.records.replace(record(1))
        ended = await copy.append(answer(talks[0].id, content="Paris"), Change(ends_turn=True), fence=3)
        assert ended.entry.index == len(expected[0][1]) + 1
        moved = await copy.append(entry(talks[0].id), Change(active=True))
        assert moved.closed == (talks[2].id,)
        assert await copy.create(session(user_id="ada")) == talks[4]


async def test_long_logs_and_many_sessions_are_copied_in_pieces(
    target: MongoTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "PAGE", 2)
    monkeypatch.setattr(moving, "BATCH", 3)
    source = MemoryStorage()
    await fill(source)
    moved, seen = await move(source, target)
    assert await everything(target) == await everything(source)
    assert [one.sessions for one in seen] == [2, 4, 5, 1, 2, 3, 4, 5]
    assert moved.mended == 0


class Failing(MongoTarget):
    """Fails at the nth call that writes."""

    left = 10**6

    async def _do(self, name: str, *arguments: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise StorageBusy("cut short")
        return await getattr(super(), name)(*arguments)

    async def put(self, *arguments: Any) -> None:
        await self._do("put", *arguments)

    async def put_entries(self, *arguments: Any) -> None:
        await self._do("put_entries", *arguments)

    async def reached(self, *arguments: Any) -> None:
        await self._do("reached", *arguments)

    async def put_spent(self, *arguments: Any) -> None:
        await self._do("put_spent", *arguments)

    async def put_counted(self, *arguments: Any) -> None:
        await self._do("put_counted", *arguments)

    async def put_recorded(self, *arguments: Any) -> None:
        await self._do("put_recorded", *arguments)

    async def replace_key_checks(self, *arguments: Any) -> None:
        await self._do("replace_key_checks", *arguments)

    async def finish(self) -> None:
        await self._do("finish")


async def test_a_copy_that_is_cut_short_at_any_step_goes_on_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "PAGE", 2)
    monkeypatch.setattr(moving, "BATCH", 6)
    source = MemoryStorage()
    await fill(source)
    async with Failing(shared.settings()) as target:
        for left in range(1, 100):
            target.left = left
            try:
                moved, _ = await move(source, target)
            except StorageBusy:
                with pytest.raises(StorageError, match="chatbox migrate"):
                    async with MongoStorage(target._settings):
                        pass
            else:
                break
        assert left > 3
        assert moved.mended == 0
        assert await everything(target) == await everything(source)
    async with MongoStorage(target._settings) as store:
        await store.check()


async def test_what_changed_in_the_source_between_two_attempts_is_copied_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(moving, "PAGE", 1)
    source = MemoryStorage()
    for number in range(5):
        await talk(source, "ada", 2, id=f"s{number}")
    async with Failing(shared.settings()) as target:
        target.left = 9
        with pytest.raises(StorageBusy):
            await move(source, target)
        assert len(await target.copies("", 100)) == 3
        await source.delete("s0")
        await source.append(entry("s1"), Change(active=True))
        log = source._logs["s2"]
        log.entries[3] = replace(log.entries[3], content="sealed again")
        await source.create(session(id="s1b", user_id="ada"))
        target.left = 1000
        moved, _ = await move(source, target)
        assert moved.mended == 4
        assert await everything(target) == await everything(source)


async def test_records_that_changed_in_the_source_between_two_attempts_are_copied_as_they_are_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(moving, "BATCH", 3)
    source = MemoryStorage()
    for number in range(RECORDS):
        await source.records.add(record(number))
    async with Failing(shared.settings()) as target:
        target.left = 2
        with pytest.raises(StorageBusy):
            await move(source, target)
        assert len(await target.recorded(("", ""), 100)) == 6
        await source.records.remove("alert", "0")
        await source.records.replace(record(2, data={"text": "another"}))
        await source.records.add(record(2, kind="alert"))
        target.left = 1000
        moved, _ = await move(source, target)
        assert moved.records == RECORDS
        assert await everything(target) == await everything(source)


async def test_who_lost_the_only_active_or_empty_place_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "PAGE", 1)
    source = MemoryStorage()
    await source.create(session(id="a"))
    await talk(source, "bob", 1, id="b")
    async with Failing(shared.settings()) as target:
        target.left = 5
        with pytest.raises(StorageBusy):
            await move(source, target)
        assert len(await target.copies("", 100)) == 2
        await source.append(entry("a"))
        await source.create(session(id="c"))
        await talk(source, "bob", 1, id="d")
        target.left = 1000
        await move(source, target)
        assert await everything(target) == await everything(source)


async def test_a_copy_that_does_not_give_back_what_it_got_is_not_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    source = MemoryStorage()
    await fill(source)

    class Forgetful(MongoTarget):
        async def put_entries(self, entries: Any) -> None:
            await super().put_entries([one for one in entries if one.index != 3])

    async with Forgetful(shared.settings()) as target:
        with pytest.raises(StorageError, match="not in the target as it is in the source"):
            await move(source, target)
        with pytest.raises(StorageError, match="chatbox migrate"):
            async with MongoStorage(target._settings):
                pass


async def test_a_copy_that_does_not_give_back_its_records_is_not_finished() -> None:
    source = MemoryStorage()
    await fill(source)

    class Forgetful(MongoTarget):
        async def put_recorded(self, records: Any) -> None:
            await super().put_recorded([replace(one, version=0) for one in records])

    async with Forgetful(shared.settings()) as target:
        with pytest.raises(StorageError, match="records that it got"):
            await move(source, target)


async def test_a_copy_that_does_not_give_back_what_was_counted_is_not_finished() -> None:
    source = MemoryStorage()
    await fill(source)

    class Forgetful(MongoTarget):
        async def put_counted(self, counted: Any) -> None:
            await super().put_counted(counted[1:])

    async with Forgetful(shared.settings()) as target:
        with pytest.raises(StorageError, match="what was counted"):
            await move(source, target)


async def test_a_target_with_other_data_is_refused_and_left_as_it_is(mongo: MongoStorage) -> None:
    new = await mongo.create(session())
    source = MemoryStorage()
    await fill(source)
    async with MongoTarget(mongo._settings) as target:
        with pytest.raises(StorageError, match="holds conversations already"):
            await move(source, target)
    assert await mongo.find(SessionQuery(empty=None)) == [new]
    async with MongoStorage(mongo._settings):
        pass


async def test_a_target_that_holds_nothing_but_records_is_refused_too(mongo: MongoStorage) -> None:
    await mongo.records.add(record(1))
    async with MongoTarget(mongo._settings) as target:
        with pytest.raises(StorageError, match="holds conversations already"):
            await move(MemoryStorage(), target)
    assert await mongo.records.find("alert") == [record(1)]


async def test_a_copy_of_another_source_is_not_gone_on_with(target: MongoTarget) -> None:
    await target.begin("here")
    with pytest.raises(StorageError, match="here was being copied"):
        await move(MemoryStorage(), target, "there")
    assert (await move(MemoryStorage(), target, "here"))[0] == Moved(0, 0, 0, 0)
