"""Stores compared with the specification under any sequence of calls, and what they give back with what they got."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from chatbox.errors import ChatboxError
from chatbox.session import Change, Entry, Kind, Sender, Session, Takeover, day_of, new_id
from chatbox.storage.base import AI, CellStorage, Partial, SessionQuery, Storage
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.memory import MemoryStorage
from tests.storage.conftest import STORES, one_after_the_other
from tests.storage.values import NOON, changes, entries, entry, session, sessions, texts

pytestmark = pytest.mark.slow

T = TypeVar("T")

one_store = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""The store is shared by the examples: ids differ."""

USERS = st.sampled_from(["ada", "bob"])
STAFF = st.sampled_from(["bea", "cy"])
ANSWERS = st.sampled_from(["answer1", "answer2"])
MESSAGE_IDS = st.sampled_from([f"m{number}" for number in range(8)])
TIMES = st.integers(NOON, NOON + 5)
FENCES = st.none() | st.integers(0, 3)

NOBODY = {"last_index": 0, "answer_id": None, "fence": 0, "assisting_admin_id": None, "assisted_index": 0}
"""Of a session in which nothing has happened."""


class Comparison(RuleBasedStateMachine):
    """Does everything to a store and to the memory store, and expects the same answers and errors."""

    make: Callable[[Path], Storage]
    ids = Bundle("ids")

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.numbers = count()
        self.stores: list[Storage] = [MemoryStorage(), type(self).make(Path(self.folder.name))]
        self.runner.run(self.stores[1].__aenter__())

    def teardown(self) -> None:
        self.runner.run(self.stores[1].__aexit__(None, None, None))
        self.runner.close()
        self.folder.cleanup()

    def same(self, call: Callable[[Storage], Awaitable[T]]) -> T | str:
        """The answer of both stores, or the type of their error."""
        expected, actual = [self.runner.run(outcome(call(store))) for store in self.stores]
        assert actual == expected
        return actual

    @rule(target=ids, new=sessions, user_id=USERS)
    def create(self, new: Session, user_id: str) -> str:
        new = replace(new, id=f"s{next(self.numbers)}", user_id=user_id, is_active=False, **NOBODY)
        made = self.same(lambda store: store.create(new))
        assert isinstance(made, Session)
        return made.id

    @rule(session_id=ids)
    def create_again(self, session_id: str) -> None:
        again = session(id=session_id, user_id="eve", epoch="again")
        self.same(lambda store: store.create(again))

    @rule(session_id=ids, any_entry=entries, message_id=MESSAGE_IDS, at=TIMES, change=changes, fence=FENCES)
    def append(
        self, session_id: str, any_entry: Entry, message_id: str, at: int, change: Change, fence: int | None
    ) -> None:
        new = replace(any_entry, session_id=session_id, message_id=message_id, timestamp=at)
        self.same(lambda store: store.append(new, change, fence=fence))

    @rule(session_id=ids, answer_id=ANSWERS, supersedes=MESSAGE_IDS)
    def take_turn(self, session_id: str, answer_id: str, supersedes: str) -> None:
        new = entry(session_id, kind=Kind.TURN, message_id=f"t{next(self.numbers)}")
        self.same(lambda store: store.append(new, Change(takes_turn=answer_id, supersedes=supersedes)))

    @rule(session_id=ids, who=STAFF, by=st.none() | STAFF, at=TIMES)
    def join(self, session_id: str, who: str, by: str | None, at: int) -> None:
        new = entry(session_id, kind=Kind.ADMIN_JOIN, message_id=f"t{next(self.numbers)}", timestamp=at)
        self.same(lambda store: store.append(new, Change(joins=who, admin_name=f"Name of {who}", by=by)))

    @rule(session_id=ids, who=STAFF | st.just(AI), leaves=st.booleans(), at=TIMES)
    def act(self, session_id: str, who: str, leaves: bool, at: int) -> None:
        new = entry(session_id, sender=Sender.ADMIN, message_id=f"t{next(self.numbers)}", timestamp=at)
        self.same(lambda store: store.append(new, Change(by=who, leaves=leaves)))

    @rule(session_id=ids, answer_id=ANSWERS, fence=st.integers(0, 3), text=texts)
    def keep(self, session_id: str, answer_id: str, fence: int, text: str) -> None:
        self.same(lambda store: store.keep(Partial(session_id, answer_id, fence, text)))

    @rule(session_id=ids)
    def delete(self, session_id: str) -> None:
        self.same(lambda store: store.delete(session_id))

    @rule(session_id=ids, after=st.integers(0, 9), before=st.none() | st.integers(0, 9), limit=st.integers(1, 5))
    def read(self, session_id: str, after: int, before: int | None, limit: int) -> None:
        self.same(lambda store: store.read(session_id, after=after, before=before, limit=limit))

    @rule(
        user_id=st.none() | USERS,
        flags=st.tuples(*[st.none() | st.booleans()] * 5),
        idle_since=st.none() | TIMES,
        before=st.none() | st.tuples(TIMES, st.just("M")),
        limit=st.integers(1, 5),
    )
    def find(
        self,
        user_id: str | None,
        flags: tuple[bool | None, bool | None, bool | None, bool | None, bool | None],
        idle_since: int | None,
        before: tuple[int, str] | None,
        limit: int,
    ) -> None:
        active, answering, empty, assisted, waiting = flags
        query = SessionQuery(
            user_id=user_id,
            active=active,
            answering=answering,
            empty=empty,
            assisted=assisted,
            waiting=waiting,
            idle_since=idle_since,
            before=before,
            limit=limit,
        )
        self.same(lambda store: store.find(query))

    @rule(session_id=ids)
    def find_shared(self, session_id: str) -> None:
        found = self.same(lambda store: store.get(session_id))
        if isinstance(found, Session) and found.share_token:
            self.same(lambda store: store.find(SessionQuery(share_token=found.share_token, empty=None)))

    @rule(session_id=ids, user_id=USERS)
    def look(self, session_id: str, user_id: str) -> None:
        self.same(lambda store: store.usage(user_id, day_of(NOON)))
        self.same(lambda store: store.get(session_id))
        self.same(lambda store: store.partial(session_id))
        self.same(takeovers)

    @invariant()
    def one_active_session_a_user(self) -> None:
        if hasattr(self, "stores"):
            active = self.runner.run(self.stores[1].find(SessionQuery(active=True, empty=None)))
            assert len({one.user_id for one in active}) == len(active)


async def takeovers(store: Storage) -> list[tuple[Takeover, ...]]:
    """Those of each session that have ended."""
    cells = store._inner if isinstance(store, EncryptedStorage) else store
    assert isinstance(cells, CellStorage)
    return [copy.takeovers for copy in await cells.copies("", 1000)]


async def outcome(call: Awaitable[T]) -> T | str:
    try:
        return await call
    except ChatboxError as error:
        return type(error).__name__


@pytest.mark.readiness(issue=10)
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", sorted(set(STORES) - {"memory", "encrypted-memory"}))
def test_a_store_answers_every_sequence_of_calls_as_the_specification_does(kind: str) -> None:
    make = one_after_the_other(kind)
    machine = type("Machine", (Comparison,), {"make": staticmethod(make)})
    steps = 8 if "mongo" in kind else 20  # each of them crosses the network several times
    machine.TestCase.settings = settings(max_examples=100, stateful_step_count=steps)
    machine.TestCase("runTest").runTest()


@pytest.mark.readiness(issue=10)
@one_store
@given(new=sessions, active=st.booleans())
async def test_every_field_of_a_session_comes_back_as_it_was_stored(
    storage: Storage, new: Session, active: bool
) -> None:
    stored = replace(new, user_id=f"{new.user_id} {new.id}", is_active=active)
    await storage.create(stored)
    assert await storage.get(stored.id) == stored


@pytest.mark.readiness(issue=10)
@one_store
@given(any_entry=entries)
async def test_every_field_of_an_entry_comes_back_as_it_was_stored(storage: Storage, any_entry: Entry) -> None:
    new = await storage.create(session(user_id=new_id()))
    message = replace(any_entry, session_id=new.id, timestamp=any_entry.timestamp)
    appended = await storage.append(message)
    assert appended.entry == replace(message, index=1)
    assert await storage.read(new.id) == [appended.entry]


@pytest.mark.readiness(issue=10)
@one_store
@given(text=texts)
async def test_a_kept_text_comes_back_as_it_was_stored(storage: Storage, text: str) -> None:
    new = await storage.create(session(user_id=new_id()))
    await storage.append(entry(new.id, kind=Kind.TURN), Change(takes_turn="answer"))
    await storage.keep(Partial(new.id, "answer", 1, text))
    assert await storage.partial(new.id) == Partial(new.id, "answer", 1, text)


async def torn_snapshots(storage: Storage) -> int:
    """How often, while writers are at work, a session read does not agree with its own log."""
    new = session()
    await storage.create(new)
    torn = 0

    async def write() -> None:
        for number in range(25):
            await asyncio.sleep(0)
            await storage.append(entry(new.id, timestamp=NOON + number), Change(tokens=2, response_ms=number))

    async def read() -> None:
        nonlocal torn
        for _ in range(50):
            seen = await storage.get(new.id)
            assert seen is not None
            log = await storage.read(new.id, limit=seen.last_index or 1)
            counts = (seen.last_index, seen.message_count, seen.total_tokens // 2, len(seen.response_times))
            torn += len(set(counts)) > 1 or len(log) < seen.last_index
            await asyncio.sleep(0)

    await asyncio.gather(*(write() for _ in range(4)), *(read() for _ in range(4)))
    return torn


@pytest.mark.readiness(issue=10)
async def test_a_session_read_while_it_is_written_is_a_consistent_snapshot(storage: Storage) -> None:
    assert await torn_snapshots(storage) == 0


class Unlocked(MemoryStorage):
    """Reads a session's fields one after another while it is written."""

    async def get(self, session_id: str) -> Session | None:
        first = await super().get(session_id)
        await asyncio.sleep(0)
        second = await super().get(session_id)
        return first and second and replace(second, last_index=first.last_index)


@pytest.mark.readiness(issue=10)
async def test_a_session_read_field_by_field_would_be_found() -> None:
    assert await torn_snapshots(Unlocked()) > 0
