"""What has to be done from time to time."""

import asyncio
import gc
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chatbox import housekeeping as module
from chatbox.backplane.base import Grant, Stored, Turn
from chatbox.backplane.memory import MemoryBackplane, MemoryBus
from chatbox.errors import StorageBusy
from chatbox.housekeeping import DAY_MS, Housekeeping, Periods
from chatbox.llm.base import End, Piece
from chatbox.protocol import AskHelp
from chatbox.session import Change, Kind, new_id, now_ms
from chatbox.sessions import LISTENERS, NEW
from chatbox.storage.base import SessionQuery
from chatbox.storage.memory import MemoryStorage
from chatbox.turn import turn_entry
from tests.mutants import found
from tests.storage.values import entry, session
from tests.world import Around, Failing, Scripted, World, encrypted, world

HOUR = 3600.0


def housekeeping(here: World, *, kind: type[Housekeeping] = Housekeeping, **periods) -> Housekeeping:
    given = Periods(**({"interval": HOUR, "session_ttl": HOUR, "reconnect_timeout": HOUR} | periods))
    return kind(here.storage, here.hub, here.sessions, here.replies, given)


async def used(here: World, user: str = "ann", *, leave: bool = True, end: bool = True):
    """A session in which something was said."""
    ear = await here.enter(user, NEW)
    await here.do(ear, AskHelp(message_id="h"), user)
    if leave:
        await here.leave(ear)
    if end:
        await here.sessions.close(await here.storage.get(ear.session_id))
    return ear


def away(here: World, ear, seconds: float) -> None:
    """As if the last socket had left so long ago, and nothing had been said since."""
    left(here, ear, seconds)
    silent(here, ear, seconds)


def left(here: World, ear, seconds: float) -> None:
    here.hub.room(ear.session_id).left_at -= seconds
    listeners = here.quotas._pools[LISTENERS]._keys.get(ear.session_id, {})
    for socket_id in listeners:
        listeners[socket_id] -= seconds


def silent(here: World, ear, seconds: float) -> None:
    store = getattr(here.storage, "inner", here.storage)
    if isinstance(store, MemoryStorage):
        log = store._logs[ear.session_id]
        log.session = replace(log.session, last_activity=log.session.last_activity - round(seconds * 1000))


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
    await keeper.sweep()
    await nothing_left(here)


async def nothing_left(here: World) -> None:
    """All registries are empty, those of who has left when that is long enough ago."""
    await here.quiet()
    assert len(here.hub) == len(here.replies) == len(here.tasks) == len(here.hub._opening) == 0
    assert here.backplane._listening == set()
    assert here.backplane._bus.known == here.backplane._bus.answers == here.backplane._bus.leases == {}
    for pool in here.quotas._pools.values():
        for members in pool._keys.values():
            members.update(dict.fromkeys(members, 0.0))
        pool.sweep()
        assert pool._keys == {}


@pytest.mark.readiness(issue=1)
async def test_a_thousand_sessions_made_and_ended_leave_memory_as_it_was():
    async with world() as here:
        keeper = housekeeping(here, session_ttl=0.0)
        for number in range(1000):
            await used(here, f"user {number}")
        assert len(here.hub) == 1000
        await keeper.sweep()
        await nothing_left(here)
        gc.collect()
        tracemalloc.start()
        try:
            await memory_comes_back(here, keeper, 200)
            before = tracemalloc.get_traced_memory()[0]
            await memory_comes_back(here, keeper, 200)
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] - before < 400_000
        finally:
            tracemalloc.stop()


class Forgetful(Housekeeping):
    """The seed's defect: ended sessions stay."""

    async def _evict(self) -> None:
        pass


@pytest.mark.readiness(issue=1)
@pytest.mark.parametrize("state", ["ended", "left open"])
async def test_a_sweep_that_leaves_ended_sessions_in_memory_would_be_found(state):
    with found():
        await check_selective([(state, 2 * HOUR)], kind=Forgetful)


class Greedy(Housekeeping):
    """Another defect: active sessions go too."""

    async def _evict(self) -> None:
        limit = time.monotonic() - self._periods.session_ttl
        for room in self._hub.rooms():
            if room.left_at <= limit:
                await self._hub.forget(room.session_id)


ACTIVE = ("listened to", "answered", "answered elsewhere", "about to be answered elsewhere")
STATES = ("ended", "left open", *ACTIVE)


@pytest.mark.readiness(issue=1)
@pytest.mark.parametrize("state", ACTIVE)
async def test_a_sweep_that_removes_active_sessions_would_be_found(state):
    await check_selective([(state, 2 * HOUR)])
    with found():
        await check_selective([(state, 2 * HOUR)], kind=Greedy)


async def check_selective(cases, *, kind=Housekeeping, ttl=HOUR, reconnect=10 * HOUR):
    """After a sweep exactly those rooms are gone that nobody listens to, that are not being answered, and whose time
    has come."""
    bus, gate = MemoryBus(), asyncio.Event()
    answering = Scripted((Piece("a"), gate, End()))
    async with world(None, answering, reconnect_timeout=reconnect, backplane=MemoryBackplane(bus)) as here:
        kept, gone = set(), set()
        for number, (state, seconds) in enumerate(cases):
            ear = await in_state(here, MemoryBackplane(bus), state, f"user {number}")
            left(here, ear, seconds)
            (kept if state in ACTIVE or seconds < ttl else gone).add(ear.session_id)
        await housekeeping(here, kind=kind, session_ttl=ttl, reconnect_timeout=reconnect).sweep()
        assert {ear for ear in kept | gone if here.hub.room(ear)} == kept


async def in_state(here: World, elsewhere: MemoryBackplane, state: str, user: str):
    ear = await used(here, user, leave=False, end=state == "ended")
    if state == "answered":
        await here.say(ear, "hi", user=user)
        await ear.hear("ai_response")
    elif state == "answered elsewhere":
        await begun(here, elsewhere, ear)
    elif state == "about to be answered elsewhere":
        await taken(here, elsewhere, ear)
    if state != "listened to":
        await here.leave(ear)
    return ear


async def begun(here: World, elsewhere: MemoryBackplane, ear) -> str:
    """Another process, at the other end of the bus, begins an answer."""
    turn = await taken(here, elsewhere, ear)
    await elsewhere.begin(ear.session_id, turn)
    await elsewhere.push(ear.session_id, turn.answer_id, "It is ")
    return turn.answer_id


async def taken(here: World, elsewhere: MemoryBackplane, ear) -> Turn:
    """Another process takes the turn."""
    answer_id = new_id()
    assert await elsewhere.acquire(ear.session_id, answer_id) is Grant.SURE
    stored = await here.storage.append(turn_entry(ear.session_id, answer_id), Change(takes_turn=answer_id))
    await elsewhere.publish(ear.session_id, Stored(stored.entry))
    return Turn(answer_id, stored.entry.index, stored.session.fence)


times_away = st.floats(0.0, 2 * HOUR).filter(lambda seconds: abs(seconds - HOUR) > 5)
expired = st.floats(HOUR + 5, 9 * HOUR)


@pytest.mark.readiness(issue=1)
@given(expired, st.sampled_from(["ended", "left open"]))
def test_a_session_whose_time_has_come_is_removed(seconds, state):
    asyncio.run(check_selective([(state, seconds)]))


@pytest.mark.readiness(issue=1)
@given(st.lists(expired, min_size=2, max_size=6))
def test_several_ended_sessions_are_removed_in_one_sweep(seconds):
    asyncio.run(check_selective([("ended", each) for each in seconds]))


@pytest.mark.readiness(issue=1)
@given(st.lists(st.floats(0.0, HOUR - 10), max_size=5))
def test_a_session_without_an_end_time_waits_for_those_who_come_back(absences):
    async def run():
        async with world(reconnect_timeout=HOUR) as here:
            ears = {f"user {number}": seconds for number, seconds in enumerate(absences)}
            for user, seconds in ears.items():
                ears[user] = await used(here, user, end=False)
                away(here, ears[user], seconds)
            await housekeeping(here, session_ttl=0.0).sweep()
            nobody_needs_them = len(here.hub)
            assert nobody_needs_them == 0
            for user, ear in ears.items():
                assert (await here.storage.get(ear.session_id)).is_active
                assert (await here.enter(user)).session_id == ear.session_id

    asyncio.run(run())


@pytest.mark.readiness(issue=1)
@given(times_away, st.floats(60.0, 2 * HOUR))
def test_the_time_to_live_decides(seconds, ttl):
    if abs(seconds - ttl) > 5:
        asyncio.run(check_selective([("ended", seconds), ("left open", seconds)], ttl=ttl))


@pytest.mark.readiness(issue=1)
@given(times_away, st.sampled_from(ACTIVE))
def test_an_active_session_is_never_removed(seconds, state):
    asyncio.run(check_selective([(state, seconds)]))


@pytest.mark.readiness(issue=1)
@given(st.lists(times_away, max_size=3))
def test_all_active_sessions_are_kept(seconds):
    asyncio.run(check_selective([(state, each) for each in seconds for state in ACTIVE]))


@pytest.mark.readiness(issue=1)
@given(st.lists(st.tuples(st.sampled_from(STATES), times_away), max_size=8))
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
        away(here, ear, HOUR + 1)
        await housekeeping(here).sweep()
        ended = await here.storage.get(ear.session_id)
        assert not ended.is_active
        assert ended.end_time == ended.last_activity
        assert here.hub.room(ear.session_id) is None


@pytest.mark.parametrize("what", ["the last socket left", "something was said"])
async def test_a_session_waits_for_its_user_when_only_a_moment_ago(what):
    async with world(reconnect_timeout=HOUR) as here:
        ear = await used(here, end=False)
        (silent if what == "the last socket left" else left)(here, ear, 5 * HOUR)
        await housekeeping(here).sweep()
        assert (await here.storage.get(ear.session_id)).is_active


async def test_a_user_who_comes_back_after_all_replicas_were_down_finds_the_session_by_its_last_activity():
    async with world(reconnect_timeout=HOUR) as here:
        ear = await used(here, end=False)
        left(here, ear, 5 * HOUR)
        assert await here.quotas.members(LISTENERS, ear.session_id) == set()
        back = await here.enter()
        assert back.session_id == ear.session_id
        await here.leave(back)
        away(here, ear, 5 * HOUR)
        assert (await here.enter()).session_id != ear.session_id
        assert not (await here.storage.get(ear.session_id)).is_active


async def test_a_user_who_is_connected_to_another_replica_is_not_away():
    async with world(reconnect_timeout=HOUR) as here:
        ear = await used(here, end=False)
        away(here, ear, 5 * HOUR)
        await here.quotas.enter(LISTENERS, ear.session_id, "a socket elsewhere")
        await housekeeping(here).sweep()
        assert (await here.storage.get(ear.session_id)).is_active


@pytest.mark.parametrize("stays", ["a socket", "an answer", "an answer elsewhere"])
async def test_a_session_with_a_socket_or_an_answer_is_not_ended(stays):
    gate, bus = asyncio.Event(), MemoryBus()
    script = Scripted((Piece("a"), gate, End()))
    async with world(None, script, reconnect_timeout=0.0, backplane=MemoryBackplane(bus)) as here:
        ear = await here.enter()
        await here.say(ear, "hi")
        await ear.hear("ai_response")
        if stays != "an answer":
            gate.set()
            await here.quiet()
        if stays == "an answer elsewhere":
            await begun(here, MemoryBackplane(bus), ear)
        if stays != "a socket":
            await here.leave(ear)
        await asyncio.sleep(0.002)
        sweeping = here.tasks.start(housekeeping(here, reconnect_timeout=0.0).sweep(), "sweep")
        await asyncio.wait([sweeping], timeout=5.0)
        assert sweeping.done()
        assert (await here.storage.get(ear.session_id)).is_active
        assert Kind.STOP not in [entry.kind for entry in await here.log(ear.session_id)]
        gate.set()


async def test_sessions_in_which_nothing_was_said_are_deleted_when_nobody_comes_back():
    async with world(reconnect_timeout=0.0) as here:
        ear = await here.enter()
        await asyncio.sleep(0.002)
        await housekeeping(here, reconnect_timeout=0.0, session_ttl=0.0).sweep()
        assert await here.storage.get(ear.session_id)
        await here.leave(ear)
        await housekeeping(here, reconnect_timeout=HOUR, session_ttl=0.0).sweep()
        assert len(here.hub) == 0
        assert await here.storage.get(ear.session_id)
        await here.leave(await here.enter())
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


# -- what no process sees to -------------------------------------------------------------------------------------------


class Watched:
    """A world with an ear in it, whose keeper watches; ``looks`` counts how often it has looked. The other process is
    at the other end of ``elsewhere``."""

    def __init__(self, here: World, elsewhere: MemoryBackplane, ear):
        self.here, self.elsewhere, self.ear = here, elsewhere, ear
        self.looks = 0
        self._rooms, here.hub.rooms = here.hub.rooms, self._look

    def _look(self):
        self.looks += 1
        return self._rooms()

    def watch(self) -> None:
        self.here.tasks.start(housekeeping(self.here).watch(), "watch")

    async def look_on(self, times: int = 5) -> None:
        until = self.looks + times
        async with asyncio.timeout(10):
            while self.looks < until:
                await asyncio.sleep(0.001)

    async def log(self):
        return [(entry.kind, entry.content) for entry in await self.here.log(self.ear.session_id)]


@pytest.fixture
async def watched(monkeypatch):
    monkeypatch.setattr(module, "WATCH", 0.01)
    bus = MemoryBus()
    async with world(Failing(MemoryStorage()), backplane=MemoryBackplane(bus)) as here, MemoryBackplane(bus) as other:
        yield Watched(here, other, await here.enter())


async def asked_elsewhere(watched: Watched) -> None:
    """A question comes in through another process."""
    asked = await watched.here.storage.append(entry(watched.ear.session_id, content="What time is it?"))
    await watched.elsewhere.publish(watched.ear.session_id, Stored(asked.entry))


async def died(watched: Watched) -> None:
    """The other process is dead; its leases have run out."""
    await watched.elsewhere.__aexit__(None, None, None)
    watched.elsewhere._bus.planes.append(watched.elsewhere)


async def test_an_answer_whose_process_died_is_closed_at_the_next_look(watched):
    await asked_elsewhere(watched)
    answer_id = await begun(watched.here, watched.elsewhere, watched.ear)
    await watched.ear.hear("ai_response")
    await died(watched)
    watched.watch()
    end = await watched.ear.done()
    assert watched.looks == 1
    assert (end["message_id"], end["metadata"]["finish_reason"]) == (answer_id, "interrupted")
    await watched.look_on()
    assert (await watched.log())[1:] == [(Kind.TURN, ""), (Kind.AI_RESPONSE, "It is ")]
    assert watched.ear.copy.broken == []
    assert watched.ear.copy.texts[answer_id] == "It is "


async def test_an_answer_that_lives_elsewhere_is_left_alone(watched):
    await asked_elsewhere(watched)
    answer_id = await begun(watched.here, watched.elsewhere, watched.ear)
    watched.watch()
    await watched.look_on()
    await watched.elsewhere.push(watched.ear.session_id, answer_id, "noon.")
    await watched.look_on()
    assert (await watched.here.storage.get(watched.ear.session_id)).answer_id == answer_id
    assert [frame["content"] for frame in watched.ear.of("ai_response")] == ["It is ", "noon."]
    assert (watched.ear.ends, len(watched.here.replies)) == ([], 0)


async def test_a_question_that_nobody_took_up_is_answered(watched):
    await asked_elsewhere(watched)
    watched.watch()
    end = await watched.ear.done()
    assert end["metadata"]["finish_reason"] == "stop"
    await watched.here.storage.append(entry(watched.ear.session_id, kind=Kind.NOTIFICATION))
    await watched.look_on()
    assert [kind for kind, _ in await watched.log()].count(Kind.AI_RESPONSE) == 1
    assert list(watched.ear.copy.texts.values()) == ["What time is it?", "Hello there"]


async def test_a_question_that_waits_behind_an_answer_elsewhere_is_answered_when_its_process_has_died(watched):
    await asked_elsewhere(watched)
    await begun(watched.here, watched.elsewhere, watched.ear)
    await asked_elsewhere(watched)
    watched.watch()
    await watched.look_on()
    assert watched.ear.ends == []
    await died(watched)
    ends = [await watched.ear.done(), await watched.ear.done(2)]
    assert [end["metadata"]["finish_reason"] for end in ends] == ["interrupted", "stop"]
    assert watched.ear.copy.broken == []


@pytest.mark.parametrize("what", ["a question", "an answer"])
async def test_where_nobody_listens_nothing_is_seen_to(watched, what):
    await asked_elsewhere(watched)
    if what == "an answer":
        await begun(watched.here, watched.elsewhere, watched.ear)
    await watched.here.leave(watched.ear)
    await died(watched)
    before = await watched.log()
    watched.watch()
    await watched.look_on()
    assert await watched.log() == before


async def test_a_session_that_owes_nothing_costs_the_store_nothing(watched):
    await watched.here.say(watched.ear, "hi")
    await watched.ear.done()
    await watched.here.quiet()
    watched.here.storage.calls.clear()
    watched.watch()
    await watched.look_on()
    assert watched.here.storage.calls == []


async def test_a_store_that_is_down_does_not_end_the_watch(watched):
    await asked_elsewhere(watched)
    await begun(watched.here, watched.elsewhere, watched.ear)
    await died(watched)
    watched.here.storage.down = {"get"}
    watched.watch()
    await watched.look_on()
    assert (watched.here.storage.failures > 2, watched.ear.ends) == (True, [])
    watched.here.storage.down = set()
    assert (await watched.ear.done())["metadata"]["finish_reason"] == "interrupted"


async def test_a_session_that_was_deleted_elsewhere_does_not_end_the_watch(watched):
    await asked_elsewhere(watched)
    await watched.here.storage.delete(watched.ear.session_id)
    watched.watch()
    await watched.look_on()
    assert watched.here.tasks.failed == 0


class SpokenTo(Around):
    """Something is said just before a session is deleted."""

    async def around(self, name, call):
        if name == "delete":
            for one in await self.inner.find(SessionQuery(empty=True)):
                await self.inner.append(entry(one.id, content="wait!"), Change(active=True))
        return await call()


async def test_a_session_in_which_something_is_said_while_it_is_swept_stays():
    async with world(SpokenTo(MemoryStorage()), reconnect_timeout=0.0) as here:
        ear = await here.enter()
        await here.leave(ear)
        here.quotas._pools[LISTENERS]._keys.clear()
        await asyncio.sleep(0.002)
        await housekeeping(here, reconnect_timeout=0.0, session_ttl=0.0).sweep()
        assert [said.content for said in await here.log(ear.session_id)] == ["wait!"]
        assert ear.closed is None
