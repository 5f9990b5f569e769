"""What is said is sealed: nowhere in the clear, and refused when moved, cut, changed or written under another key."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from chatbox.errors import StorageCorrupt
from chatbox.keyring import Keyring
from chatbox.session import Change, Kind, Session, new_id
from chatbox.storage.base import CellStorage, Partial, SessionQuery, Storage
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.memory import MemoryStorage
from chatbox.storage.records import Record
from chatbox.storage.sqlite import SqliteStorage
from tests.storage.values import entry, ring, session

CANARY = "canary-4f1c"


async def filled(storage: Storage, text: str = CANARY) -> Session:
    """A session with the text wherever people's texts go."""
    new = session(
        name=f"1 {text}", user_name=f"2 {text}", assisting_admin_name=f"3 {text}", context={f"4 {text}": f"5 {text}"}
    )
    await storage.create(new)
    await storage.append(
        entry(new.id, content=f"6 {text}", metadata={f"7 {text}": f"8 {text}"}, file_url=f"9 {text}"),
        Change(name=f"10 {text}", first_name=f"11 {text}", context={f"12 {text}": f"13 {text}"}, active=True),
    )
    await storage.append(entry(new.id, kind=Kind.SHARE), Change(share_token=f"14 {text}"))
    taken = await storage.append(entry(new.id, kind=Kind.TURN), Change(takes_turn="answer"))
    await storage.keep(Partial(new.id, "answer", 1, f"15 {text}"))
    await storage.records.add(Record(kind="alert", id=new.id, data={f"16 {text}": [{"to": f"17 {text}"}]}))
    return taken.session


async def assisted(storage: Storage, text: str = CANARY) -> None:
    """A session that a member of staff with this name has."""
    new = await storage.create(session(user_id="bob"))
    await storage.append(entry(new.id, kind=Kind.ADMIN_JOIN), Change(joins="bea", admin_name=f"18 {text}"))


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


async def test_no_text_of_a_person_is_in_any_file(tmp_path: Path) -> None:
    async with EncryptedStorage(SqliteStorage(tmp_path / "chatbox.db"), ring("new")) as storage:
        await filled(storage)
        await assisted(storage)
        while_open = files(tmp_path)
    assert {"chatbox.db", "chatbox.db-wal", "chatbox.db-shm"} <= set(while_open)
    for name, content in (*while_open.items(), *files(tmp_path).items()):
        assert CANARY.encode() not in content, name


async def test_texts_that_were_not_sealed_would_be_found(tmp_path: Path) -> None:
    async with SqliteStorage(tmp_path / "chatbox.db") as storage:
        await filled(storage)
        await assisted(storage)
    content = files(tmp_path)["chatbox.db"]
    for number in (2, 3, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18):
        assert f"{number} {CANARY}".encode() in content


async def test_ids_and_times_stay_searchable(tmp_path: Path) -> None:
    path = tmp_path / "chatbox.db"
    async with EncryptedStorage(SqliteStorage(path), ring("new")) as storage:
        new = await filled(storage)
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT id, user_id, last_activity, message_count FROM sessions").fetchone()
    assert found == (new.id, new.user_id, new.last_activity, new.message_count)


async def test_the_hash_of_a_link_is_no_ones_to_see(cells: CellStorage) -> None:
    new = await filled(EncryptedStorage(cells, ring("new")))
    inner = await cells.get(new.id)
    assert new.share_hash is None
    assert inner is not None
    assert inner.share_hash == ring("new").hash(f"14 {CANARY}")


@pytest.fixture
async def tampered(tmp_path: Path) -> AsyncIterator[tuple[EncryptedStorage, sqlite3.Connection, Session]]:
    """A store with two sessions, and the hands of an attacker on its file."""
    path = tmp_path / "chatbox.db"
    async with EncryptedStorage(SqliteStorage(path), ring("new", "old")) as storage:
        new = await filled(storage)
        await storage.append(entry(new.id, message_id="second", content="another"))
        await filled(storage, "other")
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            yield storage, db, new


TAMPERING = {
    "moved to another message": "UPDATE messages SET content = (SELECT content FROM messages WHERE idx = 4)",
    "cut": "UPDATE messages SET content = substr(content, 1, length(content) - 4)",
    "cut to nothing": "UPDATE messages SET content = ''",
    "changed": "UPDATE messages SET content = substr(content, 1, 20) || 'AAAA' || substr(content, 25)",
    "replaced by plain text": "UPDATE messages SET content = 'I owe you a million'",
    "under an unknown key": "UPDATE messages SET content = replace(content, 'v1.new.', 'v1.gone.')",
    "under another key": "UPDATE messages SET content = replace(content, 'v1.new.', 'v1.old.')",
    "under another message id": "UPDATE messages SET message_id = 'm' || number",
    "moved to another session": "UPDATE messages SET session = 3 - session, idx = idx + 100",
}


@pytest.mark.parametrize("sql", TAMPERING.values(), ids=TAMPERING)
async def test_a_content_that_is_not_where_and_as_it_was_written_is_refused(
    tampered: tuple[EncryptedStorage, sqlite3.Connection, Session], sql: str
) -> None:
    storage, db, new = tampered
    db.execute(sql)
    with pytest.raises(StorageCorrupt):
        await storage.read(new.id, limit=1)


SESSION_TAMPERING = {
    "moved to another column": "UPDATE sessions SET name = user_name",
    "moved to another session": "UPDATE sessions SET name = (SELECT name FROM sessions WHERE number = 2)",
    "replaced by plain text": "UPDATE sessions SET user_name = 'Eve'",
    "replaced by a plain mapping": """UPDATE sessions SET context = '{"page": "/"}'""",
    "replaced by nothing sealed": """UPDATE sessions SET context = '{"sealed": ""}'""",
    "a link that is another's": "UPDATE sessions SET share_token = (SELECT share_token FROM sessions WHERE number = 2)",
}


@pytest.mark.parametrize("sql", SESSION_TAMPERING.values(), ids=SESSION_TAMPERING)
async def test_a_session_with_values_that_are_not_its_own_is_refused(
    tampered: tuple[EncryptedStorage, sqlite3.Connection, Session], sql: str
) -> None:
    storage, db, new = tampered
    db.execute(sql)
    with pytest.raises(StorageCorrupt):
        await storage.get(new.id)
    with pytest.raises(StorageCorrupt):
        await storage.find(SessionQuery())


async def test_a_kept_text_of_another_answer_is_refused(
    tampered: tuple[EncryptedStorage, sqlite3.Connection, Session],
) -> None:
    storage, db, new = tampered
    db.execute("UPDATE partials SET answer_id = 'other'")
    with pytest.raises(StorageCorrupt):
        await storage.partial(new.id)


async def test_a_link_is_found_before_it_was_sealed_again_under_a_new_key(cells: CellStorage) -> None:
    storage, token = EncryptedStorage(cells, ring("old")), new_id()
    await storage.create(new := session())
    await storage.append(entry(new.id, kind=Kind.SHARE), Change(share_token=token))
    both = EncryptedStorage(cells, ring("new", "old"))
    assert [found.id for found in await both.find(SessionQuery(share_token=token))] == [new.id]


@pytest.mark.parametrize("kind", [MemoryStorage, SqliteStorage])
@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (ring("new"), "key 'old', which is not configured"),
        (Keyring([("old", b"x" * 32)]), "key 'old' is not the one that the store was written under"),
    ],
)
async def test_a_store_does_not_open_without_the_keys_it_was_written_under(
    tmp_path: Path, kind: type[CellStorage], keys: Keyring, problem: str
) -> None:
    inner = kind(tmp_path / "chatbox.db") if kind is SqliteStorage else kind()
    async with EncryptedStorage(inner, ring("old")) as storage:
        new = await filled(storage)
    with pytest.raises(StorageCorrupt, match=problem):
        async with EncryptedStorage(inner, keys):
            pass
    async with EncryptedStorage(inner, ring("new", "old")) as storage:
        assert await storage.get(new.id) == new


async def test_a_store_written_without_encryption_is_not_taken_for_an_encrypted_one(cells: CellStorage) -> None:
    await filled(cells)
    with pytest.raises(StorageCorrupt, match="without encryption"):
        await EncryptedStorage(cells, ring("new"))._check_keys()


async def test_two_processes_begin_with_an_empty_store_at_once() -> None:
    class Slow(MemoryStorage):
        """While one looks for key checks, the other one begins."""

        async def key_checks(self) -> dict[str, str]:
            found = await super().key_checks()
            if not self._logs:
                await filled(EncryptedStorage(shared, ring("new")))
                await shared.replace_key_checks(EncryptedStorage(shared, ring("new"))._seals.key_check())
            return found

    shared = Slow()
    await EncryptedStorage(shared, ring("new"))._check_keys()


async def test_a_value_may_be_empty(cells: CellStorage) -> None:
    storage = EncryptedStorage(cells, ring("new"))
    await storage.create(new := session())
    appended = await storage.append(entry(new.id), Change(name="", context={}, share_token=""))
    assert await storage.get(new.id) == appended.session
    assert appended.session == replace(new, last_index=1, message_count=1, start_time=new.last_activity)
