"""What has to be done from time to time."""

import asyncio
import gc
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbox.errors import StorageBusy
from chatbox.housekeeping import DAY_MS, Housekeeping, Periods
from chatbox.llm.base import End, Piece
from chatbox.protocol import AskHelp
from chatbox.session import Kind, now_ms
from chatbox.sessions import NEW
from chatbox.storage.base import SessionQuery
from chatbox.storage.memory import MemoryStorage
from tests.mutants import found
from tests.storage.values import entry, session
from tests.world import Failing, Scripted, World, encrypted, principal, world

HOUR = 3600.0


def housekeeping(here: World, *, kind: type[Housekeeping] = Housekeeping, **periods) -> Housekeeping:
    given = Periods(**({"interval": HOUR, "session_ttl": HOUR, "reconnect_timeout": HOUR} | periods))
    return kind(here.storage, here.hub, here.sessions, here.replies, given)


async def used(here: World, user: str = "ann", *, leave: bool = True, end: bool = True):
    """A session in which something was said."""
    ear = await here.enter(user, NEW)
    await here.do(ear, AskHelp(message_id="h"), user)
    if leave:
        here.leave(ear)
    if end:
        await here.sessions.close(await here.storage.get(ear.session_id))
    return ear


def away(here: World, ear, seconds: float) -> None:
    """As if the last socket had left so long ago."""
    here.hub.room(ear.session_id).left_at -= seconds


# -- sessions leave memory (issue 1) -----------------------------------------------------------------------------------


@pytest.mark.readiness(issue=1)
async def test_ended_sessions_leave_memory_after_their_time(tmp_path):
    async with world(encrypted(tmp_path)) as here:
        ear = await used(here)
        await housekeeping(here).sweep()
        assert len(here.hub) == 1
        away(here, ear, HOUR)
        await housekeeping(here).sweep()
        assert len(here.hub) == 0
        assert await here.storage.get(ear.session_id)


async def memory_comes_back(here: World, keeper: Housekeeping, count: int) -> None:
    """The check of issue 1: sessions made and ended leave memory as it was."""
    for number in range(count):
        ear = await used(here, f"user {number}")
        await here.sessions.delete(await here.storage.get(ear.session_id))
        here.sessions._locks.clear()
    await keeper.sweep()
    assert len(here.hub) == len(here.replies) == len(here.tasks) == len(here.hub._opening) == 0
    assert here.backplane._listening == here.backplane._answers == {}


@pytest.mark.readiness(issue=1)
async def test_a_thousand_sessions_made_and_ended_leave_memory_as_it_was():
    async with world() as here:
        keeper = housekeeping(here, session_ttl=0.0)
        for number in range(1000):
            await used(here, f"user {number}")
        assert len(here.hub) == 1000
        await keeper.sweep()
        assert len(here.hub) == len(here.replies) == len(here.tasks) == 0
        assert here.backplane._listening == here.backplane._answers == {}
        gc.collect()
        tracemalloc.start()
        await memory_comes_back(here, keeper, 200)
        before = tracemalloc.get_traced_memory()[0]
        await memory_comes_back(here, keeper, 200)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert grown < 400_000


class Forgetful(Housekeeping):
    """The seed's defect: ended sessions stay."""

    async def _evict(self) -> None:
        pass


@pytest.mark.readiness(issue=1)
async def test_a_sweep_that_leaves_ended_sessions_in_memory_would_be_found():
    with found():
        await check_selective([(False, False, 2 * HOUR)], kind=Forgetful)


class Greedy(Housekeeping):
    """Another defect: active sessions go too."""

    async def _evict(self) -> None:
        for session_id in self._hub.idle(self._periods.session_ttl):
            await self._hub.evict(session_id)


@pytest.mark.readiness(issue=1)
async def test_a_sweep_that_removes_active_sessions_would_be_found():
    with found():
        await check_selective([(True, False, 2 * HOUR)], kind=Greedy)


async def check_selective(cases, *, kind=Housekeeping, ttl=HOUR, reconnect=10 * HOUR):
    """After a sweep exactly those rooms are gone that are idle, whose session is not active and whose time has come."""
    async with world(reconnect_timeout=reconnect) as here:
        kept, gone = set(), set()
        for number, (active, listening, seconds) in enumerate(cases):
            ear = await used(here, f"user {number}", leave=not listening, end=not active)
            if not listening:
                away(here, ear, seconds)
            stays = active or listening or seconds < ttl
            (kept if stays else gone).add(ear.session_id)
        await housekeeping(here, kind=kind, session_ttl=ttl, reconnect_timeout=reconnect).sweep()
        assert {ear for ear in kept | gone if here.hub.room(ear)} == kept


times_away = st.floats(0.0, 2 * HOUR).filter(lambda seconds: abs(seconds - HOUR) > 5)
expired = st.floats(HOUR + 5, 9 * HOUR)


@pytest.mark.readiness(issue=1)
@given(expired)
def test_an_ended_session_whose_time_has_come_is_removed(seconds):
    asyncio.run(check_selective([(False, False, seconds)]))


@pytest.mark.readiness(issue=1)
@given(st.lists(expired, min_size=2, max_size=6))
def test_several_ended_sessions_are_removed_in_one_sweep(seconds):
    asyncio.run(check_selective([(False, False, each) for each in seconds]))


@pytest.mark.readiness(issue=1)
@given(st.lists(st.floats(0.0, HOUR - 10), max_size=5))
def test_a_session_without_an_end_time_stays_for_those_who_come_back(absences):
    async def run():
        async with world() as here:
            for number, seconds in enumerate(absences):
                away(here, await used(here, f"user {number}", end=False), seconds)
            await housekeeping(here, session_ttl=0.0).sweep()
            assert len(here.hub) == len(absences)

    asyncio.run(run())


@pytest.mark.readiness(issue=1)
@given(times_away, st.floats(60.0, 2 * HOUR))
def test_the_time_to_live_decides(seconds, ttl):
    if abs(seconds - ttl) > 5:
        asyncio.run(check_selective([(False, False, seconds)], ttl=ttl))


@pytest.mark.readiness(issue=1)
@given(times_away)
def test_an_active_session_is_never_removed(seconds):
    asyncio.run(check_selective([(True, False, seconds), (True, True, 0.0)]))


@pytest.mark.readiness(issue=1)
@given(st.lists(times_away, max_size=6))
def test_all_active_sessions_are_kept(seconds):
    asyncio.run(check_selective([(True, False, each) for each in seconds]))


@pytest.mark.readiness(issue=1)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), times_away), max_size=8))
def test_a_sweep_is_selective(cases):
    asyncio.run(check_selective(cases))


@pytest.mark.readiness(issue=1)
async def test_the_sweep_goes_on_by_itself_and_ends_with_the_app():
    async with world(Failing(MemoryStorage())) as here:
        ear = await used(here)
        away(here, ear, HOUR)
        here.storage.down = {"find"}
        sweeping = here.tasks.start(housekeeping(here, interval=0.001).run(), "housekeeping")
        async with asyncio.timeout(5):
            while here.storage.failures < 2:
                await asyncio.sleep(0.001)
            here.storage.down = set()
            while len(here.hub):
                await asyncio.sleep(0.001)
    assert sweeping.cancelled()


# -- the rest of the sweep ---------------------------------------------------------------------------------------------


async def test_a_session_is_ended_when_its_user_has_been_away_for_long_with_its_last_activity_as_the_end():
    async with world(reconnect_timeout=HOUR) as here:
        ear = await used(here, end=False)
        await here.storage.append(entry(ear.session_id, timestamp=now_ms() - 5 * 3_600_000))
        old = await here.storage.get(ear.session_id)
        await housekeeping(here).sweep()
        assert (await here.storage.get(ear.session_id)).is_active
        here.storage._logs[ear.session_id].session = with_activity(old, now_ms() - 5 * 3_600_000)
        await housekeeping(here).sweep()
        assert (await here.storage.get(ear.session_id)).is_active
        away(here, ear, HOUR)
        await housekeeping(here).sweep()
        ended = await here.storage.get(ear.session_id)
        assert not ended.is_active
        assert ended.end_time == ended.last_activity
        assert here.hub.room(ear.session_id) is None


def with_activity(old, at):
    from msgspec.structs import replace

    return replace(old, last_activity=at)


@pytest.mark.parametrize("stays", ["a socket", "an answer"])
async def test_a_session_with_a_socket_or_an_answer_is_not_ended(stays):
    gate = asyncio.Event()
    async with world(None, Scripted((Piece("a"), gate, End())), reconnect_timeout=0.0) as here:
        ear = await here.enter()
        await here.say(ear, "hi")
        await ear.hear("ai_response")
        if stays == "an answer":
            here.leave(ear)
        else:
            gate.set()
            await here.quiet()
        await asyncio.sleep(0.002)
        await housekeeping(here, reconnect_timeout=0.0).sweep()
        assert (await here.storage.get(ear.session_id)).is_active
        gate.set()


async def test_sessions_in_which_nothing_was_said_are_deleted_when_nobody_comes_back():
    async with world(reconnect_timeout=0.0) as here:
        ear = await here.enter()
        await asyncio.sleep(0.002)
        await housekeeping(here, reconnect_timeout=0.0, session_ttl=0.0).sweep()
        assert await here.storage.get(ear.session_id)
        here.leave(ear)
        await housekeeping(here, reconnect_timeout=HOUR, session_ttl=0.0).sweep()
        assert len(here.hub) == 1
        await housekeeping(here, reconnect_timeout=0.0).sweep()
        assert await here.storage.get(ear.session_id) is None
        assert len(here.hub) == 0


@pytest.mark.parametrize(("days", "left"), [(0, 2), (30, 1)])
async def test_retention_deletes_what_is_old(days, left):
    async with world() as here:
        for age in (1, 40):
            old = session(user_id="ann", last_activity=now_ms() - age * DAY_MS)
            await here.storage.create(old)
            await here.storage.append(entry(old.id, timestamp=now_ms() - age * DAY_MS))
        await housekeeping(here, retention_days=days).sweep()
        assert len(await here.storage.find(SessionQuery(user_id="ann"))) == left


async def test_unfinished_answers_are_closed_also_very_many():
    async with world() as here:
        sessions = [session(last_activity=number) for number in range(1001)]
        for one in sessions:
            await here.storage.create(one)
            from chatbox.session import Change

            await here.storage.append(entry(one.id, kind=Kind.TURN), Change(takes_turn="a" + one.id))
        assert await housekeeping(here).settle() == 1001
        assert await housekeeping(here).settle() == 0


async def test_a_session_that_is_gone_in_the_middle_of_a_sweep_is_no_error():
    async with world(reconnect_timeout=0.0) as here:
        ear = await used(here, end=False)
        await asyncio.sleep(0.002)
        find = here.storage.find

        async def find_and_lose(query):
            found = await find(query)
            if query.active:
                for one in found:
                    await here.storage.delete(one.id)
            return found

        here.storage.find = find_and_lose
        await housekeeping(here, reconnect_timeout=0.0).sweep()
        assert here.hub.room(ear.session_id) is None or not here.hub.room(ear.session_id).listeners


async def test_a_store_that_is_down_ends_no_sweep_for_good():
    async with world(Failing(MemoryStorage())) as here:
        here.storage.down = {"find"}
        with pytest.raises(StorageBusy):
            await housekeeping(here).sweep()
        here.storage.down = set()
        await housekeeping(here).sweep()
        assert (await here.enter()).session_id
        assert principal("ann").user_id == "ann"
