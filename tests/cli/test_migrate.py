"""``chatbox migrate``: from the store in a file to MongoDB, also when it is killed on its way."""

from __future__ import annotations

import asyncio
import sys

import pytest
from pymongo import MongoClient

from chatbox.keyring import Keyring
from chatbox.session import Change, new_id
from chatbox.storage.base import SessionQuery
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.mongo import MongoSettings, MongoStorage
from chatbox.storage.records import Record
from chatbox.storage.sqlite import SqliteStorage
from tests.live import SECRET
from tests.mongo_peer import MongoPeer
from tests.processes import command, environment, serving
from tests.storage.values import NOON, entry, session

SESSIONS = 250


@pytest.fixture(scope="module")
def peer():
    with MongoPeer(durable=False) as started:
        yield started


@pytest.fixture
def env(tmp_path, peer):
    """A store in a file, to be copied to a database of its own."""
    database = {"MONGO_DATABASE": new_id(), "MIGRATE_TO": peer.url}
    return environment(tmp_path, CHATBOX_MODE="development", ENCRYPTION_KEY="k" * 32, **database)


KEYS = Keyring([("main", b"k" * 32)])


def source(folder):
    return EncryptedStorage(SqliteStorage(folder / "chatbox.db"), KEYS)


def copy(env):
    return EncryptedStorage(MongoStorage(MongoSettings(env["MIGRATE_TO"], env["MONGO_DATABASE"])), KEYS)


async def filled(folder, sessions):
    async with source(folder) as storage:
        for number in range(sessions):
            new = await storage.create(session(id=f"s{number:04}", user_id=f"user{number % 7}"))
            said = [entry(new.id, content=f"{number} {place}") for place in range(3)]
            await asyncio.gather(*(storage.append(one, Change(active=True, tokens=1)) for one in said))
        for number in range(sessions):
            await storage.records.add(record(number))
        return await contents(storage)


def record(number):
    return Record(kind="audit", id=f"{number:04}", key="ada", at=NOON + number, data={"text": "Hello"})


async def contents(storage):
    found = await storage.find(SessionQuery(limit=10_000))
    return [(one, await storage.read(one.id)) for one in sorted(found, key=lambda one: one.id)]


async def test_conversations_are_copied_and_the_server_goes_on_with_the_copy(tmp_path, env):
    before = await filled(tmp_path, 10)
    code, out, err = await command("migrate", env=env)
    assert (code, err) == (0, "")
    assert "10 conversations with 30 entries, and 10 records" in out
    assert "set STORE_URL" in out
    async with copy(env) as storage:
        assert await contents(storage) == before
        assert sum([await storage.usage(f"user{number}", "2026-09-21") for number in range(7)]) == 30
        assert await storage.records.find("audit") == [record(number) for number in reversed(range(10))]


async def test_a_copy_that_is_killed_goes_on_where_it_was(tmp_path, env):
    before = await filled(tmp_path, SESSIONS)
    with MongoClient(env["MIGRATE_TO"]) as client:
        state = client[env["MONGO_DATABASE"]]["sessions_state"]
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "chatbox", "migrate", env=env)
        async with asyncio.timeout(60):
            while not (state.find_one({"_id": "migration"}) or {}).get("reached"):
                await asyncio.sleep(0.005)
        process.kill()
        assert await process.wait() < 0
        reached = state.find_one({"_id": "migration"})["reached"]
        assert "" < reached < f"s{SESSIONS - 1:04}"
    code, _, err = await command("export", "--session", "s0001", "--to", str(tmp_path / "out"), env=env | in_mongo(env))
    assert code == 1
    assert "chatbox migrate" in err
    code, out, _ = await command("migrate", env=env)
    assert code == 0
    assert f"{SESSIONS} conversations with {3 * SESSIONS} entries" in out
    async with copy(env) as storage:
        assert await contents(storage) == before


def in_mongo(env):
    return {"STORE_URL": env["MIGRATE_TO"]}


async def test_a_second_copy_to_the_same_place_is_refused(tmp_path, env):
    await filled(tmp_path, 1)
    assert (await command("migrate", env=env))[0] == 0
    code, _, err = await command("migrate", env=env)
    assert code == 1
    assert "The target holds conversations already" in err


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("sqlite:///other.db", "MongoDB only"),
        ("mongodb://ada:s3cr3t/@host/", "STORE_URL"),
        ("mongodb://ada:s3cr3t@127.0.0.1:1/?serverSelectionTimeoutMS=100", "can't|check STORE_URL"),
    ],
)
async def test_what_can_not_be_a_target_is_told_without_its_password(env, to, said):
    code, out, err = await command("migrate", "--to", to, env=env | {"MONGO_CONNECT_TIMEOUT": "200ms"})
    assert code != 0
    assert any(part in err for part in said.split("|"))
    assert "s3cr3t" not in out + err


async def test_a_store_is_not_copied_to_itself(env):
    code, _, err = await command("migrate", env=env | in_mongo(env))
    assert code == 1
    assert "the store itself" in err


async def test_a_store_that_a_server_uses_is_not_copied(tmp_path, env):
    async with serving(tmp_path, CHATBOX_MODE="development", JWT_SECRET=SECRET):
        code, _, err = await command("migrate", env=env)
    assert code == 1
    assert "stop it first" in err
