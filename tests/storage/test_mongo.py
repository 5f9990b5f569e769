"""What is particular to the store in MongoDB: how it is opened and closed, its indexes, what lies in its documents."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chatbox.config import Config
from chatbox.errors import ConfigError, StorageBusy, StorageCorrupt, StorageError
from chatbox.session import Change, Kind, Session, day_of
from chatbox.storage import open_storage
from chatbox.storage.base import Partial, SessionQuery
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.mongo import MongoSettings, MongoStorage, cells, database, ledger, queries, sweep
from chatbox.storage.mongo.client import open_client
from chatbox.storage.mongo.database import COLLECTIONS, INDEXES
from chatbox.storage.mongo.states import Crowded, State, States
from tests.mongo_peer import MongoPeer
from tests.redis_server import free_port
from tests.storage.mongo import shared
from tests.storage.processes import ROOT
from tests.storage.test_encrypted import CANARY, assisted, filled
from tests.storage.values import NOON, answer, entry, ring, session, turn

SECRET = "Zk3vW8qLr5TnX1cYb7Hd9Fg2Jm4Ps6Ua"


async def started(storage: MongoStorage, **fields: Any) -> Session:
    new = await storage.create(session(**fields))
    return (await storage.append(entry(new.id, timestamp=new.last_activity), Change(active=True))).session


async def periods(storage: MongoStorage, session_id: str) -> list[tuple[int, int]]:
    """A session's closed periods: the last one lies in its document."""
    found = await storage._db.periods.find({"session": session_id}).sort("_id").to_list()
    document = await storage._db.sessions.find_one({"_id": session_id}) or {}
    last = [tuple(document["period"][1:])] if "period" in document else []
    return [(one["start"], one["end"]) for one in found] + last


# -- opening and closing ----------------------------------------------------------------------------------------------


def test_the_settings_name_the_store(tmp_path: Path) -> None:
    base = {"mode": "development", "jwt_secret": SECRET, "data_dir": tmp_path}
    config = Config(
        **base,
        store_url="mongodb://one,two:27018/?replicaSet=rs",
        mongo_database="talk",
        mongo_collection="chats",
        mongo_connect_timeout="3s",
        mongo_retry_attempts=7,
        mongo_retry_delay="50ms",
        mongo_retry_max_delay="1s",
    )
    storage = open_storage(config)
    assert isinstance(storage, MongoStorage)
    assert storage._settings == MongoSettings(config.store_url, "talk", "chats", 3.0, 7, 0.05, 1.0)
    older = Config(**base, mongo_uri="mongodb://old/")
    assert open_storage(older)._settings.url == "mongodb://old/"  # type: ignore[attr-defined]
    assert not isinstance(
        open_storage(Config(**base, mongo_uri="mongodb://old/", store_url="sqlite:///x")), MongoStorage
    )


def test_answers_that_do_not_fit_in_a_document_are_refused_at_the_start(tmp_path: Path) -> None:
    env = {"CHATBOX_MODE": "development", "CHATBOX_DATA_DIR": str(tmp_path), "MAX_ANSWER_SIZE": "8388609"}
    Config.load(env)
    with pytest.raises(ConfigError, match="MAX_ANSWER_SIZE: more than fits in a document of MongoDB"):
        Config.load(env | {"STORE_URL": "mongodb://host/"})


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://ada:s3cr3t/@host/",
        "mongodb://ada:s3cr3t@host:99999/",
        "mongodb://ada:s3cr3t@host/?foo=1",
        "mongodb://ada:s3cr3t@host/?tls=perhaps",
        "mongodb://ada:s3cr3t@host/?socketTimeoutMS=soon",
    ],
)
def test_an_address_that_the_driver_would_only_warn_of_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match="STORE_URL") as refused:
        MongoStorage(MongoSettings(url))
    assert "s3cr3t" not in str(refused.value)


async def test_durability_can_not_be_switched_off_and_time_outs_can_be_chosen() -> None:
    client = open_client(
        MongoSettings("mongodb://host/?w=1&journal=false&readConcernLevel=local&heartbeatFrequencyMS=900")
    )
    assert client.write_concern.document == {"w": "majority", "j": True, "wtimeout": 5000}
    assert client.read_concern.level == "majority"
    assert client.options.pool_options.socket_timeout == 10.0
    assert client._topology_settings.heartbeat_frequency == 0.9
    assert open_client(MongoSettings("mongodb://host/"))._topology_settings.heartbeat_frequency == 0.5


async def test_a_server_that_is_not_there_is_waited_for_as_long_as_the_settings_say() -> None:
    settings = shared.at(free_port())._replace(connect_timeout=0.5)
    with pytest.raises(StorageBusy, match="check STORE_URL"):
        async with MongoStorage(settings):
            pass


async def test_a_server_that_comes_up_late_is_waited_for() -> None:
    with MongoPeer(durable=False) as late:
        late.kill()
        opening = asyncio.create_task(MongoStorage(shared.at(late.port)._replace(connect_timeout=60.0)).__aenter__())
        await asyncio.sleep(0.5)
        await asyncio.to_thread(late.start)
        storage = await opening
        await storage.check()
        await storage.__aexit__(None, None, None)


async def test_a_database_of_a_newer_version_is_refused(mongo: MongoStorage) -> None:
    await mongo._db.state.update_one({"_id": "version"}, {"$set": {"number": 1000}})
    with pytest.raises(StorageError, match="a newer Chatbox wrote it"):
        async with MongoStorage(mongo._settings):
            pass


async def test_a_collection_with_other_data_is_refused(mongo: MongoStorage) -> None:
    settings = mongo._settings._replace(collection="other")
    other = mongo._db._client[settings.database]["other"]
    await other.insert_many([{"user_id": "ada", "is_active": True} for _ in range(2)])
    with pytest.raises(StorageError, match="MONGO_COLLECTION"):
        async with MongoStorage(settings):
            pass


async def test_conversations_that_another_program_wrote_are_not_taken_for_ours(mongo: MongoStorage) -> None:
    await mongo._db.sessions.insert_one({"_id": "old", "user_id": "ada", "messages": ["Hello"], "revision": 0})
    with pytest.raises(StorageCorrupt):
        async with EncryptedStorage(MongoStorage(mongo._settings), ring("new")):
            pass


async def test_two_stores_in_one_database_know_nothing_of_each_other(mongo: MongoStorage) -> None:
    async with MongoStorage(mongo._settings._replace(collection="other")) as other:
        new = await started(mongo)
        assert await other.get(new.id) is None
        await started(other)
        assert await mongo.find(SessionQuery()) == [new]


async def test_what_was_stored_is_there_for_the_next_process(mongo: MongoStorage) -> None:
    new = await started(mongo, response_times=[1, 2], context={"page": "/"})
    running = await mongo.append(turn(new.id), Change(takes_turn="answer", tokens=3))
    await mongo.keep(Partial(new.id, "answer", 1, "Paris"))
    log = await mongo.read(new.id)
    async with MongoStorage(mongo._settings) as after:
        assert await after.get(new.id) == running.session
        assert await after.read(new.id) == log
        assert await after.partial(new.id) == Partial(new.id, "answer", 1, "Paris")
        assert (await after.append(entry(new.id))).entry.index == 3


async def test_calls_after_the_close_are_refused_as_transient() -> None:
    async with MongoStorage(shared.settings()) as storage:
        new = await started(storage)
    for call in (storage.append(entry(new.id)), storage.get(new.id), storage.check()):
        with pytest.raises(StorageBusy, match="closed"):
            await call


async def test_more_operations_than_may_wait_are_refused_as_transient(
    mongo: MongoStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "QUEUE", 10)
    sessions = [await started(mongo, user_id=str(number)) for number in range(30)]
    results = await asyncio.gather(*(mongo.get(one.id) for one in sessions), return_exceptions=True)
    assert sum(isinstance(result, StorageBusy) for result in results) == 20
    assert await mongo.get(sessions[-1].id) == sessions[-1]


async def test_a_store_that_was_closed_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    async with MongoStorage(shared.settings()) as storage:
        await storage.check()
    async with asyncio.timeout(10):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.01)


# -- documents and indexes --------------------------------------------------------------------------------------------


async def test_every_index_of_the_table_is_made_and_no_other(mongo: MongoStorage) -> None:
    for name in COLLECTIONS:
        found = await getattr(mongo._db, name).index_information()
        expected = {index.name: index for index in INDEXES if index.collection == name}
        assert set(found) - {"_id_"} == set(expected)
        for key, index in expected.items():
            assert tuple(found[key]["key"]) == index.keys
            assert {option: found[key].get(option) for option in index.options} == index.options


def test_the_page_about_the_store_lists_every_index() -> None:
    page = (ROOT / "docs" / "design" / "mongodb.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.+) \|$", page, re.MULTILINE)
    assert listed == [(index.collection, index.name, index.purpose) for index in INDEXES]


QUERIES = {
    "active_of_user": (SessionQuery(active=True, idle_since=NOON), SessionQuery(user_id="ada", active=True)),
    "empty_of_user": (SessionQuery(empty=True, idle_since=NOON), SessionQuery(user_id="ada", empty=True)),
    "answering": (SessionQuery(answering=True),),
    "of_user": (SessionQuery(user_id="ada"), SessionQuery(user_id="ada", before=(NOON, "x"))),
    "by_activity": (SessionQuery(active=False, idle_since=NOON), SessionQuery(empty=None, limit=1)),
    "assisted": (SessionQuery(assisted=True),),
    "waiting": (SessionQuery(waiting=True), SessionQuery(waiting=True, assisted=False)),
    "share_token": (SessionQuery(share_token="token", empty=None),),
    "share_hash": (SessionQuery(share_hashes=("one", "two"), empty=None),),
}


@pytest.mark.parametrize("index", QUERIES)
async def test_every_query_that_the_service_makes_uses_its_index(mongo: MongoStorage, index: str) -> None:
    for query in QUERIES[index]:
        cursor = mongo._db.sessions.find(queries.conditions(query), hint=queries.index_for(query))
        plan = str((await cursor.sort(queries.NEWEST_FIRST).limit(100).explain())["queryPlanner"]["winningPlan"])
        assert f"'indexName': '{index}'" in plan


async def test_an_append_that_changes_nothing_else_is_two_writes(mongo: MongoStorage) -> None:
    new = await started(mongo)
    commands: list[str] = []
    run = mongo._db.run

    async def counted(operation: Any) -> Any:
        commands.extend(name for name in operation.__code__.co_names if name.endswith(("_one", "_many", "find")))
        return await run(operation)

    mongo._db.run = counted  # type: ignore[method-assign]
    await mongo.append(entry(new.id), Change(active=True))
    assert commands == ["insert_one", "update_one"]


async def test_each_closed_period_is_kept_until_its_session_is_deleted(mongo: MongoStorage) -> None:
    first, second = await started(mongo), await started(mongo)
    await mongo.append(entry(first.id, timestamp=NOON + 10), Change(active=True))
    await mongo.append(entry(first.id, timestamp=NOON + 70))
    await mongo.append(entry(first.id, timestamp=NOON + 99, kind=Kind.NOTIFICATION), Change(active=False))
    assert await periods(mongo, first.id) == [(NOON, NOON), (NOON + 10, NOON + 70)]
    assert await periods(mongo, second.id) == [(NOON, NOON)]
    await mongo.delete(first.id)
    assert await mongo._db.periods.count_documents({}) == 0
    assert await periods(mongo, second.id) == [(NOON, NOON)]


async def test_more_sessions_than_are_remembered_can_be_written_in_turn(
    mongo: MongoStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "REMEMBERED", 2)
    sessions = [await started(mongo, user_id=name) for name in "abcd"]
    for index in (2, 3):
        for one in sessions:
            assert (await mongo.append(entry(one.id))).entry.index == index
    assert len(mongo._ledger._known) == 2


async def test_a_text_that_a_late_holder_left_is_none(mongo: MongoStorage) -> None:
    new = await started(mongo)
    await mongo.append(turn(new.id), Change(takes_turn="answer"))
    await mongo._db.partials.insert_one({"_id": new.id, "answer_id": "older", "fence": 0, "content": "Lon"})
    assert await mongo.partial(new.id) is None
    assert [copy.partial for copy in await mongo.copies("", 1)] == [None]
    await mongo.keep(Partial(new.id, "answer", 1, "Par"))
    assert await mongo.partial(new.id) == Partial(new.id, "answer", 1, "Par")


async def test_an_entry_that_is_missing_in_the_log_is_told(mongo: MongoStorage) -> None:
    new = await started(mongo)
    for _ in range(3):
        await mongo.append(entry(new.id))
    await mongo._db.sessions.update_one({"_id": new.id}, {"$set": {"last_index": 1}})
    await mongo._db.messages.delete_one({"session": new.id, "index": 2})
    with pytest.raises(StorageCorrupt, match="missing"):
        await mongo.get(new.id)


async def test_a_damaged_session_keeps_neither_the_store_from_opening_nor_others_from_being_settled(
    mongo: MongoStorage,
) -> None:
    sessions = [await started(mongo, id=name, user_id=name) for name in "abc"]
    for one in sessions:
        for _ in range(2):
            await mongo.append(entry(one.id), Change(name="Geography"))
    lagging = {"$set": {"last_index": 1, "message_count": 1}}
    await mongo._db.sessions.update_many({}, lagging)
    await mongo._db.messages.delete_one({"session": "b", "index": 2})
    async with MongoStorage(mongo._settings) as after:
        found = {one.id: one.last_index for one in await after.find(SessionQuery())}
        assert found == {"a": 3, "b": 1, "c": 3}
        with pytest.raises(StorageCorrupt):
            await after.get("b")


async def test_a_session_in_which_others_keep_writing_does_not_keep_the_store_from_opening(
    mongo: MongoStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        await mongo.append(entry((await started(mongo, id=name, user_id=name)).id), Change(name="Geography"))
    await mongo._db.sessions.update_many({}, {"$set": {"last_index": 1, "message_count": 1}})
    settle = States.settle

    async def crowded(self: States, state: State, own: object = None) -> object:
        if state.summary.id == "b":
            raise Crowded("others keep writing")
        return await settle(self, state)

    monkeypatch.setattr(States, "settle", crowded)
    async with MongoStorage(mongo._settings) as after:
        found = {one.id: one.last_index for one in await after.find(SessionQuery(empty=None))}
        assert found["a"] == found["c"] == 2


async def test_an_entry_that_is_too_large_for_a_document_is_refused_and_the_log_goes_on(mongo: MongoStorage) -> None:
    new = await started(mongo)
    with pytest.raises(StorageError) as refused:
        await mongo.append(answer(new.id, content="x" * (17 * 2**20)))
    assert not refused.value.transient
    large = "x" * (4 * 2**20)
    await mongo.append(answer(new.id, content=large))
    assert [found.content for found in await mongo.read(new.id, after=1)] == [large]


async def test_usage_is_counted_once_for_each_answer_however_often_it_is_done(mongo: MongoStorage) -> None:
    new = await started(mongo)
    await mongo.append(answer(new.id), Change(tokens=7))
    await mongo._db.sessions.update_one({"_id": new.id}, {"$set": {"last_index": 1}})
    await mongo.get(new.id)
    assert await mongo.usage("ada", day_of(NOON)) == 7


async def test_what_several_processes_counted_in_a_minute_is_one_total(mongo: MongoStorage) -> None:
    async with MongoStorage(mongo._settings) as other:
        for user_id, store in (("ada", mongo), ("bob", other), ("cy", other)):
            await started(store, user_id=user_id)
    for limit in (1, 10):
        minute, *hours = await mongo.counted((0, 0), limit)
        assert minute.tally.messages == 3
        assert [hour.tally for hour in hours] == [minute.tally] * (limit > 1)


async def test_of_the_processes_one_sweeps_at_a_time(mongo: MongoStorage) -> None:
    async with MongoStorage(mongo._settings) as other:
        turns = [one._sweep._is_ours for one in (mongo, other, mongo)]
        assert [await turn() for turn in turns] == [False, False, False]
        long_ago = {"at": datetime.now(UTC) - sweep.INTERVAL}
        await mongo._db.state.update_one({"_id": "sweep"}, {"$set": long_ago})
        assert [await turn() for turn in turns] == [True, False, False]


async def test_the_sweep_goes_on_by_itself(mongo: MongoStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    new = await started(mongo)
    monkeypatch.setattr(sweep, "INTERVAL", sweep.INTERVAL / 1000)
    async with MongoStorage(mongo._settings):
        await mongo.append(entry(new.id))
        lagging = {"last_index": 1, "message_count": 1}
        await mongo._db.sessions.update_one({"_id": new.id}, {"$set": lagging, "$inc": {"revision": 1}})
        async with asyncio.timeout(30):
            while (await mongo.find(SessionQuery()))[0].last_index == 1:
                await asyncio.sleep(0.02)


# -- what is sealed ---------------------------------------------------------------------------------------------------


def contents(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file())


async def test_no_text_of_a_person_is_in_any_file_of_the_database(peer: MongoPeer) -> None:
    settings = shared.settings(peer.url)
    async with EncryptedStorage(MongoStorage(settings), ring("new")) as storage:
        await filled(storage)
        await assisted(storage)
        peer.kill()
    files = contents(peer.data)
    assert settings.database.encode() in files
    assert CANARY.encode() not in files
    peer.start()
    async with MongoStorage(settings._replace(collection="plain")) as storage:
        await filled(storage)
        await assisted(storage)
        peer.kill()
    files = contents(peer.data)
    for number in (10, 16, 17, 18):
        assert f"{number} {CANARY}".encode() in files


TAMPERING: dict[str, Any] = {
    "cut": [{"$set": {"content": {"$substrCP": ["$content", 0, 40]}}}],
    "replaced by plain text": {"$set": {"content": "I owe you a million"}},
    "under another message id": {"$set": {"message_id": "other"}},
    "no text": {"$set": {"content": 7}},
    "of no known kind": {"$set": {"kind": "spell"}},
}


@pytest.mark.parametrize("update", TAMPERING.values(), ids=TAMPERING)
async def test_an_entry_that_is_not_as_it_was_written_is_refused(mongo: MongoStorage, update: Any) -> None:
    storage = EncryptedStorage(mongo, ring("new"))
    new = await filled(storage)
    await mongo._db.messages.update_one({"session": new.id, "index": 1}, update)
    with pytest.raises(StorageCorrupt):
        await storage.read(new.id, limit=1)


@pytest.mark.parametrize("update", [{"context": '{"page": "/"}'}, {"context": "{"}, {"name": "Eve"}, {"fence": "7"}])
async def test_a_session_that_is_not_as_it_was_written_is_refused(mongo: MongoStorage, update: Any) -> None:
    storage = EncryptedStorage(mongo, ring("new"))
    new = await filled(storage)
    await mongo._db.sessions.update_one({"_id": new.id}, {"$set": update})
    with pytest.raises(StorageCorrupt):
        await storage.get(new.id)


async def test_values_are_walked_in_pieces_and_each_once(mongo: MongoStorage) -> None:
    storage = EncryptedStorage(mongo, ring("old"))
    for number in range(5):
        await filled(storage, f"{number}")
    for size in (1, 2, 7, 100):
        found = [cell async for batch in cells.walk(mongo._db, ring("new").prefix, size) for cell in batch]
        assert len(found) == len(set(found)) == 5 * (5 + 3 + 1 + 1)
