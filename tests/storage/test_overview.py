"""What staff see of all sessions, whatever store they are kept in."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbox.errors import ChatboxError
from chatbox.session import Change, Help, Kind, Sender, Session
from chatbox.storage.base import Storage
from chatbox.storage.memory import MemoryStorage
from chatbox.storage.overview import HOUR, MINUTE, Figures, SortBy, StaffQuery, Tally, grid, place
from chatbox.storage.sqlite import SqliteStorage
from tests.storage.conftest import one_after_the_other
from tests.storage.values import NOON, answer, entry, session, turn

pytestmark = pytest.mark.slow

DAY = 24 * HOUR
MIDNIGHT = NOON - NOON % DAY


async def said(storage: Storage, user_id: str, at: int, **fields: Any) -> Session:
    """A new session with one message."""
    new = await storage.create(session(user_id=user_id, **fields))
    return (await storage.append(entry(new.id, timestamp=at), Change(active=True))).session


async def ended(storage: Storage, one: Session) -> Session:
    over = entry(one.id, kind=Kind.NOTIFICATION, timestamp=one.last_activity)
    return (await storage.append(over, Change(active=False))).session


async def ids(storage: Storage, now: int = NOON + DAY, **query: Any) -> list[str]:
    return [one.id for one in await storage.overview.sessions(StaffQuery(**query), now)]


async def test_a_session_without_entries_counts_nowhere(storage: Storage) -> None:
    await storage.create(session(start_time=NOON))
    assert await ids(storage) == await ids(storage, user_id="ada") == []
    assert await storage.overview.count(StaffQuery()) == await storage.overview.count(StaffQuery(user_id="ada")) == 0
    assert await storage.overview.figures(0, NOON + DAY, NOON + DAY) == Figures()
    buckets = await storage.overview.series(NOON - DAY, NOON + DAY, DAY, NOON + DAY)
    assert {(bucket.sessions, bucket.max_concurrent, bucket.tally) for bucket in buckets} == {(0, 0, Tally())}


async def test_the_list_has_the_texts_of_its_sessions(storage: Storage) -> None:
    new = await said(storage, "ada", NOON, name="An order", user_name="Ada", context={"page": "/"})
    assert await storage.overview.sessions(StaffQuery(), NOON) == [new]
    over = await ended(storage, new)
    assert await storage.overview.sessions(StaffQuery(), NOON) == [over]


async def test_each_filter_and_all_together(storage: Storage) -> None:
    first = await ended(storage, await said(storage, "ada", NOON))
    second = await said(storage, "ada", NOON + 1)
    third = await said(storage, "bob", NOON + 2)
    ask = entry(third.id, kind=Kind.NOTIFICATION, timestamp=NOON + 3)
    await storage.append(ask, Change(help_state=Help.ASKED))
    join = entry(third.id, kind=Kind.ADMIN_JOIN, sender=Sender.ADMIN, timestamp=NOON + 4)
    await storage.append(join, Change(joins="bea", admin_name="Bea"))
    wanted: list[tuple[dict[str, Any], list[Session]]] = [
        ({}, [first, second, third]),
        ({"user_id": "ada"}, [first, second]),
        ({"user_id": "eve"}, []),
        ({"active": True}, [second, third]),
        ({"active": False}, [first]),
        ({"admin_assisted": True}, [third]),
        ({"admin_assisted": False}, [first, second]),
        ({"help_requested": True}, [third]),
        ({"help_requested": False}, [first, second]),
        ({"start_from": NOON + 1}, [second, third]),
        ({"start_to": NOON + 1}, [first, second]),
        ({"start_from": NOON + 1, "start_to": NOON + 1}, [second]),
        ({"start_from": NOON + 2, "start_to": NOON + 1}, []),
        ({"user_id": "ada", "active": False, "start_to": NOON}, [first]),
        (
            {"user_id": "bob", "active": True, "admin_assisted": True, "help_requested": True, "start_from": NOON},
            [third],
        ),
    ]
    for query, expected in wanted:
        found = await ids(storage, sort_by=SortBy.START_TIME, descending=False, **query)
        assert found == [one.id for one in expected], query
        assert await storage.overview.count(StaffQuery(**query, limit=1, offset=1)) == len(expected), query


async def test_each_order_in_both_directions_and_ties_by_id(storage: Storage) -> None:
    short = await ended(storage, await said(storage, "zoe", NOON + 3, id="b"))
    long = await said(storage, "ada", NOON, id="c")
    await storage.append(answer("c", timestamp=NOON + 9), Change(tokens=7))
    long = await ended(storage, (await storage.append(entry("c", timestamp=NOON + 9))).session)
    open_one = await said(storage, "bob", NOON + 5, id="a")
    assert long.duration_ms == 9
    now = NOON + 9
    expected = {
        SortBy.START_TIME: "cba",
        SortBy.END_TIME: "abc",
        SortBy.LAST_ACTIVITY: "bac",
        SortBy.DURATION: "bac",
        SortBy.MESSAGE_COUNT: "abc",
        SortBy.TOTAL_TOKENS: "abc",
        SortBy.USER_ID: "cab",
    }
    assert set(expected) == set(SortBy)
    assert (open_one.end_time, short.end_time) == (None, NOON + 3)
    for by, order in expected.items():
        assert await ids(storage, now, sort_by=by, descending=False) == list(order), by
        assert await ids(storage, now, sort_by=by) == list(order[::-1]), by
        for descending in (True, False):
            assert await ids(storage, now, sort_by=by, descending=descending, limit=1, offset=1) == [order[1]], by
        assert await ids(storage, now, sort_by=by, offset=3) == []


async def test_the_longest_open_session_overtakes_while_time_goes_on(storage: Storage) -> None:
    over = await said(storage, "ada", NOON)
    over = await ended(storage, (await storage.append(entry(over.id, timestamp=NOON + 100))).session)
    going_on = await said(storage, "bob", NOON + 100)
    assert await ids(storage, NOON + 150, sort_by=SortBy.DURATION) == [over.id, going_on.id]
    assert await ids(storage, NOON + 250, sort_by=SortBy.DURATION) == [going_on.id, over.id]


async def test_a_session_that_goes_on_again_is_listed_once(storage: Storage) -> None:
    one = await ended(storage, await said(storage, "ada", NOON))
    assert await ids(storage, active=False) == [one.id]
    await storage.append(entry(one.id, timestamp=NOON + 5), Change(active=True))
    assert await ids(storage, active=False) == []
    assert await ids(storage) == await ids(storage, active=True) == [one.id]
    assert await storage.overview.count(StaffQuery()) == 1


async def test_a_change_of_a_session_that_is_over_shows_in_the_list(storage: Storage) -> None:
    one = await ended(storage, await said(storage, "ada", NOON))
    other = await ended(storage, await said(storage, "bob", NOON))
    join = entry(one.id, kind=Kind.ADMIN_JOIN, sender=Sender.ADMIN, timestamp=NOON + 5)
    await storage.append(join, Change(joins="bea", admin_name="Bea"))
    assert await ids(storage, admin_assisted=True) == [one.id]
    assert await ids(storage) == [one.id, other.id]
    assert await storage.overview.count(StaffQuery(admin_assisted=False)) == 1
    await storage.append(answer(one.id, timestamp=NOON + 6), Change(tokens=9))
    assert await ids(storage, sort_by=SortBy.TOTAL_TOKENS) == [one.id, other.id]


async def test_what_is_deleted_is_in_no_list_and_was_never_open_but_stays_counted(storage: Storage) -> None:
    kept, gone = await ended(storage, await said(storage, "ada", NOON)), await said(storage, "bob", NOON)
    await storage.append(answer(gone.id, timestamp=NOON + 5), Change(tokens=9, ends_turn=True, response_ms=40))
    gone = await ended(storage, gone)
    before = await storage.overview.figures(NOON - HOUR, NOON + HOUR, NOON + HOUR)
    assert (before.total_sessions, before.max_concurrent) == (2, 2)
    await storage.delete(gone.id)
    after = await storage.overview.figures(NOON - HOUR, NOON + HOUR, NOON + HOUR)
    assert (after.total_sessions, after.max_concurrent, after.avg_concurrent) == (1, 1, 0.0)
    assert after.tally == before.tally
    buckets = await storage.overview.series(NOON - HOUR, NOON + HOUR, HOUR, NOON + HOUR)
    assert sum(bucket.sessions for bucket in buckets) == 1
    assert await ids(storage) == [kept.id]
    assert await storage.overview.count(StaffQuery()) == 1


async def test_figures_count_what_happened_in_the_period(storage: Storage) -> None:
    minute = NOON - NOON % MINUTE
    one = await said(storage, "ada", minute)
    await storage.append(turn(one.id), Change(takes_turn="a"))
    reply = Change(tokens=11, ends_turn=True, response_ms=900, first_ms=100)
    await storage.append(answer(one.id, message_id="a", timestamp=minute + 1), reply)
    await storage.append(turn(one.id), Change(takes_turn="b"))
    failed = Change(tokens=4, ends_turn=True, first_ms=301, failed=True)
    await storage.append(answer(one.id, message_id="b", timestamp=minute + MINUTE), failed)
    first = Tally(messages=2, answers=1, tokens=11, responses=1, response_ms=900, response_max=900)
    first = Tally(
        **{name: getattr(first, name) for name in Tally.__struct_fields__}
        | {"firsts": 1, "first_ms": 100, "first_max": 100}
    )
    second = Tally(messages=1, answers=1, errors=1, tokens=4, firsts=1, first_ms=301, first_max=301)
    now = minute + DAY
    assert (await storage.overview.figures(minute, minute + 1, now)).tally == first
    assert (await storage.overview.figures(minute + 1, now, now)).tally == second
    whole = (await storage.overview.figures(minute, now, now)).tally
    assert whole == first.plus(second)
    assert (whole.avg_response, whole.response_max, whole.avg_first, whole.first_max) == (900, 900, 200, 301)
    buckets = await storage.overview.series(minute, minute + 3 * MINUTE, MINUTE, now)
    assert [bucket.tally for bucket in buckets] == [first, second, Tally()]
    assert [bucket.sessions for bucket in buckets] == [1, 0, 0]
    assert [bucket.start for bucket in buckets] == [minute, minute + MINUTE, minute + 2 * MINUTE]


async def test_active_sessions_are_those_of_now_and_assisted_ones_those_that_began(storage: Storage) -> None:
    one = await said(storage, "ada", NOON)
    join = entry(one.id, kind=Kind.ADMIN_JOIN, sender=Sender.ADMIN, timestamp=NOON + 5)
    await storage.append(join, Change(joins="bea", admin_name="Bea"))
    now = NOON + 10 * DAY
    early = await storage.overview.figures(NOON - DAY, NOON, now)
    assert (early.total_sessions, early.active_sessions, early.admin_assisted_count) == (0, 1, 0)
    begun = await storage.overview.figures(NOON, NOON + 1, now)
    assert (begun.total_sessions, begun.active_sessions, begun.admin_assisted_count) == (1, 1, 1)


async def test_a_session_is_open_until_now_and_averages_are_over_what_has_passed(storage: Storage) -> None:
    await said(storage, "ada", NOON)
    now = NOON + 2 * HOUR
    figures = await storage.overview.figures(NOON - 2 * HOUR, NOON + 8 * HOUR, now)
    assert (figures.avg_concurrent, figures.max_concurrent) == (0.5, 1)
    to_come = await storage.overview.figures(now + 1, now + HOUR, now)
    assert (to_come.avg_concurrent, to_come.max_concurrent) == (0.0, 0)


async def test_sessions_that_share_a_moment_are_concurrent(storage: Storage) -> None:
    await ended(storage, await said(storage, "ada", NOON))
    await ended(storage, await said(storage, "bob", NOON))
    await ended(storage, await said(storage, "cy", NOON + 1))
    now = NOON + HOUR
    for start, end, most in ((NOON, NOON + 1, 2), (NOON + 1, now, 1), (NOON + 2, now, 0), (NOON - 5, now, 2)):
        figures = await storage.overview.figures(start, end, now)
        assert (figures.max_concurrent, figures.avg_concurrent) == (most, 0.0), (start, end)


async def test_series_are_in_whole_minutes_or_hours(storage: Storage) -> None:
    minute = NOON - NOON % MINUTE
    await said(storage, "ada", minute + 1)
    for start, end, step, expected in (
        (minute + 5, minute + MINUTE + 1, MINUTE + 1, [minute]),
        (minute + 5, minute + MINUTE + 1, 1, [minute, minute + MINUTE]),
        (MIDNIGHT + 5, MIDNIGHT + 3 * HOUR + 1, HOUR + 1, [MIDNIGHT, MIDNIGHT + 2 * HOUR]),
        (MIDNIGHT - 1, MIDNIGHT + 1, DAY, [MIDNIGHT - HOUR]),
    ):
        buckets = await storage.overview.series(start, end, step, NOON + DAY)
        assert [bucket.start for bucket in buckets] == expected
        assert [bucket.sessions for bucket in buckets] == [int(bucket.start == minute) for bucket in buckets]


async def test_sessions_that_went_on_for_days_are_found_by_their_start_in_every_order(storage: Storage) -> None:
    short = await said(storage, "ada", NOON, id="a")
    short = await ended(storage, (await storage.append(entry("a", timestamp=NOON + HOUR))).session)
    long = await said(storage, "bob", NOON, id="b")
    long = await ended(storage, (await storage.append(entry("b", timestamp=NOON + 9 * DAY))).session)
    late = await ended(storage, await said(storage, "cy", NOON + 9 * DAY - 5, id="c"))
    for by in (SortBy.LAST_ACTIVITY, SortBy.END_TIME):
        assert await ids(storage, sort_by=by, start_to=NOON) == [long.id, short.id]
        assert await ids(storage, sort_by=by, start_from=NOON - 1) == [long.id, late.id, short.id]


async def test_a_period_that_ends_before_it_begins_is_empty(storage: Storage) -> None:
    await said(storage, "ada", NOON)
    figures = await storage.overview.figures(NOON + HOUR, NOON - HOUR, NOON + HOUR)
    assert (figures.total_sessions, figures.max_concurrent, figures.tally) == (0, 0, Tally())
    assert await storage.overview.series(NOON + HOUR, NOON - HOUR, MINUTE, NOON + HOUR) == []
    figures = await storage.overview.figures(NOON, NOON, NOON + HOUR)
    assert (figures.total_sessions, figures.max_concurrent, figures.avg_concurrent) == (0, 0, 0.0)


async def took_over(storage: Storage, one: Session, admin_id: str, start: int, end: int | None = None) -> None:
    join = entry(one.id, kind=Kind.ADMIN_JOIN, sender=Sender.ADMIN, timestamp=start)
    await storage.append(join, Change(joins=admin_id, admin_name=admin_id.title()))
    if end is not None:
        leave = entry(one.id, kind=Kind.ADMIN_LEAVE, sender=Sender.ADMIN, timestamp=end)
        await storage.append(leave, Change(leaves=True))


async def test_takeovers_are_listed_newest_first_with_those_that_go_on(storage: Storage) -> None:
    one, other = await said(storage, "ada", NOON, id="a"), await said(storage, "bob", NOON, id="b")
    await took_over(storage, one, "bea", NOON + 1, NOON + 3)
    await took_over(storage, other, "cy", NOON + 1, NOON + 1)
    await took_over(storage, other, "bea", NOON + 1, NOON + 2)
    await took_over(storage, one, "cy", NOON + 5)
    found = await storage.overview.takeovers()
    assert [(one.session_id, one.admin_id, one.end) for one in found] == [
        ("a", "cy", None), ("b", "bea", NOON + 2), ("b", "cy", NOON + 1), ("a", "bea", NOON + 3)
    ]  # fmt: skip
    assert [one.user_id for one in found] == ["ada", "bob", "bob", "ada"]
    assert await storage.overview.takeovers(session_id="b") == found[1:3]
    assert await storage.overview.takeovers(admin_id="cy") == [found[0], found[2]]
    assert await storage.overview.takeovers(admin_id="cy", session_id="a") == [found[0]]
    assert await storage.overview.takeovers(limit=2) == found[:2]
    for number, takeover in enumerate(found, start=1):
        assert await storage.overview.takeovers(before=place(takeover)) == found[number:]
        assert await storage.overview.takeovers(before=place(takeover), limit=1) == found[number:][:1]
    await storage.delete("b")
    assert await storage.overview.takeovers() == [found[0], found[3]]


async def test_what_staff_see_while_people_write_is_of_one_moment(storage: Storage) -> None:
    made = [await said(storage, f"user{number}", NOON + number) for number in range(8)]

    async def write(one: Session) -> None:
        for _ in range(6):
            await ended(storage, one)
            await storage.append(entry(one.id, timestamp=NOON + 50), Change(active=True))

    async def look() -> None:
        for _ in range(12):
            assert sorted(await ids(storage)) == sorted(one.id for one in made)
            assert await storage.overview.count(StaffQuery()) == len(made)
            await asyncio.sleep(0)

    await asyncio.gather(*map(write, made), look())


# -- any history, against the specification ----------------------------------------------------------------------------

USERS = ("ada", "bob", "cy", "di")
MOMENTS = st.builds(
    lambda hour, off: MIDNIGHT + hour * HOUR + off,
    st.sampled_from([0, 1, 2, 3, 23, 24, 25, 48, 24 * 40]),
    st.sampled_from([0, 1, 2, 1000, MINUTE - 1, MINUTE, 30 * MINUTE, HOUR - 2, HOUR - 1]),
)
ORDERS = st.sampled_from(SortBy)


class Step(NamedTuple):
    """Something that happens to one of the sessions at a time."""

    act: str
    which: int
    at: int
    number: int


STEPS = st.lists(
    st.builds(
        Step,
        act=st.sampled_from(
            ["begin", "say", "say", "go on", "go on", "end", "end", "answer", "help", "join", "delete"]
        ),
        which=st.integers(0, 5),
        at=MOMENTS,
        number=st.integers(0, 3000),
    ),
    max_size=14,
)
TIMES = st.lists(MOMENTS, min_size=3, max_size=3)
QUERIES = st.builds(
    StaffQuery,
    user_id=st.none() | st.sampled_from(USERS),
    active=st.none() | st.booleans(),
    admin_assisted=st.none() | st.booleans(),
    help_requested=st.none() | st.booleans(),
    start_from=st.none() | MOMENTS,
    start_to=st.none() | MOMENTS,
    sort_by=ORDERS,
    descending=st.booleans(),
    limit=st.integers(1, 4),
    offset=st.integers(0, 3),
)


async def live(storage: Storage, steps: Iterable[Step]) -> None:
    """Let all of it happen, in the order of time."""
    made: list[str] = []
    for number, step in enumerate(sorted(steps, key=lambda step: step.at)):
        if step.act == "begin" or not made:
            user_id = USERS[step.which % len(USERS)]
            new = await storage.create(session(id=f"s{number}", user_id=user_id, epoch="epoch", last_activity=step.at))
            made.append(new.id)
        with suppress(ChatboxError):
            await happen(storage, made[step.which % len(made)], f"m{number}", step)


async def happen(storage: Storage, session_id: str, message_id: str, step: Step) -> None:
    if step.act == "delete":
        await storage.delete(session_id)
        return
    kind, sender, change = {
        "begin": (Kind.USER_MESSAGE, Sender.USER, Change(active=True)),
        "say": (Kind.USER_MESSAGE, Sender.USER, Change(active=True)),
        "go on": (Kind.FILE_UPLOAD, Sender.USER, Change(active=True)),
        "end": (Kind.NOTIFICATION, Sender.SYSTEM, Change(active=False)),
        "answer": (
            Kind.AI_RESPONSE,
            Sender.AI,
            Change(tokens=step.number, response_ms=step.number, first_ms=7, ends_turn=True, failed=step.number < 99),
        ),
        "help": (Kind.NOTIFICATION, Sender.SYSTEM, Change(help_state=Help.ASKED)),
        "join": (Kind.ADMIN_JOIN, Sender.ADMIN, Change(joins=USERS[step.number % 4], admin_name="Bea")),
    }[step.act]
    one = entry(session_id, kind=kind, sender=sender, message_id=message_id, timestamp=step.at)
    await storage.append(one, change)


async def seen(storage: Storage, queries: Sequence[StaffQuery], times: Sequence[int]) -> list[Any]:
    """All that staff can see."""
    (start, end), now = sorted(times[:2]), times[2]
    overview = storage.overview
    return [
        [await overview.sessions(query, now) for query in queries],
        [await overview.count(query) for query in queries],
        await overview.figures(start, end, now),
        await overview.series(start, end, max(MINUTE, (end - start) // 5), now),
        await overview.series(start - start % HOUR, end, 6 * HOUR, now),
        await overview.takeovers(limit=5),
    ]


def files(folder: Path) -> Callable[[], SqliteStorage]:
    """Makes empty stores: copies of one file, which is quicker than to make each."""
    numbers, made = count(), folder / "empty.db"

    async def make() -> None:
        async with SqliteStorage(made):
            pass

    asyncio.run(make())
    return lambda: SqliteStorage(Path(shutil.copy(made, folder / f"{next(numbers)}.db")))


async def compare(store: Storage, steps: list[Step], queries: list[StaffQuery], times: list[int]) -> None:
    async with MemoryStorage() as memory, store:
        await live(memory, steps)
        await live(store, steps)
        expected = await seen(memory, queries, times)
        assert await seen(store, queries, times) == expected
        assert await seen(store, queries, times) == expected  # what was found out the first time is kept


def compared(make: Callable[[], Storage], examples: int) -> None:
    """Compare so many histories."""
    with asyncio.Runner() as runner:

        @settings(max_examples=examples)
        @given(steps=STEPS, queries=st.lists(QUERIES, min_size=1, max_size=4), times=TIMES)
        def holds(steps: list[Step], queries: list[StaffQuery], times: list[int]) -> None:
            runner.run(compare(make(), steps, queries, times))

        holds()


@pytest.mark.timeout(900)
def test_staff_see_in_sqlite_what_the_specification_says(tmp_path: Path) -> None:
    compared(files(tmp_path), 500)


@pytest.mark.timeout(900)
def test_staff_see_in_mongodb_what_the_specification_says() -> None:
    compared(lambda: one_after_the_other("mongo")(Path()), 60)


class Model(NamedTuple):
    """Every period that there was, by what it is made of."""

    periods: tuple[tuple[int, int], ...]

    def open_at(self, moment: int) -> int:
        return sum(first <= moment <= last for first, last in self.periods)

    def most(self, start: int, end: int) -> int:
        """The level changes only next to a beginning or an end."""
        edges = {edge + by for period in self.periods for edge in period for by in (-1, 0, 1)}
        return max(map(self.open_at, (edge for edge in {start, *edges} if start <= edge < end)), default=0)

    def average(self, start: int, end: int) -> float:
        """The level between two edges, weighed by the time between them."""
        edges = sorted({start, end, *(edge for period in self.periods for edge in period if start < edge < end)})
        return sum(self.between(*pair) for pair in pairwise(edges)) / (end - start) if start < end else 0.0

    def between(self, begin: int, end: int) -> int:
        return (end - begin) * sum(first <= begin and end <= last for first, last in self.periods)


PERIODS = st.lists(st.tuples(MOMENTS, st.integers(0, 3) | st.integers(0, 30 * HOUR), st.booleans()), max_size=12)


async def have_been(storage: Storage, periods: Sequence[tuple[int, int, bool]], now: int) -> Model:
    """Let each be a period of a session of its own. Those that go on, go on until now."""
    found = []
    for number, (start, length, goes_on) in enumerate(periods):
        one = await said(storage, f"user{number}", start, id=f"s{number}", last_activity=start)
        if not goes_on:
            await storage.append(entry(one.id, timestamp=start + length), Change(active=True))
            await ended(storage, one)
            found.append((start, start + length))
        elif start <= now:
            found.append((start, now))
    return Model(tuple(found))


async def check_levels(
    store: Storage, periods: list[tuple[int, int, bool]], start: int, end: int, now: int, step: int
) -> None:
    async with store:
        model = await have_been(store, periods, now)
        figures = await store.overview.figures(start, end, now)
        buckets = await store.overview.series(start, end, step, now)
    assert figures.max_concurrent == model.most(start, end)
    assert figures.avg_concurrent == pytest.approx(model.average(start, min(end, now)))
    steps = grid(start, end, step)
    assert [one.start for one in buckets] == list(steps)
    most = [model.most(at, min(at + steps.step, steps.stop)) for at in steps]
    assert [one.max_concurrent for one in buckets] == most


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "examples"), [("memory", 1000), ("sqlite", 400), ("mongo", 60)])
def test_the_level_of_open_sessions_is_that_of_every_moment(tmp_path: Path, kind: str, examples: int) -> None:
    makes: dict[str, Callable[[], Storage]] = {
        "memory": MemoryStorage,
        "sqlite": files(tmp_path),
        "mongo": lambda: one_after_the_other("mongo")(tmp_path),
    }
    with asyncio.Runner() as runner:

        @settings(max_examples=examples)
        @given(periods=PERIODS, times=TIMES, step=st.sampled_from([MINUTE * 61, HOUR, 5 * HOUR, DAY]))
        def holds(periods: list[tuple[int, int, bool]], times: list[int], step: int) -> None:
            start, end = sorted(times[:2])
            start = max(start, end - 30 * step)
            runner.run(check_levels(makes[kind](), periods, start, end, times[2], step))

        holds()
