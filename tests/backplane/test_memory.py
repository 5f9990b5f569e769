"""What the replicas of one process share: nothing of it outlives its use."""

import asyncio

import pytest

from chatbox.backplane.base import Grant, Pool, Removed, Stored, Turn, Window
from chatbox.backplane.memory import MemoryBackplane, MemoryBus, MemoryQuotas
from chatbox.errors import Fenced
from tests.storage.values import entry


async def test_what_has_expired_is_forgotten_by_itself():
    quotas = MemoryQuotas({"frames": Window(5, 0.001)}, {"sockets": Pool(3, linger=0.001), "listeners": Pool()})
    await quotas.hit("frames", "ann")
    await quotas.enter("sockets", "ann", "gone")
    await quotas.leave("sockets", "ann", "gone")
    await quotas.enter("listeners", "session", "here")
    cleaning = asyncio.create_task(quotas.clean(0.002))
    async with asyncio.timeout(10):
        while len(quotas._windows["frames"]) or quotas._pools["sockets"]._keys:
            await asyncio.sleep(0.001)
    cleaning.cancel()
    assert await quotas.members("listeners", "session") == {"here"}


async def test_members_that_have_left_for_good_are_forgotten_also_where_nobody_cleans():
    quotas = MemoryQuotas({}, {"sockets": Pool(1), "listeners": Pool(linger=0.001)})
    for pool in ("sockets", "listeners"):
        await quotas.enter(pool, "ann", "a")
        await quotas.leave(pool, "ann", "a")
        await quotas.leave(pool, "bob", "a")
    async with asyncio.timeout(10):
        while await quotas.members("listeners", "ann"):
            await asyncio.sleep(0.001)
    assert [pool._keys for pool in quotas._pools.values()] == [{}, {}]


async def test_asking_for_members_of_an_unknown_key_remembers_nothing():
    quotas = MemoryQuotas({}, {"sockets": Pool(1)})
    assert await quotas.members("sockets", "ann") == set()
    await quotas.leave("sockets", "ann", "a")
    assert quotas._pools["sockets"]._keys == {}


async def test_a_replica_that_dies_leaves_its_leases_to_the_others_and_its_pieces_to_be_read():
    bus = MemoryBus()
    async with MemoryBackplane(bus) as other:
        async with MemoryBackplane(bus) as dying:
            assert await dying.acquire("s", "a") is Grant.SURE
            await dying.begin("s", Turn("a", 1, 1))
            await dying.push("s", "a", "so far")
            assert await other.acquire("s", "b") is None
        assert await other.acquire("s", "b") is Grant.SURE
        running = await other.running("s", 1)
        assert [piece.text for piece in running.pieces] == ["so far"]
        with pytest.raises(Fenced):
            await dying.push("s", "a", "late")


async def test_a_session_that_nobody_listens_to_any_more_is_forgotten():
    bus = MemoryBus()
    async with MemoryBackplane(bus) as one, MemoryBackplane(bus) as two:
        for plane in (one, two):
            await plane.listen("s")
        await one.publish("s", Stored(entry("s", index=3)))
        await one.publish("unheard", Stored(entry("unheard", index=3)))
        await one.ignore("s")
        assert bus.known == {"s": 3}
        await two.ignore("s")
        await two.publish("s", Removed())
        assert bus.known == {}
