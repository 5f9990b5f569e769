"""A MongoDB that fails, loses its answers or dies, and processes that die beside it: nothing acknowledged is lost,
nothing is stored twice, and what was left half done is finished by whoever comes next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pymongo import errors

from chatbox.errors import Fenced, NotFound, StorageBusy, StorageError
from chatbox.session import Change, Kind, Session, day_of
from chatbox.storage.base import Partial, SessionQuery
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.mongo import MongoSettings, MongoStorage
from chatbox.storage.mongo import sweep as sweep_module
from chatbox.storage.mongo.attempts import TRANSIENT_CODES, Attempts, transient, translated
from chatbox.storage.records import Record
from chatbox.storage.rotate import rotate
from tests import mutants
from tests.mongo_peer import MongoPeer
from tests.proxy import TO_SERVER, Link, Proxy
from tests.storage.mongo import shared
from tests.storage.processes import program, rest, said, until
from tests.storage.program import SESSION
from tests.storage.test_retry import recorded_waits
from tests.storage.values import NOON, answer, entry, ring, session, turn

NOT_PRIMARY = {"errorCode": 10107}
SHUTTING_DOWN = {"errorCode": 91}
CUT = {"closeConnection": True}
NO_MAJORITY = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}
FAILURES = {"not primary": NOT_PRIMARY, "shutting down": SHUTTING_DOWN, "cut": CUT, "no majority": NO_MAJORITY}
FOR_EVER = {"not primary": NOT_PRIMARY, "cut": CUT}


def quick(settings: MongoSettings) -> MongoSettings:
    mark = "&" if "?" in settings.url else "?"
    return settings._replace(retry_delay=0.01, url=f"{settings.url}{mark}heartbeatFrequencyMS=50")


@pytest.fixture(scope="module", autouse=True)
def the_driver_may_look_often() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pymongo.common.MIN_HEARTBEAT_INTERVAL", 0.05)
        yield


@pytest.fixture
async def faulty(peer: MongoPeer) -> AsyncIterator[MongoStorage]:
    """A store on a server that can be made to fail."""
    async with MongoStorage(quick(shared.settings(peer.url))) as opened:
        yield opened


async def started(storage: MongoStorage, **fields: Any) -> Session:
    new = await storage.create(session(**fields))
    return (await storage.append(entry(new.id, timestamp=new.last_activity), Change(active=True))).session


async def answering(storage: MongoStorage) -> Session:
    new = await started(storage)
    return (await storage.append(turn(new.id), Change(takes_turn="answer"))).session


@pytest.mark.readiness(issue=9)
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_an_append_during_a_short_failure_is_stored_once_and_is_new(
    faulty: MongoStorage, peer: MongoPeer, failure: dict[str, Any]
) -> None:
    new = await started(faulty)
    message = entry(new.id)
    with peer.failing("insert", times=3, **failure):
        appended = await faulty.append(message, Change(tokens=2))
    assert (appended.fresh, appended.entry.index) == (True, 2)
    assert appended.session == await faulty.get(new.id)
    assert [found.index for found in await faulty.read(new.id)] == [1, 2]
    assert await faulty.usage("ada", day_of(NOON)) == 2


@pytest.mark.readiness(issue=9)
@pytest.mark.parametrize("failure", FOR_EVER.values(), ids=FOR_EVER)
async def test_while_writes_fail_nothing_is_acknowledged_and_afterwards_all_goes_on(
    faulty: MongoStorage, peer: MongoPeer, failure: dict[str, Any]
) -> None:
    new = await started(faulty)
    message = entry(new.id)
    with peer.failing("insert", "update", **failure):
        with pytest.raises(StorageBusy):
            await faulty.append(message)
        with pytest.raises(StorageBusy):
            await faulty.check()
    assert len(await faulty.read(new.id)) == 1
    assert (await faulty.append(message)).entry.index == 2
    await faulty.check()


@pytest.mark.readiness(issue=9)
@pytest.mark.parametrize("failure", FOR_EVER.values(), ids=FOR_EVER)
async def test_reads_get_over_a_short_failure_too(
    faulty: MongoStorage, peer: MongoPeer, failure: dict[str, Any]
) -> None:
    new = await started(faulty)
    with peer.failing("find", times=3, **failure):
        assert await faulty.get(new.id) == new
    with peer.failing("find", **failure), pytest.raises(StorageBusy):
        await faulty.read(new.id)


@pytest.mark.readiness(issue=9)
async def test_what_will_not_pass_fails_at_once(faulty: MongoStorage, peer: MongoPeer) -> None:
    new = await started(faulty)
    with peer.failing("insert", times=1, errorCode=13), pytest.raises(StorageError, match="readWrite") as refused:
        await faulty.append(entry(new.id))
    assert not refused.value.transient
    assert (await faulty.append(entry(new.id))).entry.index == 2


# -- the network ------------------------------------------------------------------------------------------------------


class Losing(Proxy):
    """Loses things about commands that contain ``word``, so many ``times``: the answer, or the command itself, with the
    connection; or, where ``silent``, everything that follows on it, without ending it."""

    word = b"\x00"
    times = 0
    commands = False
    silent = False

    def __init__(self, *targets: int) -> None:
        super().__init__(*targets)
        self.waiting: set[Link] = set()
        self.lost = asyncio.Event()

    def passed(self, link: Link, way: str, data: bytes) -> bytes:
        data = super().passed(link, way, data)
        if way == TO_SERVER and self.times and self.word in data:
            self.times -= 1
            if not self.commands:
                self.waiting.add(link)
                return data
        elif way == TO_SERVER or link not in self.waiting:
            return data
        self.lost.set()
        if self.silent:
            link.frozen = True
        else:
            link.reset()
        return b""


class Holding(Proxy):
    """Holds the next command that contains ``word`` until it is released."""

    word = b""

    def __init__(self, *targets: int) -> None:
        super().__init__(*targets)
        self.holds = asyncio.Event()
        self._held: tuple[Link, bytes] | None = None

    def passed(self, link: Link, way: str, data: bytes) -> bytes:
        data = super().passed(link, way, data)
        if way == TO_SERVER and self.word and self.word in data:
            self.word, self._held = b"", (link, data)
            self.holds.set()
            return b""
        return data

    def release(self) -> None:
        assert self._held
        link, data = self._held
        link.far.write(data)


@asynccontextmanager
async def behind(proxy: Proxy) -> AsyncIterator[MongoStorage]:
    async with MongoStorage(quick(shared.at(proxy.port))) as storage:
        yield storage


def command(kind: str, collection: str) -> bytes:
    """What the commands of this kind on a collection have in them."""
    name = "sessions" if collection == "sessions" else f"sessions_{collection}"
    return b"%s\x00%s%s\x00" % (kind.encode(), (len(name) + 1).to_bytes(4, "little"), name.encode())


INSERT = command("insert", "messages")


@pytest.mark.readiness(issue=9)
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("commands", [True, False], ids=["the command is lost", "the answer is lost"])
async def test_an_insert_is_found_by_who_does_not_hear_of_it(peer: MongoPeer, times: int, commands: bool) -> None:
    async with Losing(peer.port) as proxy, behind(proxy) as storage:
        new = await started(storage)
        proxy.word, proxy.times, proxy.commands = INSERT, times, commands
        appended = await storage.append(entry(new.id), Change(tokens=3))
        assert proxy.times == 0
        assert (appended.fresh, appended.entry.index) == (True, 2)
        assert appended.session == await storage.get(new.id)
        assert [found.index for found in await storage.read(new.id)] == [1, 2]
        assert await storage.usage("ada", day_of(NOON)) == 3


@pytest.mark.readiness(issue=9)
async def test_an_insert_whose_answers_are_all_lost_is_refused_and_found_by_repeating_it(peer: MongoPeer) -> None:
    async with Losing(peer.port) as proxy, behind(proxy) as storage:
        new = await started(storage)
        message = entry(new.id)
        proxy.word, proxy.times = INSERT, 1000
        with pytest.raises(StorageBusy):
            await storage.append(message)
        proxy.times = 0
        again = await storage.append(message)
        assert (again.fresh, again.entry.index) == (False, 2)
        assert (await storage.append(entry(new.id))).entry.index == 3


@pytest.mark.readiness(issue=9)
async def test_a_network_that_swallows_everything_is_given_up_on_and_comes_back(peer: MongoPeer) -> None:
    async with Losing(peer.port) as proxy:
        settings = quick(shared.at(proxy.port))
        patience = "&socketTimeoutMS=300&connectTimeoutMS=300&serverSelectionTimeoutMS=300"
        async with MongoStorage(settings._replace(url=settings.url + patience)) as storage:
            new = await started(storage)
            proxy.hole = True
            with pytest.raises(StorageBusy):
                await storage.append(entry(new.id))
            proxy.hole = False
            proxy.cut()
            assert (await storage.append(entry(new.id))).fresh


# -- servers that die -------------------------------------------------------------------------------------------------


async def test_everything_acknowledged_is_there_after_the_server_was_killed(peer: MongoPeer) -> None:
    settings, acked = shared.settings(peer.url), set[str]()
    async with program("flood", settings) as running:
        await until(running, "open")
        for _ in range(3):
            acked |= said("acked", await until(running, "acked", 20))
            peer.kill()
            await asyncio.sleep(0.2)
            peer.start()
        acked |= said("acked", await until(running, "acked", 20))
        running.kill()
        acked |= said("acked", await rest(running))
    found = await stored(settings)
    assert acked <= set(found)
    assert len(found) == len(set(found))


async def stored(settings: MongoSettings) -> list[str]:
    """The message ids of the program's session, in order; positions have no holes."""
    async with EncryptedStorage(MongoStorage(settings), ring("new")) as storage:
        entries = await storage.read(SESSION, limit=10**6)
        found = await storage.get(SESSION)
        (listed,) = await storage.find(SessionQuery())
    assert [one.index for one in entries] == list(range(1, len(entries) + 1))
    assert listed == found
    assert listed.last_index == listed.message_count == listed.total_tokens == len(entries)
    return [one.message_id for one in entries]


# -- processes that die, and others beside them -----------------------------------------------------------------------


async def test_processes_that_write_in_one_session_share_one_order(peer: MongoPeer) -> None:
    settings = shared.settings(peer.url)
    async with EncryptedStorage(MongoStorage(settings), ring("new")) as storage:
        await storage.create(session(id=SESSION))
    async with program("flood", settings) as one, program("flood", settings) as other:
        said_by = await asyncio.gather(until(one, "acked", 30), until(other, "acked", 30))
        for running in (one, other):
            running.kill()
        left = await asyncio.gather(rest(one), rest(other))
    acked = [said("acked", lines + more) for lines, more in zip(said_by, left, strict=True)]
    found = await stored(settings)
    assert acked[0] | acked[1] <= set(found)
    assert len(found) == len(set(found))
    for caller in {one.rpartition("-")[0] for one in found}:
        own = [one for one in found if one.startswith(f"{caller}-")]
        assert own == sorted(own)


Use = Callable[[EncryptedStorage, MongoStorage], Awaitable[object]]


async def get(storage: EncryptedStorage, inner: MongoStorage) -> object:
    return await storage.get(SESSION)


async def append(storage: EncryptedStorage, inner: MongoStorage) -> object:
    return await storage.append(answer(SESSION), Change(tokens=1), fence=1)


async def sweep(storage: EncryptedStorage, inner: MongoStorage) -> object:
    return await inner._sweep.look()


async def start(storage: EncryptedStorage, inner: MongoStorage) -> object:
    async with MongoStorage(inner._settings):
        return None


TOLD = command("update", "sessions")
"""The command by which a session's document tells of an entry."""

NOTED = command("insert", "takeovers")
"""The command by which a takeover that has ended is noted down."""


@asynccontextmanager
async def left_half_done(peer: MongoPeer, where: bytes = TOLD) -> AsyncIterator[tuple[EncryptedStorage, MongoStorage]]:
    """A store that was open when another process had inserted an entry, and died before this command."""
    settings = shared.settings(peer.url)
    async with Losing(peer.port) as proxy, EncryptedStorage(inner := MongoStorage(settings), ring("new")) as storage:
        proxy.word, proxy.times, proxy.commands, proxy.silent = where, 1000, True, True
        through = settings._replace(url=shared.at(proxy.port).url)
        async with program("one", through) as running:
            await until(running, "open")
            await proxy.lost.wait()
            running.kill()
            assert said("acked", await rest(running)) == set()
        yield storage, inner


@pytest.mark.readiness(issue=9)
@pytest.mark.parametrize("use", [get, append, sweep, start])
@pytest.mark.parametrize("where", [command("insert", "usage"), TOLD], ids=["before its tokens", "before its session"])
async def test_what_a_dead_process_left_half_done_is_finished_by_who_comes_next(
    peer: MongoPeer, where: bytes, use: Use
) -> None:
    async with left_half_done(peer, where) as (storage, inner):
        assert await storage.find(SessionQuery(user_id="ada")) == []
        await use(storage, inner)
        (listed,) = await storage.find(SessionQuery(user_id="ada", active=True, answering=True))
        assert (listed.name, listed.answer_id, listed.fence) == ("Geography", "answer", 1)
        assert listed == await storage.get(SESSION)
        assert await storage.usage("ada", day_of(NOON)) == listed.last_index
        assert await inner._db.messages.count_documents({"texts": True}) == 0


async def test_texts_that_a_dead_process_left_in_the_log_do_not_outlive_their_key(peer: MongoPeer) -> None:
    async with left_half_done(peer, command("update", "messages")) as (_, inner):
        assert await inner._db.messages.count_documents({"texts": True}) == 1
        await rotate(inner, ring("old", "new"), lambda _: None)
        assert await inner._db.messages.count_documents({"change": {"$regex": "v1"}}) == 0
        renamed = EncryptedStorage(inner, ring("old"))
        assert [found.name for found in await renamed.find(SessionQuery())] == ["Geography"]


async def test_the_answer_that_a_dead_process_began_may_keep_its_text_and_blocks_others(peer: MongoPeer) -> None:
    async with left_half_done(peer) as (storage, _):
        with pytest.raises(Fenced):
            await storage.append(turn(SESSION), Change(takes_turn="other"))
        await storage.keep(Partial(SESSION, "answer", 1, "Paris"))
        assert await storage.partial(SESSION) == Partial(SESSION, "answer", 1, "Paris")


async def test_an_append_is_acknowledged_although_its_session_can_not_be_changed_now(
    faulty: MongoStorage, peer: MongoPeer
) -> None:
    new = await started(faulty)
    with peer.failing("update", **NOT_PRIMARY):
        appended = await faulty.append(entry(new.id), Change(name="Geography", tokens=3))
        assert (appended.fresh, appended.session.name) == (True, "Geography")
    assert [found.name for found in await faulty.find(SessionQuery())] == [""]
    assert await faulty.get(new.id) == appended.session
    assert await faulty.find(SessionQuery()) == [appended.session]
    assert (await faulty.append(entry(new.id))).entry.index == 3


@asynccontextmanager
async def replicas(peer: MongoPeer, count: int) -> AsyncIterator[list[MongoStorage]]:
    """Stores that share a database and nothing else, as processes do."""
    settings = quick(shared.settings(peer.url))
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(MongoStorage(settings)) for _ in range(count)]


async def test_of_turns_that_processes_take_at_once_one_is_given_and_a_late_writer_is_refused(peer: MongoPeer) -> None:
    async with replicas(peer, 4) as stores:
        new = await started(stores[0])
        for number in range(1, 6):
            take = (
                store.append(turn(new.id), Change(takes_turn=f"answer {place}")) for place, store in enumerate(stores)
            )
            taken = await asyncio.gather(*take, return_exceptions=True)
            (holder,) = [place for place, one in enumerate(taken) if not isinstance(one, Exception)]
            assert sum(isinstance(one, Fenced) for one in taken) == 3
            await stores[holder].keep(Partial(new.id, f"answer {holder}", number, "Par"))
            ending = [store.append(answer(new.id), Change(ends_turn=True), fence=number) for store in stores]
            ended = await asyncio.gather(*ending, return_exceptions=True)
            assert sum(isinstance(one, Fenced) for one in ended) == 3
            assert (await stores[0].get(new.id)).fence == number  # type: ignore[union-attr]
            with pytest.raises(Fenced):
                await stores[holder].keep(Partial(new.id, f"answer {holder}", number, "Paris"))
            assert await stores[0].partial(new.id) is None
        assert [one.index for one in await stores[1].read(new.id)] == list(range(1, 12))


async def test_who_remembers_an_older_turn_looks_again_before_it_refuses(peer: MongoPeer) -> None:
    async with replicas(peer, 2) as (one, other):
        new = await answering(one)
        await other.append(answer(new.id), Change(ends_turn=True), fence=1)
        taken = await one.append(turn(new.id), Change(takes_turn="next"))
        assert taken.session.fence == 2
        with pytest.raises(Fenced):
            await other.append(answer(new.id), Change(ends_turn=True), fence=1)
        assert (await other.append(answer(new.id), Change(ends_turn=True), fence=2)).entry.index == 5
        with pytest.raises(Fenced):
            await one.append(answer(new.id), Change(ends_turn=True), fence=2)


async def test_of_sessions_that_processes_use_at_once_a_users_one_is_active(peer: MongoPeer) -> None:
    async with replicas(peer, 3) as stores:
        sessions = [await started(store) for store in stores]
        for number in range(1, 6):
            uses = (
                store.append(entry(one.id, timestamp=NOON + number), Change(active=True))
                for store, one in zip(stores, sessions, strict=True)
            )
            await asyncio.gather(*uses)
            (active,) = await stores[0].find(SessionQuery(user_id="ada", active=True))
            found = [await stores[1].get(one.id) for one in sessions]
            assert [one.id for one in found if one and one.is_active] == [active.id]
            assert [one.last_index for one in found if one] == [number + 1] * 3


async def test_a_session_is_not_changed_by_who_looked_at_it_before_others_changed_it(peer: MongoPeer) -> None:
    async with Holding(peer.port) as proxy, behind(proxy) as slow, MongoStorage(slow._settings) as other:
        new = await started(slow)
        proxy.word = TOLD
        late = asyncio.create_task(slow.append(entry(new.id)))
        await proxy.holds.wait()
        last = await other.append(entry(new.id), Change(tokens=5))
        proxy.release()
        assert (await late).entry.index == 2
        assert await other.get(new.id) == await slow.get(new.id) == last.session
        assert (last.session.last_index, last.session.total_tokens) == (3, 5)


async def test_a_text_that_is_kept_while_its_answer_ends_is_refused_and_gone(peer: MongoPeer) -> None:
    async with Holding(peer.port) as proxy, behind(proxy) as slow, MongoStorage(slow._settings) as other:
        running = await answering(slow)
        proxy.word = b"upsert\x00\x01"
        late = asyncio.create_task(slow.keep(Partial(running.id, "answer", 1, "Par")))
        await proxy.holds.wait()
        await other.append(answer(running.id), Change(ends_turn=True), fence=1)
        proxy.release()
        with pytest.raises(Fenced):
            await late
        assert await other._db.partials.count_documents({}) == 0


async def test_a_text_that_comes_after_that_of_the_next_answer_is_refused_and_does_not_replace_it(
    peer: MongoPeer,
) -> None:
    async with Holding(peer.port) as proxy, behind(proxy) as slow, MongoStorage(slow._settings) as other:
        running = await answering(slow)
        proxy.word = b"upsert\x00\x01"
        late = asyncio.create_task(slow.keep(Partial(running.id, "answer", 1, "Par")))
        await proxy.holds.wait()
        await other.append(answer(running.id), Change(ends_turn=True), fence=1)
        await other.append(turn(running.id), Change(takes_turn="next"))
        await other.keep(Partial(running.id, "next", 2, "Lon"))
        proxy.release()
        with pytest.raises(Fenced):
            await late
        assert await other.partial(running.id) == Partial(running.id, "next", 2, "Lon")


async def test_the_sweep_outlives_an_outage(peer: MongoPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "INTERVAL", sweep_module.INTERVAL / 1000)
    with structlog.testing.capture_logs() as logs:
        async with MongoStorage(quick(shared.settings(peer.url))) as storage:
            new = await started(storage)
            with peer.failing("update", "find", **NOT_PRIMARY):
                async with asyncio.timeout(60):
                    while not any("not looked for" in log["event"] for log in logs):
                        await asyncio.sleep(0.02)
            await storage._db.sessions.update_one({"_id": new.id}, {"$set": {"last_index": 0}, "$inc": {"revision": 1}})
            async with asyncio.timeout(60):
                while not await storage.find(SessionQuery()):
                    await asyncio.sleep(0.02)


async def test_an_empty_session_that_processes_make_at_once_is_one(peer: MongoPeer) -> None:
    async with replicas(peer, 3) as stores:
        for _ in range(5):
            made = await asyncio.gather(*(store.create(session()) for store in stores))
            assert [made[0]] * 3 == made
            await stores[2].append(entry(made[0].id))


@pytest.mark.parametrize(("said_at", "stays"), [(1, "second"), (3, "first")])
async def test_a_late_repair_gives_the_mark_to_the_session_that_the_user_turned_to_last(
    faulty: MongoStorage, peer: MongoPeer, said_at: int, stays: str
) -> None:
    for name in ("first", "second"):
        await started(faulty, id=name)
        await faulty.append(entry(name, kind=Kind.NOTIFICATION), Change(active=False))
    with peer.failing("update", **NOT_PRIMARY):
        await faulty.append(entry("first", timestamp=NOON + said_at), Change(active=True))
    await faulty.append(entry("second", timestamp=NOON + 2), Change(active=True))
    repaired = await faulty.get("first")
    assert repaired is not None
    assert (repaired.last_index, repaired.is_active, repaired.last_activity) == (3, stays == "first", NOON + said_at)
    assert [found.id for found in await faulty.find(SessionQuery(active=True))] == [stays]


async def test_a_deletion_that_was_cut_short_is_gone_on_with(faulty: MongoStorage, peer: MongoPeer) -> None:
    await taken_over(faulty, (await started(faulty, id="s")).id)
    running = (await faulty.append(turn("s"), Change(takes_turn="answer"))).session
    await faulty.keep(Partial(running.id, "answer", running.fence, "Par"))
    assert len((await faulty.copies("", 1))[0].takeovers) == 1
    with peer.failing("delete", times=30, **NOT_PRIMARY), pytest.raises(StorageBusy):
        await faulty.delete(running.id)
    assert await faulty.get(running.id) == running
    async with MongoStorage(faulty._settings) as after:
        assert await after.get(running.id) is None
        assert await after.find(SessionQuery(empty=None)) == []
        for name in ("messages", "partials", "periods", "takeovers", "deletions"):
            assert await getattr(after._db, name).count_documents({}) == 0


async def test_an_entry_that_comes_while_its_session_is_deleted_elsewhere_goes_with_it(peer: MongoPeer) -> None:
    async with replicas(peer, 2) as (one, other):
        new = await started(one)
        await other.delete(new.id)
        with pytest.raises(NotFound):
            await one.append(entry(new.id))
        assert await one.read(new.id) == []
        with pytest.raises(NotFound):
            await one.keep(Partial(new.id, "answer", 1, "text"))
        assert await one._db.messages.count_documents({}) == 0


async def test_an_entry_that_a_dead_process_left_of_a_deleted_session_is_swept_away(faulty: MongoStorage) -> None:
    new = await taken_over(faulty, (await started(faulty)).id)
    await faulty._db.sessions.delete_one({"_id": new.id})
    assert await faulty.read(new.id) == []
    await faulty._sweep.look()
    assert await faulty._db.messages.count_documents({}) == 0
    assert await faulty._db.takeovers.count_documents({}) == 0


# -- takeovers --------------------------------------------------------------------------------------------------------


async def taken_over(storage: MongoStorage, session_id: str) -> Session:
    """The session after a member of staff has had it."""
    await storage.append(entry(session_id, kind=Kind.ADMIN_JOIN), Change(joins="bea", admin_name="Bea"))
    left = await storage.append(entry(session_id, kind=Kind.ADMIN_LEAVE), Change(leaves=True, by="bea"))
    return left.session


async def test_the_name_of_staff_whom_a_session_does_not_tell_of_yet_does_not_need_its_old_key(
    faulty: MongoStorage, peer: MongoPeer
) -> None:
    storage = EncryptedStorage(faulty, ring("old"))
    new = await storage.create(session())
    with peer.failing("update", **NOT_PRIMARY):
        joined = await storage.append(entry(new.id, kind=Kind.ADMIN_JOIN), Change(joins="bea", admin_name="Bea"))
    assert await faulty.find(SessionQuery(assisted=True)) == []
    await rotate(faulty, ring("new", "old"), lambda _: None)
    assert await EncryptedStorage(faulty, ring("new")).get(new.id) == joined.session
    assert await faulty._db.messages.count_documents({"change": {"$regex": "v1"}}) == 0


@pytest.mark.parametrize("before", ["it is noted down", "its session is told"])
async def test_a_takeover_whose_end_was_left_half_done_is_noted_down_once_by_who_comes_next(
    peer: MongoPeer, before: str
) -> None:
    lost, noted = {"it is noted down": (NOTED, 0), "its session is told": (TOLD, 1)}[before]
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Losing(peer.port))
        storage = await stack.enter_async_context(behind(proxy))
        other = await stack.enter_async_context(MongoStorage(storage._settings._replace(url=peer.url)))
        new = await started(storage)
        joined = await storage.append(entry(new.id, kind=Kind.ADMIN_JOIN), Change(joins="bea"))
        proxy.word, proxy.times, proxy.commands = lost, 1000, True
        left = await storage.append(entry(new.id, kind=Kind.ADMIN_LEAVE), Change(leaves=True))
        assert left.fresh
        assert await other._db.takeovers.count_documents({}) == noted
        assert await other.find(SessionQuery(assisted=True)) == [joined.session]
        assert await other.get(new.id) == left.session
        (copy,) = await other.copies("", 10)
        assert [(one.admin_id, one.index) for one in copy.takeovers] == [("bea", 2)]
        assert await other.find(SessionQuery(assisted=True)) == []


async def test_a_takeover_that_is_noted_down_while_its_session_is_deleted_goes_with_it(peer: MongoPeer) -> None:
    async with Holding(peer.port) as proxy, behind(proxy) as slow, MongoStorage(slow._settings) as other:
        new = await started(slow)
        proxy.word = NOTED
        late = asyncio.create_task(taken_over(slow, new.id))
        await proxy.holds.wait()
        await other.delete(new.id)
        proxy.release()
        with pytest.raises(NotFound):
            await late
        assert await other._db.takeovers.count_documents({}) == 0


async def test_of_staff_who_join_by_several_processes_one_has_the_session(peer: MongoPeer) -> None:
    async with replicas(peer, 3) as stores:
        new = await started(stores[0])
        for number in range(1, 4):
            joins = (
                store.append(entry(new.id, kind=Kind.ADMIN_JOIN), Change(joins=f"staff {place}"))
                for place, store in enumerate(stores)
            )
            outcomes = await asyncio.gather(*joins, return_exceptions=True)
            (holder,) = [place for place, one in enumerate(outcomes) if not isinstance(one, Exception)]
            for store in stores:
                with pytest.raises(Fenced):
                    await store.append(turn(new.id), Change(takes_turn="answer"), fence=number - 1)
            left = await stores[2].append(entry(new.id), Change(leaves=True, by=f"staff {holder}"))
            assert left.session.fence == number
        (copy,) = await stores[1].copies("", 10)
        assert len(copy.takeovers) == 3


# -- records ----------------------------------------------------------------------------------------------------------

RECORD = Record(kind="alert", id="one", key="ada", at=NOON, due=NOON, data={"text": "Help"})
WRITES = {"add": command("insert", "records"), "replace": command("update", "records")}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_a_record_is_written_once_during_a_short_failure(
    faulty: MongoStorage, peer: MongoPeer, failure: dict[str, Any]
) -> None:
    with peer.failing("insert", times=2, **failure):
        assert await faulty.records.add(RECORD)
    with peer.failing("update", times=2, **failure):
        assert await faulty.records.replace(replace(RECORD, due=None))
    with peer.failing("find", times=2, **failure):
        assert await faulty.records.find("alert") == [replace(RECORD, due=None, version=1)]
    with peer.failing("delete", times=2, **failure):
        await faulty.records.remove("alert", "one")
    assert await faulty.records.get("alert", "one") is None


@pytest.mark.parametrize("failure", FOR_EVER.values(), ids=FOR_EVER)
async def test_while_writes_fail_no_record_is_acknowledged(
    faulty: MongoStorage, peer: MongoPeer, failure: dict[str, Any]
) -> None:
    await faulty.records.add(RECORD)
    with peer.failing("insert", "update", "delete", **failure):
        for call in (
            faulty.records.add(replace(RECORD, id="two")),
            faulty.records.replace(replace(RECORD, data={})),
            faulty.records.remove("alert", "one"),
        ):
            with pytest.raises(StorageBusy):
                await call
    assert await faulty.records.find("alert") == [RECORD]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("commands", [True, False], ids=["the command is lost", "the answer is lost"])
@pytest.mark.parametrize("write", WRITES)
async def test_who_does_not_hear_of_a_record_that_was_written_finds_out_that_it_was(
    peer: MongoPeer, write: str, commands: bool, times: int
) -> None:
    async with Losing(peer.port) as proxy, behind(proxy) as storage:
        if write == "replace":
            await storage.records.add(RECORD)
        proxy.word, proxy.times, proxy.commands = WRITES[write], times, commands
        assert await getattr(storage.records, write)(RECORD)
        assert proxy.times == 0
        assert not await getattr(storage.records, write)(RECORD)
        assert await storage.records.find("alert") == [replace(RECORD, version=int(write == "replace"))]


async def test_work_that_processes_claim_at_once_is_claimed_by_one_each_time(peer: MongoPeer) -> None:
    async with replicas(peer, 4) as stores:
        await stores[0].records.add(RECORD)
        for version in range(5):
            claim = replace(RECORD, version=version, due=NOON + version)
            outcomes = await asyncio.gather(*(store.records.replace(claim) for store in stores))
            assert sum(outcomes) == 1
            (found,) = await stores[3].records.due("alert", NOON + version, 10)
            assert found.version == version + 1


# -- what is tried again ----------------------------------------------------------------------------------------------


def coded(code: int) -> errors.OperationFailure:
    return errors.OperationFailure("told to", code, {"codeName": "Told"})


def labelled(label: str) -> errors.PyMongoError:
    error = errors.PyMongoError("told to")
    error._add_error_label(label)
    return error


PASSING = st.sampled_from(sorted(TRANSIENT_CODES)).map(coded) | st.sampled_from(
    [
        errors.AutoReconnect("connection closed"),
        errors.NetworkTimeout("timed out"),
        errors.NotPrimaryError("not primary"),
        errors.ServerSelectionTimeoutError("no servers"),
        errors.WaitQueueTimeoutError("pool is full"),
        errors.WTimeoutError("waiting for replication"),
        errors.WriteConcernError("waiting for replication", 64),
        errors.ExecutionTimeout("too long", 50),
        labelled("RetryableWriteError"),
        labelled("TransientTransactionError"),
        labelled("SystemOverloadedError"),
    ]
)
LASTING = st.integers(2, 20_000).filter(lambda code: code not in TRANSIENT_CODES).map(coded) | st.sampled_from(
    [errors.ConfigurationError("not primary"), errors.DocumentTooLarge("timed out"), errors.InvalidName("network")]
)
SETTINGS = MongoSettings("mongodb://127.0.0.1/", retry_attempts=5, retry_delay=0.05, retry_max_delay=0.3)


async def tried(failures: list[errors.PyMongoError], attempts: Any) -> tuple[int, Exception | None]:
    """How often an operation with these failures was tried, and how that ended."""
    count = 0

    async def operation() -> None:
        nonlocal count
        count += 1
        if count <= len(failures):
            raise failures[count - 1]

    try:
        await attempts(operation)
    except Exception as error:  # noqa: BLE001 - the check looks at which one it is
        return count, error
    return count, None


def check_passing(failures: list[errors.PyMongoError], make: Callable[[MongoSettings], Any] = Attempts) -> None:
    """What passes is tried as often as the settings say, after growing pauses, then it is busy."""
    with recorded_waits() as waits:
        count, error = asyncio.run(tried(failures, make(SETTINGS)))
    limit = SETTINGS.retry_attempts
    assert count == min(len(failures) + 1, limit)
    assert (error is None) == (len(failures) < limit)
    assert error is None or isinstance(error, StorageBusy)
    assert len(waits) == count - 1
    for number, wait in enumerate(waits):
        assert min(SETTINGS.retry_max_delay, SETTINGS.retry_delay * 2**number) <= wait <= SETTINGS.retry_max_delay


def check_lasting(
    failures: list[errors.PyMongoError],
    last: errors.PyMongoError,
    make: Callable[[MongoSettings], Any] = Attempts,
) -> None:
    """What does not pass ends it at once."""
    with recorded_waits():
        count, error = asyncio.run(tried([*failures, last, last], make(SETTINGS)))
    assert count == len(failures) + 1
    assert isinstance(error, StorageError)
    assert not error.transient


@pytest.mark.readiness(issue=9)
@given(st.lists(PASSING, max_size=7))
def test_what_passes_is_tried_again_after_growing_pauses_as_often_as_the_settings_say(
    failures: list[errors.PyMongoError],
) -> None:
    check_passing(failures)


@pytest.mark.readiness(issue=9)
@given(st.lists(PASSING, max_size=3), LASTING)
def test_what_does_not_pass_is_not_tried_again(failures: list[errors.PyMongoError], last: errors.PyMongoError) -> None:
    check_lasting(failures, last)


@pytest.mark.readiness(issue=9)
@given(st.integers(2, 20_000), st.text())
def test_the_servers_code_decides_and_its_text_stays_behind(code: int, text: str) -> None:
    ours = translated(errors.OperationFailure(f"secret {text}", code))
    assert ours.transient == (code in TRANSIENT_CODES)
    assert "secret" not in str(ours)


class Once(Attempts):
    """Gives up at the first error."""

    def __init__(self, settings: MongoSettings) -> None:
        super().__init__(settings._replace(retry_attempts=1))


class Steady(Attempts):
    """Waits equally long each time."""

    def __init__(self, settings: MongoSettings) -> None:
        super().__init__(settings._replace(retry_max_delay=settings.retry_delay))


@pytest.mark.readiness(issue=9)
@pytest.mark.parametrize("mutant", [Once, Steady])
def test_a_store_that_gives_up_or_does_not_back_off_would_be_found(mutant: type[Attempts]) -> None:
    with mutants.found():
        check_passing([errors.AutoReconnect("cut")] * 3, mutant)


@pytest.mark.readiness(issue=9)
def test_an_error_judged_by_its_text_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatbox.storage.mongo.attempts.transient", lambda error: "primary" in str(error))
    with mutants.found():
        check_lasting([], errors.ConfigurationError("not primary"))


def test_a_write_of_many_documents_passes_when_all_that_failed_does_and_something_did() -> None:
    def bulk(*codes: int, **more: Any) -> errors.BulkWriteError:
        return errors.BulkWriteError({"writeErrors": [{"code": code} for code in codes], **more})

    assert transient(bulk(112))
    assert transient(bulk(112, 11000))
    assert transient(bulk(11000, writeConcernErrors=[{"code": 64}]))
    assert not transient(bulk(112, 13))
    assert not transient(bulk(11000))
    assert not transient(bulk())
