"""Random work on three replicas over Redis has the same results, and is heard in the same order, as in memory."""

import asyncio
import re
from contextlib import AsyncExitStack
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chatbox.backplane.base import Joined, Removed, Running, Signal, Stored, Turn
from chatbox.backplane.memory import MemoryBackplane, MemoryBus
from chatbox.backplane.redis import RedisBackplane
from chatbox.backplane.redis.codec import Codec
from chatbox.errors import Fenced
from tests.backplane.replicas import BARRIER, KEYRING, Replica, all_heard
from tests.mutants import found
from tests.storage.values import entry

examples = count()

REPLICAS = st.integers(0, 2)
SESSIONS = st.sampled_from("st")
TELLING = ["entry", "late_entry", "silent_entry", "signal", "joined", "removed"]
ANSWERING = ["answer", "push", "push", "push", "push_any", "running", "running", "finish", "leave", "close", "acquire"]
OF_THE_HOLDER = {"push", "finish", "leave"}
STEPS = st.lists(
    st.tuples(st.sampled_from([*TELLING, *ANSWERING, *ANSWERING, "listen", "listen", "ignore"]), REPLICAS, SESSIONS),
    min_size=10,
    max_size=40,
)


class World:
    """Does steps as the program would: whoever answers listens, turns are entries, the log's indexes rise."""

    def __init__(self, replicas, prefix):
        self.replicas = replicas
        self.prefix = prefix
        self.last = {"s": 0, "t": 0}
        self.answers = {}  # by session: the replica that has the lease, its answer, its turn
        self.results = []
        self.counted = count()

    async def do(self, step, number, session):
        actor = (step in OF_THE_HOLDER and self.holder(session)) or self.replicas[number]
        self.results.append((step, await getattr(self, step)(actor, session)))
        await all_heard(*self.replicas, from_=actor)

    def named(self, session):
        return f"{self.prefix}{session}"

    async def listen(self, replica, session):
        await replica.plane.listen(self.named(session))

    async def ignore(self, replica, session):
        if self.holder(session) is not replica:
            await replica.plane.ignore(self.named(session))

    async def entry(self, replica, session):
        self.last[session] += 1
        await self.tell_entry(replica, session, self.last[session])

    async def late_entry(self, replica, session):
        """An entry whose replica was slow to tell it."""
        if self.last[session] > 2:
            await self.tell_entry(replica, session, self.last[session] - 2)

    async def silent_entry(self, replica, session):
        """An entry whose replica died before it told it."""
        self.last[session] += 1

    async def tell_entry(self, replica, session, index):
        name = self.named(session)
        told = entry(session, index=index, message_id=f"m{index}", content=f"text {index}")
        await replica.plane.publish(name, Stored(told))

    async def signal(self, replica, session):
        await replica.plane.publish(self.named(session), Signal("{}", but="x"))

    async def joined(self, replica, session):
        await replica.plane.publish(self.named(session), Joined("tab", 7))

    async def removed(self, replica, session):
        await replica.plane.publish(self.named(session), Removed())

    async def acquire(self, replica, session):
        name, answer_id = self.named(session), f"answer {next(self.counted)}"
        await replica.plane.listen(name)
        grant = await replica.plane.acquire(name, answer_id)
        if grant:
            self.last[session] += 1
            self.answers[session] = replica, answer_id, Turn(answer_id, self.last[session], 1, replaces="z")
            await self.tell_entry(replica, session, self.last[session])
        return grant

    async def answer(self, replica, session):
        if grant := await self.acquire(replica, session):
            await replica.plane.begin(self.named(session), self.answers[session][2])
        return grant

    async def push(self, replica, session):
        _, answer_id, _ = self.answers.get(session, (None, "none", None))
        return await self.pushed(replica, session, answer_id)

    async def push_any(self, replica, session):
        return await self.pushed(replica, session, "an answer without the lease")

    async def pushed(self, replica, session, answer_id):
        try:
            await replica.plane.push(self.named(session), answer_id, f"piece {next(self.counted)}")
        except Fenced:
            return "fenced"

    async def finish(self, replica, session):
        await self.end(replica, session, stored=True)

    async def leave(self, replica, session):
        await self.end(replica, session, stored=False)

    async def end(self, replica, session, stored):
        if self.holder(session) is replica:
            await replica.plane.finish(self.named(session), self.answers.pop(session)[1], stored=stored)

    async def close(self, replica, session):
        """End what was left behind, as whoever has the lease does."""
        if self.holder(session) is None and await self.acquire(replica, session):
            running = await replica.plane.running(self.named(session), 0)
            if running:
                await self.entry(replica, session)
                await replica.plane.finish(self.named(session), running.turn.answer_id)
            await self.end(replica, session, stored=True)

    async def running(self, replica, session):
        running = await replica.plane.running(self.named(session), self.last[session])
        return running and (running.turn, running.pieces)

    def holder(self, session):
        return self.answers.get(session, (None,))[0]

    def heard(self):
        return [[replica.events(self.named(session)) for session in "st"] for replica in self.replicas]


@pytest.fixture
def worlds(redis_server):
    """Runs coroutines over replicas in memory and over Redis, which stay open for all examples."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        bus = MemoryBus()
        opened = {
            "memory": runner.run(three(stack, lambda: MemoryBackplane(bus))),
            "redis": runner.run(three(stack, lambda: RedisBackplane(redis_server.url, KEYRING))),
        }
        yield runner, opened
        runner.run(stack.aclose())


async def three(stack, make):
    replicas = [Replica(await stack.enter_async_context(make())) for _ in range(3)]
    for replica in replicas:
        await replica.plane.listen(BARRIER)
    return replicas


async def run(steps, replicas, prefix):
    world = World(replicas, prefix)
    for step in steps:
        await world.do(*step)
    for session, (replica, answer_id, _) in world.answers.items():
        await replica.plane.finish(world.named(session), answer_id)
    return world.results, world.heard()


def same(worlds, steps):
    runner, opened = worlds
    prefix = f"example {next(examples)} "
    assert runner.run(run(steps, opened["redis"], prefix)) == runner.run(run(steps, opened["memory"], prefix))


SETTINGS = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SETTINGS
@given(STEPS)
def test_redis_does_what_memory_does(worlds, steps):
    same(worlds, steps)


@pytest.mark.parametrize("defect", ["position", "pieces", "lease", "after"])
def test_a_defect_would_be_found(worlds, monkeypatch, defect):
    plant(monkeypatch, defect)

    @settings(SETTINGS, phases=[Phase.generate])
    @given(STEPS)
    def check(steps):
        same(worlds, steps)

    with found():
        check()


def plant(monkeypatch, defect):
    running, acquire, read = RedisBackplane.running, RedisBackplane.acquire, Codec.read

    async def unknowing(self, session_id, known):
        return await running(self, session_id, 0)

    async def forgetful(self, session_id, known):
        found = await running(self, session_id, known)
        return found and Running(found.turn, found.pieces[1:])

    async def generous(self, session_id, answer_id):
        return await acquire(self, session_id, answer_id) or "sure"

    def careless(self, message):
        return read(self, re.sub(rb"^(e[^\n]*\n)\d+\|", rb"\g<1>0|", message))

    kind, name, defective = {
        "position": (RedisBackplane, "running", unknowing),
        "pieces": (RedisBackplane, "running", forgetful),
        "lease": (RedisBackplane, "acquire", generous),
        "after": (Codec, "read", careless),
    }[defect]
    monkeypatch.setattr(kind, name, defective)
