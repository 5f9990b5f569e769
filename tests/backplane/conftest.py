import time
from contextlib import AsyncExitStack

import pytest

from chatbox.backplane.memory import MemoryBackplane, MemoryBus, MemoryQuotas
from chatbox.backplane.redis import RedisBackplane, RedisQuotas
from tests.backplane.replicas import BARRIER, KEYRING, Replica
from tests.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_process():
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_server(redis_process):
    """A Redis that is empty, and known to have had its data for a while."""
    if not redis_process.answers():
        redis_process.start()
    with redis_process.client() as client:
        client.flushall()
        client.set("chatbox:1:born", round((time.time() - 3600) * 1000), ex=3600)
    return redis_process


@pytest.fixture(params=["memory", "redis"])
def make_plane(request):
    """Makes replicas' backplanes that belong together."""
    if request.param == "memory":
        bus = MemoryBus()
        return lambda: MemoryBackplane(bus)
    url = request.getfixturevalue("redis_server").url
    return lambda: RedisBackplane(url, KEYRING)


@pytest.fixture
async def replicas(make_plane):
    async with AsyncExitStack() as stack:
        opened = [Replica(await stack.enter_async_context(make_plane())) for _ in range(3)]
        for replica in opened:
            await replica.plane.listen(BARRIER)
        yield opened


@pytest.fixture(params=["memory", "redis"])
async def make_quotas(request):
    """Makes counts that all replicas share. Those of memory are one object: there is nothing between processes."""
    async with AsyncExitStack() as stack:
        shared = {}

        async def make(windows, pools):
            if request.param == "redis":
                url = request.getfixturevalue("redis_server").url
                return await stack.enter_async_context(RedisQuotas(url, KEYRING, windows, pools))
            return shared.setdefault("quotas", MemoryQuotas(windows, pools))

        yield make
