"""What replicas cost, and two of them under one load, with clients that change between them mid-answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from itertools import count

from bench.figures import Figure, Result
from bench.load import Crowd, Round, crowd
from bench.process import LOAD_CORE, pin
from bench.server import chatbox, model
from bench.sizes import Sizes
from tests.mongo_peer import MongoPeer
from tests.redis_server import RedisServer

RATE = 20.0
PATIENCE = 60.0


async def replicas(sizes: Sizes) -> Result:
    """The price of sharing a session, and how two replicas share the work of it."""
    price, busier = Figure("replicas.price"), Figure("replicas.share")
    problems: list[str] = []
    remarks: list[str] = []
    with shared() as settings:
        for _ in range(sizes.pairs):
            alone = await _round(sizes, {})
            together = await _round(sizes, next(settings))
            price.values.append(_cpu(together) / _cpu(alone))
            remarks = [f"CPU a token: {_cpu(alone):.0f} µs alone, {_cpu(together):.0f} µs as a replica"]
            problems += alone.problems + together.problems
        for _ in range(sizes.runs):
            busier.values.append(await _two(sizes, next(settings), problems))
    return Result([price, busier], problems, remarks)


@contextmanager
def shared() -> Iterator[Iterator[dict[str, str]]]:
    """Redis and a MongoDB peer beside the load; each time other settings, with an empty database."""
    with RedisServer() as redis, MongoPeer() as mongo:
        for process in (redis.process, mongo.process):
            if process:
                pin(LOAD_CORE, process.pid)
        key = {"ENCRYPTION_KEY": "K7rTq2Vw9Xz4Bn8Mc3Ld6Pf1Gh5Js0Ya"}
        yield (
            key | {"REDIS_URL": redis.url, "STORE_URL": mongo.url, "MONGO_DATABASE": f"bench{number}"}
            for number in count()
        )


async def _round(sizes: Sizes, settings: dict[str, str]) -> Round:
    tokens = sizes.stream_tokens // 2
    async with crowd(sizes.streams // 2, tokens=tokens, rate=RATE, **settings) as clients:
        return await clients.round(tokens, ramp=1.0, limit=3 * tokens / RATE + PATIENCE)


def _cpu(each: Round) -> float:
    return each.cpu * 1e6 / max(1, each.tally.tokens)


async def _two(sizes: Sizes, settings: dict[str, str], problems: list[str]) -> float:
    """The share of the load that the busier of two replicas carries; halfway, every client goes to the other one."""
    tokens = sizes.stream_tokens // 2
    async with two_replicas(sizes.streams // 2, tokens, settings) as clients:
        before = [server.process.cpu() for server in clients.servers]
        tally = clients.ask(tokens, 1.0)
        await asyncio.sleep(1.0 + tokens / RATE / 2)
        await asyncio.gather(*[client.move() for client in clients.clients])
        await clients.finished(time.monotonic() + 3 * tokens / RATE + PATIENCE)
        problems += tally.problems(len(clients.clients))
        used = [server.process.cpu() - spent for server, spent in zip(clients.servers, before, strict=True)]
        return max(used) / sum(used)


@asynccontextmanager
async def two_replicas(size: int, tokens: int, settings: dict[str, str]) -> AsyncIterator[Crowd]:
    """Clients of two replicas, connected to one and the other by turns."""
    async with AsyncExitStack() as stack:
        speaker = await stack.enter_async_context(model(tokens=tokens, rate=RATE))
        servers = [await stack.enter_async_context(chatbox(speaker.port, **settings)) for _ in range(2)]
        clients = Crowd(servers, speaker, size)
        await clients.connect()
        try:
            yield clients
        finally:
            clients.leave()
