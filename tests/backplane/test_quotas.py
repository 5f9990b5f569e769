"""What all counts promise, whether one process keeps them or Redis does."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from chatbox.backplane.base import Pool, Window
from chatbox.backplane.redis import RedisQuotas, Timing
from tests.backplane.replicas import KEYRING, eventually
from tests.proxy import Proxy

WINDOWS = {"frames": Window(3, 60.0), "short": Window(2, 0.5)}
POOLS = {"sockets": Pool(2), "listeners": Pool(), "short": Pool(1, linger=0.5), "lingering": Pool(linger=3600.0)}


@pytest.fixture
async def both(make_quotas):
    """The counts as two replicas see them."""
    return await make_quotas(WINDOWS, POOLS), await make_quotas(WINDOWS, POOLS)


# -- windows -----------------------------------------------------------------------------------------------------------


async def test_replicas_share_a_window_and_are_told_how_long_to_wait(both):
    first, second = both
    assert [await quotas.hit("frames", "ann") for quotas in (first, second, first)] == [0.0] * 3
    for quotas in both:
        assert 50 < await quotas.hit("frames", "ann") <= 60.0
    assert await second.hit("frames", "bob") == 0.0
    assert await second.hit("short", "ann") == 0.0


async def test_a_refused_hit_is_not_counted_and_after_the_wait_one_is_allowed(both):
    first, second = both
    await first.hit("short", "ann")
    await second.hit("short", "ann")
    wait = await second.hit("short", "ann")
    assert 0 < wait <= 0.5
    await asyncio.sleep(wait + 0.05)
    assert await first.hit("short", "ann") == 0.0


async def test_of_many_hits_at_once_as_many_as_the_limit_are_allowed(both):
    waits = await asyncio.gather(*[both[number % 2].hit("frames", "ann") for number in range(50)])
    assert waits.count(0.0) == 3


# -- pools -------------------------------------------------------------------------------------------------------------


async def test_replicas_share_a_pool_until_it_is_full_and_who_leaves_makes_room(both):
    first, second = both
    assert await first.enter("sockets", "ann", "one")
    assert await second.enter("sockets", "ann", "two")
    assert not await first.enter("sockets", "ann", "three")
    assert await first.enter("sockets", "ann", "one")
    assert await second.enter("sockets", "bob", "three")
    assert await second.members("sockets", "ann") == {"one", "two"}
    await second.leave("sockets", "ann", "two")
    await second.leave("sockets", "ann", "two")
    await second.leave("sockets", "ann", "never there")
    assert await first.enter("sockets", "ann", "three")
    assert await first.members("sockets", "ann") == await second.members("sockets", "ann") == {"one", "three"}


async def test_a_pool_without_a_limit_takes_any_number(both):
    for number in range(100):
        assert await both[number % 2].enter("listeners", "s", str(number))
    assert await both[0].members("listeners", "s") == set(map(str, range(100)))
    assert await both[1].members("listeners", "t") == set()


async def test_who_has_left_stays_a_member_for_a_while_and_takes_a_place(both):
    first, second = both
    await first.enter("short", "s", "one")
    left = time.monotonic()
    await first.leave("short", "s", "one")
    refused = not await second.enter("short", "s", "two")
    there = await second.members("short", "s") == {"one"}
    assert (refused and there) or time.monotonic() - left > 0.4
    await asyncio.sleep(max(0.0, left + 0.6 - time.monotonic()))
    assert await second.members("short", "s") == set()
    assert await second.enter("short", "s", "two")


async def test_who_comes_back_stays(both):
    first, second = both
    await first.enter("short", "s", "one")
    await first.leave("short", "s", "one")
    assert await second.enter("short", "s", "one")
    await asyncio.sleep(0.7)
    assert await first.members("short", "s") == {"one"}


async def test_of_many_who_enter_at_once_as_many_as_the_limit_do(both):
    entered = await asyncio.gather(*[both[n % 2].enter("sockets", "ann", f"socket {n}") for n in range(50)])
    assert entered.count(True) == 2


# -- Redis -------------------------------------------------------------------------------------------------------------


async def opened(stack, url, **timing):
    return await stack.enter_async_context(RedisQuotas(url, KEYRING, WINDOWS, POOLS, timing=Timing(**timing)))


async def test_members_of_a_process_that_dies_are_forgotten_and_those_of_one_that_lives_are_not(redis_server):
    async with AsyncExitStack() as stack, Proxy(redis_server.port) as proxy:
        alive = await opened(stack, redis_server.url, pulse=0.4)
        dead = await opened(stack, f"redis://127.0.0.1:{proxy.port}", pulse=0.4)
        await alive.enter("listeners", "s", "alive")
        await dead.enter("listeners", "s", "dead")
        assert await alive.members("listeners", "s") == {"alive", "dead"}
        proxy.refusing = True
        proxy.cut()
        async with asyncio.timeout(60):
            while await alive.members("listeners", "s") != {"alive"}:
                await asyncio.sleep(0.05)
        await asyncio.sleep(1.5)
        assert await alive.members("listeners", "s") == {"alive"}


async def test_a_process_that_ends_gives_up_what_its_members_hold(redis_server):
    async with AsyncExitStack() as stack:
        stays = await opened(stack, redis_server.url)
        async with AsyncExitStack() as ending:
            ends = await opened(ending, redis_server.url)
            for pool in ("sockets", "lingering"):
                await ends.enter(pool, "ann", "ends")
                await stays.enter(pool, "ann", "stays")
        assert await stays.members("sockets", "ann") == {"stays"}
        assert await stays.members("lingering", "ann") == {"ends", "stays"}


async def test_who_leaves_for_good_leaves_nothing_behind(redis_server):
    async with AsyncExitStack() as stack:
        quotas = await opened(stack, redis_server.url)
        with redis_server.client() as client:
            before = set(client.scan_iter())
            for key in ("ann", "bob"):
                await quotas.enter("sockets", key, "one")
            assert len(set(client.scan_iter()) - before) == 2
            for key in ("ann", "bob", "eve"):
                await quotas.leave("sockets", key, "one")
            assert set(client.scan_iter()) == before


async def test_while_redis_is_away_each_process_counts_for_itself_and_afterwards_all_is_shared_again(redis_server):
    async with AsyncExitStack() as stack:
        first, second = [await opened(stack, redis_server.url, pulse=600.0) for _ in range(2)]
        await first.enter("sockets", "ann", "one")
        await second.enter("sockets", "ann", "two")
        await second.enter("sockets", "bob", "bobs")
        redis_server.kill()
        assert [await quotas.hit("frames", "ann") for quotas in (first, second) for _ in range(3)] == [0.0] * 6
        assert await first.hit("frames", "ann") > 50
        assert await first.members("sockets", "ann") == {"one"}
        assert await first.enter("sockets", "ann", "three")
        assert not await first.enter("sockets", "ann", "four")
        await second.leave("sockets", "bob", "bobs")
        redis_server.start()
        async with asyncio.timeout(60):
            while await first.members("sockets", "ann") != {"one", "two", "three"}:
                await asyncio.sleep(0.05)
        assert await second.members("sockets", "bob") == set()
        assert not await second.enter("sockets", "ann", "four")
        assert await second.hit("frames", "ann") == 0.0


async def test_who_left_while_redis_could_not_be_reached_has_left_when_it_can(redis_server):
    async with AsyncExitStack() as stack, Proxy(redis_server.port) as proxy:
        other = await opened(stack, redis_server.url)
        cut_off = await opened(stack, f"redis://127.0.0.1:{proxy.port}", pulse=600.0)
        await cut_off.enter("sockets", "ann", "one")
        await cut_off.enter("sockets", "ann", "two")
        proxy.refusing = True
        proxy.cut()
        await eventually(lambda: not cut_off._link.up)
        await cut_off.leave("sockets", "ann", "one")
        await cut_off.leave("sockets", "ann", "two")
        await cut_off.enter("sockets", "ann", "two")
        proxy.refusing = False
        async with asyncio.timeout(60):
            while await other.members("sockets", "ann") != {"two"}:
                await asyncio.sleep(0.05)


async def test_hits_of_a_clock_that_was_set_back_do_not_lock_anyone_out(redis_server):
    async with AsyncExitStack() as stack:
        quotas = await opened(stack, redis_server.url)
        await quotas.hit("frames", "ann")
        with redis_server.client() as client:
            (key,) = client.scan_iter("chatbox:1:hits:*")
            client.delete(key)
            client.rpush(key, *[round((time.time() + 3600) * 1e6)] * 3)
        assert await quotas.hit("frames", "ann") == 0.0


async def test_garbage_where_counts_should_be_makes_each_process_count_for_itself(redis_server):
    async with AsyncExitStack() as stack:
        quotas = await opened(stack, redis_server.url)
        await quotas.hit("frames", "ann")
        await quotas.enter("sockets", "ann", "one")
        with redis_server.client() as client:
            for key in client.scan_iter("chatbox:1:[hp]*"):
                client.set(key, "garbage", ex=60)
        assert [await quotas.hit("frames", "ann") for _ in range(3)] == [0.0] * 3
        assert await quotas.hit("frames", "ann") > 0
        assert await quotas.members("sockets", "ann") == {"one"}
        await quotas.leave("sockets", "ann", "one")


async def test_members_are_kept_alive_however_many_there_are(redis_server):
    async with AsyncExitStack() as stack:
        quotas = await opened(stack, redis_server.url, pulse=1.0)
        await asyncio.gather(*[quotas.enter("listeners", f"session {n}", "one") for n in range(2000)])
        await asyncio.sleep(5.0)
        found = await asyncio.gather(*[quotas.members("listeners", f"session {n}") for n in range(2000)])
        assert found == [{"one"}] * 2000
