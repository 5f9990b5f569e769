"""What every store does with records, whatever it keeps them in."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from msgspec.structs import replace

from chatbox.errors import StorageBusy, StorageCorrupt
from chatbox.session import new_id
from chatbox.storage.base import CellStorage, Storage
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.memory import MemoryStorage
from chatbox.storage.mongo import MongoStorage
from chatbox.storage.mongo import records as mongo_records
from chatbox.storage.mongo.database import BY_KEY, BY_TIME, DUE, RECORD
from chatbox.storage.records import Record, Records
from chatbox.storage.sqlite import SqliteStorage
from chatbox.storage.sqlite import records as sqlite_records
from tests.mongo_peer import MongoPeer
from tests.storage.conftest import STORES, one_after_the_other
from tests.storage.mongo import shared
from tests.storage.processes import program, rest, said, until
from tests.storage.test_faults import Interruption
from tests.storage.values import NOON, ring, texts, words

T = TypeVar("T")

one_store = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""The store is shared by the examples: ids differ."""

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
"""Anything that JSON can hold."""


def record(**fields: Any) -> Record:
    given = {"kind": "alert", "id": new_id(), "key": "ada", "at": NOON, "data": {"text": "Help", "tries": [1, None]}}
    return Record(**given | fields)


async def added(records: Records, **fields: Any) -> Record:
    new = record(**fields)
    assert await records.add(new)
    return new


async def ids(found: Awaitable[list[Record]]) -> list[str]:
    return [one.id for one in await found]


async def test_a_record_is_found_by_its_kind_and_id(storage: Storage) -> None:
    new = await added(storage.records, due=NOON + 1, version=7)
    bare = Record(kind="audit", id=new.id)
    assert await storage.records.add(bare)
    assert await storage.records.get("alert", new.id) == new
    assert await storage.records.get("audit", new.id) == bare


async def test_what_does_not_exist_is_none_or_false(storage: Storage) -> None:
    records = storage.records
    assert await records.get("alert", "nothing") is None
    assert not await records.replace(record())
    assert not await records.remove("alert", "nothing")
    assert await records.find("alert") == await records.due("alert", NOON, 10) == []


async def test_an_id_is_taken_once_a_kind_and_the_first_record_stays(storage: Storage) -> None:
    new = await added(storage.records)
    assert not await storage.records.add(replace(new, key="bob", data={}, version=3))
    assert await storage.records.find("alert") == [new]


async def test_of_records_added_at_once_under_an_id_one_is_stored(storage: Storage) -> None:
    rivals = [record(id="same", data={"number": number}) for number in range(8)]
    outcomes = await asyncio.gather(*(storage.records.add(rival) for rival in rivals))
    assert sum(outcomes) == 1
    assert await storage.records.get("alert", "same") == rivals[outcomes.index(True)]


async def test_a_replacement_changes_everything_and_raises_the_version(storage: Storage) -> None:
    new = await added(storage.records, due=NOON)
    changed = replace(new, key="bob", at=NOON + 5, due=NOON + 9, data={"other": True})
    assert await storage.records.replace(changed)
    assert await storage.records.get("alert", new.id) == replace(changed, version=1)
    assert await storage.records.find("alert", key="ada") == []
    assert await storage.records.find("alert", key="bob") == [replace(changed, version=1)]
    assert await storage.records.replace(replace(changed, version=1, due=None, data={}))
    assert await storage.records.get("alert", new.id) == replace(changed, version=2, due=None, data={})
    assert await storage.records.due("alert", NOON + 100, 10) == []


@pytest.mark.parametrize("version", [0, 2])
async def test_only_the_version_that_is_stored_is_replaced(storage: Storage, version: int) -> None:
    new = await added(storage.records, version=1)
    assert not await storage.records.replace(replace(new, version=version, data={}))
    assert await storage.records.get("alert", new.id) == new


async def test_of_replacements_at_once_one_takes_effect(storage: Storage) -> None:
    new = await added(storage.records)
    rivals = [replace(new, data={"number": number}) for number in range(8)]
    outcomes = await asyncio.gather(*(storage.records.replace(rival) for rival in rivals))
    assert sum(outcomes) == 1
    assert await storage.records.get("alert", new.id) == replace(rivals[outcomes.index(True)], version=1)


async def test_work_that_many_claim_at_once_is_done_once(storage: Storage) -> None:
    new = [await added(storage.records, id=f"{number:02}", due=NOON + number) for number in range(12)]
    done: list[str] = []

    async def worker() -> None:
        while waiting := await storage.records.due("alert", NOON + 100, 3):
            done.extend([one.id for one in waiting if await storage.records.replace(replace(one, due=None))])

    await asyncio.gather(*(worker() for _ in range(4)))
    assert sorted(done) == [one.id for one in new]


async def test_what_is_removed_is_gone_and_its_id_is_free(storage: Storage) -> None:
    new, other = await added(storage.records), await added(storage.records, kind="audit")
    assert [await storage.records.remove("alert", new.id) for _ in range(2)] == [True, False]
    assert await storage.records.get("alert", new.id) is None
    assert not await storage.records.replace(new)
    assert await storage.records.find("alert") == []
    assert await storage.records.find("audit") == [other]
    assert await storage.records.add(replace(new, data={}))


async def test_records_are_listed_newest_first_with_ties_by_id(storage: Storage) -> None:
    for name, at in (("a", NOON), ("c", NOON), ("b", NOON), ("d", NOON + 1), ("e", NOON - 1)):
        await added(storage.records, id=name, at=at, key="ada" if name in "ace" else "bob")
    await added(storage.records, kind="audit", at=NOON + 9)
    find = storage.records.find
    assert await ids(find("alert")) == ["d", "c", "b", "a", "e"]
    assert await ids(find("alert", limit=2)) == ["d", "c"]
    assert await ids(find("alert", key="ada")) == ["c", "a", "e"]
    assert await ids(find("alert", key="eve")) == []
    assert await ids(find("alert", since=NOON)) == ["d", "c", "b", "a"]
    assert await ids(find("alert", since=NOON + 1, key="bob")) == ["d"]
    assert await ids(find("alert", before=(NOON, "c"))) == ["b", "a", "e"]
    assert await ids(find("alert", before=(NOON, "b"), since=NOON, key="ada")) == ["a"]
    assert await ids(find("alert", before=(NOON + 5, ""))) == ["d", "c", "b", "a", "e"]


async def test_what_is_due_is_listed_from_the_oldest_on(storage: Storage) -> None:
    for name, due in (("a", NOON), ("c", NOON - 5), ("b", NOON - 5), ("d", NOON + 1), ("e", None)):
        await added(storage.records, id=name, due=due, at=NOON + ord(name))
    await added(storage.records, kind="audit", due=NOON - 9)
    assert await ids(storage.records.due("alert", NOON, 10)) == ["b", "c", "a"]
    assert await ids(storage.records.due("alert", NOON, 2)) == ["b", "c"]
    assert await ids(storage.records.due("alert", NOON - 6, 10)) == []


@one_store
@given(data=st.dictionaries(texts, values, max_size=4), key=texts, kind=words, name=words)
async def test_data_come_back_as_they_were_stored(
    storage: Storage, data: dict[str, Any], key: str, kind: str, name: str
) -> None:
    new = await added(storage.records, kind=kind, id=f"{name} {new_id()}", key=key, data=data)
    assert await storage.records.get(*new.place) == new
    assert new in await storage.records.find(kind, key=key, limit=1000)


async def test_what_comes_back_is_the_callers_own(storage: Storage) -> None:
    new = await added(storage.records, due=NOON)
    new.data["tries"].append("more")
    for _ in range(2):
        got = await storage.records.get(*new.place)
        (listed,), (waiting,) = await storage.records.find("alert"), await storage.records.due("alert", NOON, 1)
        for found in (got, listed, waiting):
            assert found is not None
            assert found.data == {"text": "Help", "tries": [1, None]}
        for found in (got, listed, waiting):
            assert found is not None
            found.data.clear()


async def test_a_cancelled_call_is_found_out_by_looking(storage: Storage) -> None:
    new = [record() for _ in range(20)]
    calls = [asyncio.ensure_future(storage.records.add(one)) for one in new]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    there = [await storage.records.get(*one.place) for one in new]
    assert there[1::2] == new[1::2]
    assert [await storage.records.add(one) for one in new] == [one is None for one in there]


async def test_all_records_come_in_the_order_of_kinds_and_ids(cells: CellStorage) -> None:
    places = [("a", "2"), ("a", "10"), ("b", "1"), ("a:b", "0"), ("é", "1")]
    new = {place: await added(cells.records, kind=place[0], id=place[1]) for place in places}
    expected = [new[place] for place in sorted(places)]
    assert await cells.recorded(("", ""), 100) == expected
    assert await cells.recorded(expected[1].place, 2) == expected[2:4]
    assert await cells.recorded(expected[-1].place, 10) == []


# -- compared with the specification ----------------------------------------------------------------------------------

KINDS = st.sampled_from(["alert", "audit"])
NAMES = st.sampled_from(["a", "b", "c", "d"])
KEYS = st.sampled_from(["", "ada", "bob"])
TIMES = st.integers(NOON, NOON + 4)
some = st.builds(
    Record,
    kind=KINDS,
    id=NAMES,
    key=KEYS,
    at=TIMES,
    due=st.none() | TIMES,
    version=st.integers(0, 2),
    data=st.dictionaries(texts, values, max_size=2),
)


class Comparison(RuleBasedStateMachine):
    """Does everything to a store's records and to those in memory, and expects the same answers."""

    make: Callable[[Path], Storage]

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.store = type(self).make(Path(self.folder.name))
        self.runner.run(self.store.__aenter__())
        self.stores = [MemoryStorage().records, self.store.records]

    def teardown(self) -> None:
        self.runner.run(self.store.__aexit__(None, None, None))
        self.runner.close()
        self.folder.cleanup()

    def same(self, call: Callable[[Records], Awaitable[T]]) -> None:
        expected, actual = [self.runner.run(outcome(call(records))) for records in self.stores]
        assert actual == expected

    @rule(new=some)
    def add(self, new: Record) -> None:
        self.same(lambda records: records.add(new))

    @rule(new=some)
    def replace(self, new: Record) -> None:
        self.same(lambda records: records.replace(new))

    @rule(kind=KINDS, name=NAMES)
    def remove(self, kind: str, name: str) -> None:
        self.same(lambda records: records.remove(kind, name))

    @rule(
        kind=KINDS,
        key=st.none() | KEYS,
        since=st.none() | TIMES,
        before=st.none() | st.tuples(TIMES, NAMES),
        limit=st.integers(1, 5),
    )
    def find(self, kind: str, key: str | None, since: int | None, before: tuple[int, str] | None, limit: int) -> None:
        self.same(lambda records: records.find(kind, key=key, since=since, before=before, limit=limit))

    @rule(kind=KINDS, name=NAMES, now=TIMES, limit=st.integers(1, 5))
    def look(self, kind: str, name: str, now: int, limit: int) -> None:
        self.same(lambda records: records.get(kind, name))
        self.same(lambda records: records.due(kind, now, limit))


async def outcome(call: Awaitable[T]) -> T:
    return await call


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", sorted(set(STORES) - {"memory"}))
def test_records_answer_every_sequence_of_calls_as_the_specification_does(kind: str) -> None:
    machine = type("Machine", (Comparison,), {"make": staticmethod(one_after_the_other(kind))})
    machine.TestCase.settings = settings(max_examples=40, stateful_step_count=15)
    machine.TestCase("runTest").runTest()


# -- what is sealed ---------------------------------------------------------------------------------------------------

TAMPERING = {
    "moved to another id": "UPDATE records SET id = 'other'",
    "moved to another kind": "UPDATE records SET kind = 'audit'",
    "replaced by another's": "UPDATE records SET data = (SELECT data FROM records WHERE id = 'b')",
    "replaced by plain data": """UPDATE records SET data = '{"text": "I owe you a million"}'""",
    "nothing sealed": """UPDATE records SET data = '{"sealed": ""}'""",
    "cut": "UPDATE records SET data = json_object('sealed', substr(json_extract(data, '$.sealed'), 1, 40))",
    "no mapping": "UPDATE records SET data = '7'",
}


@pytest.mark.parametrize("sql", TAMPERING.values(), ids=TAMPERING)
async def test_data_that_are_not_where_and_as_they_were_written_are_refused(tmp_path: Path, sql: str) -> None:
    path = tmp_path / "chatbox.db"
    async with EncryptedStorage(SqliteStorage(path), ring("new")) as storage:
        for name in "ab":
            await added(storage.records, id=name, data={"text": name})
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(f"{sql} WHERE id = 'a'")
        with pytest.raises(StorageCorrupt):
            await storage.records.find("audit" if "SET kind" in sql else "alert")


async def test_ids_keys_and_times_stay_searchable(cells: CellStorage) -> None:
    storage = EncryptedStorage(cells, ring("new"))
    new = await added(storage.records, due=NOON + 7)
    stored = await cells.records.get(*new.place)
    assert stored is not None
    assert replace(stored, data=new.data) == new
    assert stored.data.keys() == {"sealed"}
    assert "Help" not in str(stored.data)


async def test_records_written_without_encryption_are_not_taken_for_encrypted_ones(cells: CellStorage) -> None:
    await added(cells.records)
    with pytest.raises(StorageCorrupt, match="without encryption"):
        await EncryptedStorage(cells, ring("new"))._check_keys()


# -- what is particular to a store ------------------------------------------------------------------------------------


async def test_records_in_a_file_are_there_for_the_next_process(tmp_path: Path) -> None:
    async with SqliteStorage(tmp_path / "chatbox.db") as storage:
        new = await added(storage.records)
    with pytest.raises(StorageBusy, match="closed"):
        await storage.records.get(*new.place)
    async with SqliteStorage(tmp_path / "chatbox.db") as storage:
        assert await storage.records.find("alert") == [new]


async def test_records_that_were_acknowledged_are_there_after_kills(tmp_path: Path) -> None:
    path, acked = tmp_path / "chatbox.db", set[str]()
    for times in (1, 40, 200):
        async with program("note", path) as running:
            lines = await until(running, "acked", times)
            running.kill()
            acked |= said("acked", lines + await rest(running))
        async with EncryptedStorage(SqliteStorage(path), ring("new")) as storage:
            found = {one.id: one for one in await storage.records.find("alert", limit=10**6)}
            waiting = {one.id for one in await storage.records.due("alert", 10**6, 10**6)}
        assert acked <= set(found)
        assert {found[name].version for name in acked} == {1}
        assert waiting == {one.id for one in found.values() if one.version == 0}
        assert {str(one.data) for one in found.values()} == {"{'text': 'Help'}"}


async def test_records_that_were_acknowledged_are_there_after_mongodb_was_killed(peer: MongoPeer) -> None:
    settings = shared.settings(peer.url)
    async with program("note", settings) as running:
        lines = await until(running, "acked", 20)
        peer.kill()
        running.kill()
        acked = said("acked", lines + await rest(running))
    peer.start()
    async with MongoStorage(settings) as storage:
        found = {one.id: one.version for one in await storage.records.find("alert", limit=10**6)}
    assert {found[name] for name in acked} == {1}


@one_store
@given(steps=st.integers(1, 60))
async def test_a_write_that_breaks_off_at_any_step_changes_nothing_and_may_be_repeated(
    sqlite: SqliteStorage, steps: int
) -> None:
    new = await added(sqlite.records, due=NOON)
    interruption = Interruption(sqlite._ledger._db, steps)
    try:
        replaced = await sqlite.records.replace(replace(new, due=None))
    except StorageBusy:
        assert await sqlite.records.get(*new.place) == new
        replaced = await sqlite.records.replace(replace(new, due=None))
    interruption.left = 0
    assert replaced
    assert await sqlite.records.get(*new.place) == replace(new, due=None, version=1)


LISTS: dict[str, dict[str, Any]] = {
    BY_TIME: {"key": None, "since": NOON, "before": (NOON, "x")},
    BY_KEY: {"key": "ada", "since": None, "before": (NOON, "x")},
}


def plan_of(db: sqlite3.Connection, read: Callable[[sqlite3.Connection], object]) -> str:
    """How SQLite does what is read."""
    sql: list[str] = []
    db.set_trace_callback(sql.append)
    read(db)
    db.set_trace_callback(None)
    return " ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql[0]}"))


async def test_every_list_of_the_file_uses_its_index_and_sorts_nothing(sqlite: SqliteStorage) -> None:
    db = sqlite._ledger._db
    for index, asked in {"records_by_time": LISTS[BY_TIME], "records_by_key": LISTS[BY_KEY]}.items():
        plan = plan_of(db, lambda db, asked=asked: sqlite_records.find(db, "alert", limit=9, **asked))  # type: ignore[misc]
        assert index in plan
        assert "TEMP B-TREE" not in plan
    assert "records_due" in plan_of(db, lambda db: sqlite_records.due(db, "alert", NOON, 9))
    assert "USING INDEX" in plan_of(db, lambda db: sqlite_records.after(db, ("alert", "a"), 9))


@pytest.mark.parametrize("index", LISTS)
async def test_every_list_of_mongodb_uses_its_index(mongo: MongoStorage, index: str) -> None:
    wanted = mongo_records.conditions("alert", **LISTS[index])
    plan = await mongo._db.records.find(wanted, hint=index).sort(mongo_records.NEWEST_FIRST).explain()
    assert f"'indexName': '{index}'" in str(plan["queryPlanner"]["winningPlan"])


async def test_what_is_due_and_copies_of_all_use_their_indexes_in_mongodb(mongo: MongoStorage) -> None:
    await added(mongo.records, due=NOON)
    hints: list[Any] = []
    find = mongo._db.records.find
    mongo._db.records.find = lambda *given, **options: hints.append(options["hint"]) or find(*given, **options)  # type: ignore[method-assign,func-returns-value]
    assert len(await mongo.records.due("alert", NOON, 9)) == len(await mongo.recorded(("", ""), 9)) == 1
    assert hints == [DUE, RECORD]
