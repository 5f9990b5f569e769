"""Redis goes away, comes back empty, hangs, or delivers nothing; replicas are cut off, stopped, and die."""

import asyncio
import signal
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from chatbox.backplane.base import LEASE, Grant, Piece, Removed, Running, Signal, Stored, Turn
from chatbox.backplane.redis import RedisBackplane, Timing
from chatbox.backplane.redis.scripts import ACQUIRE, FINISH, MEND, PUSH, RENEW, Keys
from chatbox.errors import BackplaneDown, Fenced
from chatbox.session import STEP
from tests.backplane.replicas import BARRIER, KEYRING, Replica, all_heard, eventually
from tests.proxy import Proxy
from tests.redis_server import DeafProxy
from tests.storage.values import entry

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TURN = Turn("a", 2, 1)


@asynccontextmanager
async def several(*urls, timing=None):
    """A replica at each address, listening to ``s``."""
    async with AsyncExitStack() as stack:
        opened = [Replica(await stack.enter_async_context(RedisBackplane(url, KEYRING, timing=timing))) for url in urls]
        for replica in opened:
            await replica.plane.listen(BARRIER)
            await replica.plane.listen("s")
        yield opened


def through(proxy):
    """The address of Redis behind a proxy."""
    return f"redis://127.0.0.1:{proxy.port}/0"


async def answers(replica, count=3, answer_id="a", index=2):
    """Begin an answer and push some pieces."""
    grant = await replica.plane.acquire("s", answer_id)
    await replica.plane.begin("s", Turn(answer_id, index, 1))
    for number in range(count):
        await replica.plane.push("s", answer_id, str(number))
    return grant


async def sound(*replicas):
    """Wait until all is well again."""
    async with asyncio.timeout(60):
        for replica in replicas:
            while not await healthy(replica):
                await asyncio.sleep(0.02)


async def healthy(replica):
    with suppress(BackplaneDown):
        await replica.plane.check()
        return True
    return False


async def pushes(replica, text="more"):
    """Whether the answer's next piece is taken."""
    with suppress(Fenced):
        await replica.plane.push("s", "a", text)
        return True
    return False


def pieces(*texts, start=2 * STEP, answer_id="a"):
    return tuple(Piece(answer_id, start + number, text) for number, text in enumerate(texts, start=1))


# -- Redis dies --------------------------------------------------------------------------------------------------------


async def test_while_redis_is_dead_a_replica_hears_itself_and_afterwards_all_look_into_the_store(redis_server):
    async with several(*[redis_server.url] * 2) as replicas:
        teller, other = replicas
        redis_server.kill()
        events = [Stored(entry("s", index=1)), Signal("{}"), Removed()]
        for event in events:
            await teller.plane.publish("s", event)
        assert teller.events() == events
        for replica in replicas:
            with pytest.raises(BackplaneDown, match=r"can't be reached"):
                await replica.plane.check()
        redis_server.start()
        await sound(*replicas)
        for replica in replicas:
            await replica.until(lambda heard=replica.behind: ("s", None) in heard)
        assert other.events() == []
        await teller.plane.publish("s", Signal("after"))
        await all_heard(*replicas)
        assert other.events() == [Signal("after")]


async def test_an_answer_goes_on_while_redis_dies_and_comes_back_empty_and_is_whole_everywhere(redis_server):
    async with several(*[redis_server.url] * 2) as replicas:
        writer, other = replicas
        assert await answers(writer) is Grant.SURE
        redis_server.kill()
        await writer.plane.push("s", "a", "3")
        await writer.plane.push("s", "a", "4")
        assert await writer.plane.running("s", 2) == Running(TURN, pieces(*"01234"))
        assert await other.plane.running("s", 2) is None
        redis_server.start()
        await sound(*replicas)
        await writer.plane.push("s", "a", "5")
        await all_heard(*replicas)
        whole = pieces(*"012345")
        assert tuple(writer.pieces()) == whole
        assert [await replica.plane.running("s", 2) for replica in replicas] == [Running(TURN, whole)] * 2
        assert await other.plane.acquire("s", "b") is None


async def test_an_entry_told_while_redis_was_dead_lies_before_the_pieces_that_follow(redis_server):
    async with several(redis_server.url) as (writer,):
        await answers(writer, 1)
        redis_server.kill()
        await writer.plane.publish("s", Stored(entry("s", index=3, message_id="m")))
        await writer.plane.push("s", "a", "1")
        redis_server.start()
        await sound(writer)
        await writer.plane.push("s", "a", "2")
        assert next(event for event in writer.events() if isinstance(event, Stored)).after == 2 * STEP + 1
        assert [piece.seq for piece in writer.pieces()] == [2 * STEP + 1, 3 * STEP + 1, 3 * STEP + 2]


async def test_pieces_lie_behind_an_entry_that_was_heard_before_redis_died(redis_server):
    async with several(*[redis_server.url] * 2) as (writer, other):
        await answers(writer, 1)
        await other.plane.publish("s", Stored(entry("s", index=3)))
        await writer.until(lambda: isinstance(writer.events()[-1], Stored))
        redis_server.kill()
        await writer.plane.push("s", "a", "1")
        assert writer.pieces()[-1] == Piece("a", 3 * STEP + 1, "1")


async def test_a_turn_that_began_while_redis_was_dead_is_everyones_when_it_is_back(redis_server):
    async with several(*[redis_server.url] * 2) as replicas:
        writer, other = replicas
        redis_server.kill()
        assert await answers(writer) is Grant.ALONE
        assert await writer.plane.acquire("s", "a") is Grant.ALONE
        assert await writer.plane.acquire("s", "b") is None
        assert writer.events() == [TURN, *pieces(*"012")]
        redis_server.start()
        await sound(*replicas)
        await eventually(lambda: ("s", 2 * STEP + 3) in other.behind or other.pieces())
        assert await other.plane.running("s", 2) == Running(TURN, pieces(*"012"))
        assert await other.plane.acquire("s", "b") is None
        await writer.plane.finish("s", "a")
        assert await other.plane.acquire("s", "b") is Grant.ALONE
        assert await other.plane.running("s", 2) is None


async def test_nobodys_turn_is_ended_for_the_life_of_a_lease_after_redis_is_back(redis_server):
    async with several(*[redis_server.url] * 2, timing=Timing(lease=2.0)) as replicas:
        redis_server.kill()
        redis_server.start()
        back = time.monotonic()
        await sound(*replicas)
        grant = Grant.ALONE
        while grant is Grant.ALONE:
            grant = await replicas[0].plane.acquire("s", "a")
            await replicas[0].plane.finish("s", "a")
            await asyncio.sleep(0.02)
        assert grant is Grant.SURE
        assert time.monotonic() - back >= 1.9


async def test_redis_may_die_while_many_push(redis_server):
    """What is on its way when the line breaks is told once, at one position, and the answer is whole afterwards."""
    async with several(*[redis_server.url] * 2) as replicas:
        sessions = [f"s{number}" for number in range(10)]
        writer, other = replicas

        async def answer(session_id):
            await writer.plane.listen(session_id)
            await writer.plane.acquire(session_id, "a")
            await writer.plane.begin(session_id, TURN)
            for number in range(200):
                await writer.plane.push(session_id, "a", f"{number} ")
                await asyncio.sleep(0)

        writing = asyncio.gather(*[answer(session_id) for session_id in sessions])
        await writer.until(lambda: len(writer.pieces("s5")) > 50)
        redis_server.kill()
        await asyncio.sleep(0)
        redis_server.start()
        await writing
        await sound(*replicas)
        for session_id in sessions:
            texts = [f"{number} " for number in range(200)]
            assert tuple(writer.pieces(session_id)) == pieces(*texts)
            await writer.plane.push(session_id, "a", "end")
            assert await other.plane.running(session_id, 2) == Running(TURN, pieces(*texts, "end"))


# -- Redis refuses -----------------------------------------------------------------------------------------------------


async def test_a_redis_that_becomes_a_copy_is_left_until_it_takes_writes_again(redis_server):
    async with several(*[redis_server.url] * 2) as replicas:
        with redis_server.client() as client:
            await answers(replicas[0])
            client.config_set("replica-serve-stale-data", "yes")
            client.replicaof("127.0.0.1", "1")
            await replicas[0].plane.push("s", "a", "3")
            assert not await healthy(replicas[0])
            client.replicaof("no", "one")
            await sound(*replicas)
            await replicas[0].plane.push("s", "a", "4")
            assert (await replicas[1].plane.running("s", 2)).pieces == pieces(*"01234")


async def test_a_redis_that_is_full_is_no_end_of_an_answer(redis_server):
    async with several(*[redis_server.url] * 2, timing=Timing(lease=3.0)) as replicas:
        with redis_server.client() as client:
            await answers(replicas[0])
            client.config_set("maxmemory", 1)
            await replicas[0].plane.push("s", "a", "3")
            await replicas[0].plane.publish("s", Signal("{}"))
            assert replicas[0].events()[-1] == Signal("{}")
            assert not await healthy(replicas[0])
            client.config_set("maxmemory", 0)
            await sound(*replicas)
            await replicas[1].until(lambda: ("s", 2 * STEP + 4) in replicas[1].behind)
            await replicas[0].plane.push("s", "a", "4")
            assert (await replicas[1].plane.running("s", 2)).pieces == pieces(*"01234")


async def test_what_redis_throws_away_is_put_back(redis_server):
    async with several(*[redis_server.url] * 2, timing=Timing(lease=3.0, pulse=0.5)) as replicas:
        writer, other = replicas
        with redis_server.client() as client:
            await answers(writer)
            client.flushall()
            await writer.plane.push("s", "a", "3")
            await other.until(lambda: ("s", None) in other.behind)
            await eventually(lambda: client.exists("chatbox:1:{s}:log"))
            await writer.plane.push("s", "a", "4")
            await other.until(other.pieces)
            client.delete("chatbox:1:{s}:log")
            await eventually(lambda: client.exists("chatbox:1:{s}:log"))
        assert tuple(writer.pieces()) == pieces(*"01234")
        assert (await other.plane.running("s", 2)).pieces == pieces(*"01234")
        assert await other.plane.acquire("s", "b") is None


# -- Redis hangs, or is deaf -------------------------------------------------------------------------------------------


async def test_a_redis_that_hangs_holds_nobody_up_for_long(redis_server):
    async with several(*[redis_server.url] * 2, timing=Timing(patience=0.5)) as replicas:
        writer, _ = replicas
        await answers(writer)
        redis_server.pause()
        try:
            async with asyncio.timeout(20):
                await writer.plane.push("s", "a", "3")
                await writer.plane.publish("s", Signal("{}"))
                assert await writer.plane.acquire("t", "b") is Grant.ALONE
            assert not await healthy(writer)
            started = time.monotonic()
            await writer.plane.push("s", "a", "4")
            assert time.monotonic() - started < 0.4
        finally:
            redis_server.resume()
        await sound(*replicas)
        await writer.plane.push("s", "a", "5")
        assert tuple(writer.pieces()) == pieces(*"012345")
        assert (await replicas[1].plane.running("s", 2)).pieces == pieces(*"012345")


async def test_a_subscription_that_delivers_nothing_is_found_within_ten_seconds_and_replaced(redis_server):
    async with DeafProxy(redis_server.port) as proxy, several(through(proxy), redis_server.url) as (deaf, other):
        proxy.deaf = True
        began = time.monotonic()
        await other.plane.publish("s", Signal("lost"))
        while await healthy(deaf):
            await asyncio.sleep(0.05)
        assert time.monotonic() - began <= 10
        assert await healthy(other)
        with pytest.raises(BackplaneDown, match=r"delivers no messages: the subscription is deaf"):
            await deaf.plane.check()
        assert deaf.behind == []
        proxy.deaf = False
        await sound(deaf)
        await deaf.until(lambda: ("s", None) in deaf.behind)
        await other.plane.publish("s", Signal("heard"))
        await deaf.until(lambda: deaf.events() == [Signal("heard")])


async def test_a_subscription_that_ends_is_made_again(redis_server):
    async with several(redis_server.url) as (replica,):
        with redis_server.client() as client:
            client.client_kill_filter(_type="pubsub")
            await replica.until(lambda: ("s", None) in replica.behind)
            await sound(replica)
            assert client.pubsub_numsub(f"chatbox:1:node:{replica.plane._node}")[0][1] == 1


async def test_a_replica_that_hears_again_is_told_so_in_every_session(redis_server):
    async with several(redis_server.url) as (replica,):
        names = {f"session {number}" for number in range(1000)}
        await asyncio.gather(*[replica.plane.listen(name) for name in names])
        with redis_server.client() as client:
            client.client_kill_filter(_type="pubsub")
        await replica.until(lambda: {name for name, seq in replica.behind if seq is None} >= names)


# -- replicas are cut off ----------------------------------------------------------------------------------------------


async def test_a_replica_that_was_cut_off_tells_the_others_what_they_missed(redis_server):
    async with Proxy(redis_server.port) as proxy, several(through(proxy), redis_server.url) as (cut_off, other):
        proxy.refusing = True
        proxy.cut()
        await eventually(lambda: not cut_off.plane._link.up)
        await cut_off.plane.listen("gone")
        await other.plane.listen("gone")
        await cut_off.plane.publish("s", Stored(entry("s", index=3)))
        await cut_off.plane.publish("gone", Removed())
        proxy.refusing = False
        await other.until(lambda: {("s", 3 * STEP), ("gone", None)} <= set(other.behind))
        assert other.events() == []
        await sound(cut_off)
        await other.plane.publish("gone", Signal("heard"))
        await cut_off.until(lambda: Signal("heard") in cut_off.events("gone"))


async def test_sessions_that_are_listened_to_while_a_line_comes_up_are_heard(redis_server):
    async with Proxy(redis_server.port) as proxy, several(through(proxy), redis_server.url) as (cut_off, other):
        proxy.delay = 0.1
        proxy.cut()
        await eventually(lambda: not cut_off.plane._link.up)
        names = []
        while not cut_off.plane._link.up:
            names.append(f"session {len(names)}")
            await cut_off.plane.listen(names[-1])
            await asyncio.sleep(0.01)
        assert len(names) > 10
        proxy.delay = 0.0
        await sound(cut_off)
        await all_heard(cut_off, other)
        for name in names:
            await other.plane.publish(name, Signal("heard"))
        await cut_off.until(lambda: [name for name in names if not cut_off.events(name)] == [])


async def test_a_replica_that_was_cut_off_ends_nobodys_turn_until_others_had_time_to_renew_their_leases(redis_server):
    async with Proxy(redis_server.port) as proxy, several(through(proxy), redis_server.url) as (cut_off, other):
        proxy.cut()
        await eventually(lambda: cut_off.plane._link.number > 1)
        await sound(cut_off)
        assert await cut_off.plane.acquire("s", "a") is Grant.ALONE
        assert await other.plane.acquire("t", "b") is Grant.SURE


async def test_pieces_of_a_replica_that_was_cut_off_for_a_moment_follow(redis_server):
    async with Proxy(redis_server.port) as proxy, several(through(proxy), redis_server.url) as (cut_off, other):
        await answers(cut_off)
        await other.until(lambda: len(other.pieces()) == 3)
        proxy.cut()
        for number in range(3, 8):
            await cut_off.plane.push("s", "a", str(number))
        await sound(cut_off)
        await cut_off.plane.push("s", "a", "8")
        assert tuple(cut_off.pieces()) == pieces(*"012345678")
        assert await other.plane.running("s", 2) == Running(TURN, pieces(*"012345678"))


async def test_what_was_under_way_when_a_line_went_silent_does_no_harm_when_it_arrives_after_all(redis_server):
    async with (
        Proxy(redis_server.port) as proxy,
        several(through(proxy), redis_server.url, timing=Timing(patience=0.3)) as (writer, other),
    ):
        await answers(writer)
        for round_ in range(3):
            proxy.hole = True
            for number in range(3):
                await writer.plane.push("s", "a", f"{round_}.{number} ")
            await other.plane.publish("s", Stored(entry("s", index=5 + round_)))
            proxy.hole = False
            await sound(writer)
            await writer.plane.push("s", "a", "on ")
            await eventually(lambda: not writer.plane._leases.get("s").torn)
        own = Running(TURN, tuple(writer.pieces()))
        texts = [f"{round_}.{number} " for round_ in range(3) for number in range(3)]
        assert [piece.text for piece in own.pieces if piece.text != "on "] == ["0", "1", "2", *texts]
        async with asyncio.timeout(60):
            while await other.plane.running("s", 5) != own:
                await asyncio.sleep(0.05)


async def test_what_comes_over_an_older_line_changes_nothing(redis_server):
    async with Proxy(redis_server.port) as proxy, several(through(proxy), redis_server.url) as (writer, other):
        await answers(writer)
        proxy.cut()
        await eventually(lambda: writer.plane._link.number == 2)
        await sound(writer)
        await writer.plane.push("s", "a", "3")
        keys, node = Keys.of("s"), writer.plane._node
        older = f"a {node} 1"
        late = [
            PUSH.call(keys.all, node, "s\n", older, 0, 60_000, "a\n", "late", 1 << 16),
            ACQUIRE.call((keys.lease,), older, 60_000),
            RENEW.call((keys.at, keys.log, keys.lease), older, 60_000, 60_000, "a"),
            MEND.call(keys.all, node, "s\n", older, 60_000, 60_000, 0, 0, "ta|", "1|late"),
            FINISH.call((keys.log, keys.lease), older, ""),
        ]
        with redis_server.client() as client:
            for command in late:
                client.execute_command(*command)
        await writer.plane.push("s", "a", "4")
        assert await other.plane.running("s", 2) == Running(TURN, pieces(*"01234"))


async def test_a_replica_that_stays_cut_off_may_push_only_while_its_lease_surely_lives(redis_server):
    lease = 2.0
    async with (
        Proxy(redis_server.port) as proxy,
        several(through(proxy), redis_server.url, timing=Timing(lease=lease)) as (cut_off, other),
    ):
        with redis_server.client() as client:
            assert await answers(cut_off) is Grant.SURE
            proxy.refusing = True
            proxy.cut()
            await cut_off.plane.push("s", "a", "3")
            while await pushes(cut_off):
                await asyncio.sleep(0.01)
                held = client.exists("chatbox:1:{s}:lease")
                assert held or not await pushes(cut_off), "it pushed without having the lease"
            await eventually(lambda: not client.exists("chatbox:1:{s}:lease"))
        assert await other.plane.acquire("s", "b") is Grant.SURE
        proxy.refusing = False
        await sound(cut_off)
        with pytest.raises(Fenced):
            await cut_off.plane.push("s", "a", "late")
        assert await cut_off.plane.acquire("s", "c") is None


async def test_a_replica_that_comes_back_after_its_turn_was_ended_puts_nothing_back(redis_server):
    async with (
        Proxy(redis_server.port) as proxy,
        several(through(proxy), redis_server.url, timing=Timing(lease=1.0)) as (cut_off, other),
    ):
        await answers(cut_off)
        proxy.refusing = True
        proxy.cut()
        grant = None
        while grant is None:
            grant = await other.plane.acquire("s", "b")
            await asyncio.sleep(0.02)
        await other.plane.finish("s", "a")
        await other.plane.begin("s", Turn("b", 4, 2))
        await other.plane.push("s", "b", "new")
        proxy.refusing = False
        await sound(cut_off)
        await asyncio.sleep(1.0)
        assert await cut_off.plane.running("s", 4) == Running(Turn("b", 4, 2), (Piece("b", 4 * STEP + 1, "new"),))
        with pytest.raises(Fenced):
            await cut_off.plane.push("s", "a", "late")
        await cut_off.plane.finish("s", "a")
        await other.plane.push("s", "b", "er")


async def test_an_answer_that_ended_while_its_replica_was_cut_off_is_over_when_it_is_back(redis_server):
    async with Proxy(redis_server.port) as proxy, several(through(proxy), redis_server.url) as (cut_off, other):
        await answers(cut_off)
        proxy.refusing = True
        proxy.cut()
        await eventually(lambda: not cut_off.plane._link.up)
        await cut_off.plane.finish("s", "a")
        proxy.refusing = False
        await sound(cut_off)
        assert await other.plane.running("s", 2) is None
        assert await other.plane.acquire("s", "b") is Grant.SURE


async def test_closing_while_redis_hangs_takes_no_longer_than_its_patience(redis_server):
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(several(redis_server.url))
        redis_server.pause()
        stack.callback(redis_server.resume)
        await asyncio.wait_for(stack.aclose(), 15)


# -- replicas are stopped, and die -------------------------------------------------------------------------------------


@asynccontextmanager
async def holder(server, lease):
    """Another process that has the lease and pushes; gives it and the lines that it prints."""
    command = [sys.executable, "-m", "tests.backplane.holder", server.url, str(lease)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    try:
        assert (await process.stdout.readline()).strip() == b"sure"
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def taken_over(replica):
    """Wait until the lease can be had, and begin the next turn."""
    grant = None
    while grant is None:
        grant = await replica.plane.acquire("s", "b")
        await asyncio.sleep(0.01)
    assert grant is Grant.SURE
    await replica.plane.begin("s", Turn("b", 4, 2))


async def test_a_process_that_was_stopped_longer_than_its_lease_can_push_nothing_when_it_goes_on(redis_server):
    async with several(redis_server.url) as (replica,), holder(redis_server, 1.0) as process:
        await replica.until(lambda: len(replica.pieces()) > 3)
        process.send_signal(signal.SIGSTOP)
        await taken_over(replica)
        process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(30):
            while await process.stdout.readline() != b"fenced\n":
                pass
        await replica.plane.push("s", "b", "y")
        await all_heard(replica)
        events = replica.events()
        assert not [event for event in events[events.index(Turn("b", 4, 2)) :] if getattr(event, "text", "") == "x"]
        assert (await replica.plane.running("s", 4)).pieces == (Piece("b", 4 * STEP + 1, "y"),)


async def test_the_lease_of_a_process_that_was_killed_lapses_within_its_life(redis_server):
    async with several(redis_server.url) as (replica,), holder(redis_server, LEASE) as process:
        await replica.until(lambda: len(replica.pieces()) > 3)
        process.kill()
        killed = time.monotonic()
        assert await replica.plane.acquire("s", "b") is None
        left = await replica.plane.running("s", 2)
        assert left.turn == TURN
        assert len(left.pieces) >= 4
        await taken_over(replica)
        assert time.monotonic() - killed < LEASE + 3


async def test_a_lease_lives_as_long_as_its_holder_also_when_that_pushes_nothing(redis_server):
    async with several(*[redis_server.url] * 2, timing=Timing(lease=1.5)) as (writer, other):
        assert await writer.plane.acquire("s", "a") is Grant.SURE
        until = time.monotonic() + 4
        while time.monotonic() < until:
            assert await other.plane.acquire("s", "b") is None
            await asyncio.sleep(0.05)
        await writer.plane.begin("s", TURN)
        await writer.plane.push("s", "a", "x")


async def test_a_loop_that_was_blocked_longer_than_the_lease_finds_it_lost(redis_server):
    async with several(*[redis_server.url] * 2, timing=Timing(lease=1.0)) as (writer, other):
        await answers(writer)
        time.sleep(1.5)
        await asyncio.sleep(0.5)
        with pytest.raises(Fenced):
            await writer.plane.push("s", "a", "late")
        assert await other.plane.acquire("s", "b") is Grant.SURE


async def test_a_process_that_was_stopped_while_alone_finds_its_lease_lapsed(redis_server):
    async with several(redis_server.url, timing=Timing(lease=1.0)) as (writer,):
        redis_server.kill()
        assert await answers(writer) is Grant.ALONE
        await asyncio.sleep(2.0)
        await writer.plane.push("s", "a", "alone for longer than a lease")
        time.sleep(1.5)
        await asyncio.sleep(0.5)
        with pytest.raises(Fenced):
            await writer.plane.push("s", "a", "late")
