"""Several replicas in one process whose bus and counts are a real Redis."""

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from chatbox import takeovers
from chatbox.allowance import FRAMES
from chatbox.backplane.base import Pool, Window
from chatbox.backplane.redis import RedisBackplane, RedisQuotas
from chatbox.errors import ProviderRefused, Unavailable
from chatbox.llm.base import End, Piece
from chatbox.protocol import Typing
from chatbox.reply import ANSWERS
from chatbox.session import Principal
from chatbox.sessions import LISTENERS
from chatbox.storage.memory import MemoryStorage
from tests.redis_server import RedisServer
from tests.storage.values import ring
from tests.world import WHOLE, Scripted, World

BEA = Principal("bea", "Bea", frozenset({"chat_admin"}), 2e9)


@pytest.fixture
def server():
    with RedisServer() as server:
        yield server


@asynccontextmanager
async def replicas_over(server, *scripts):
    """Three of them."""
    storage, keys, model = MemoryStorage(), ring("new"), Scripted(*scripts)
    windows, pools = {FRAMES: Window(1000, 60.0)}, {LISTENERS: Pool(linger=900.0), ANSWERS: Pool()}
    async with AsyncExitStack() as stack:
        worlds = []
        for _ in range(3):
            backplane = await stack.enter_async_context(RedisBackplane(server.url, keys))
            quotas = await stack.enter_async_context(RedisQuotas(server.url, keys, windows, pools))
            worlds.append(World(storage, model, backplane=backplane, quotas=quotas))
            await stack.enter_async_context(worlds[-1].tasks)
        yield worlds


@pytest.fixture
async def replicas(server):
    """Some whose model breaks off in its first answer."""
    async with replicas_over(server, (Piece("one "), ProviderRefused("refused")), (Piece("two"), End())) as worlds:
        yield worlds


async def test_whatever_the_chat_tells_is_heard_on_the_other_replicas(replicas):
    one, two, three = replicas
    ear = await one.enter()
    others = [await two.enter(session_id=ear.session_id), await three.enter(session_id=ear.session_id)]
    await one.do(ear, Typing(message_id="t"))
    for other in others:
        await other.hear("typing_indicator")
    assert ear.of("typing_indicator") == []
    await one.say(ear, "hi")
    for everyone in (ear, *others):
        assert (await everyone.done())["metadata"]["finish_reason"] == "error"
        error = await everyone.hear("error")
        assert error["message_id"] == everyone.ends[0]["message_id"]
    await two.again(others[0])
    for everyone in (ear, *others):
        assert (await everyone.done(2))["metadata"]["finish_reason"] == "stop"
        assert everyone.copy.conversation == ear.copy.conversation
        assert not everyone.copy.broken


async def test_a_takeover_stops_the_answer_of_another_replica_within_a_second_and_the_ai_is_silent(server):
    async with replicas_over(server, (Piece("one "), asyncio.Event())) as (one, two, three):
        ear = await one.enter()
        others = [await two.enter(session_id=ear.session_id), await three.enter(session_id=ear.session_id)]
        await one.say(ear, "hi")
        await others[0].hear("ai_response")
        begun = time.monotonic()
        await two.takeovers.join(BEA, ear.session_id, "join")
        print(f"taken over after {time.monotonic() - begun:.2f} s")
        for everyone in (ear, *others):
            await everyone.hear("admin_join")
        await three.say(others[1], "is anybody there?")
        await three.takeovers.say(BEA, ear.session_id, "words", "It is me.")
        for everyone in (ear, *others):
            await everyone.until(lambda by=everyone: [f for f in by.of("user_message") if f["sender"] == "admin"])
            (end,) = everyone.ends
            assert end["metadata"]["finish_reason"] == "stopped"
            assert everyone.frames.index(end) < everyone.frames.index(everyone.of("admin_join")[0])
            assert not everyone.copy.broken


async def test_without_redis_the_answer_of_another_replica_can_not_be_taken_over_and_nothing_is_lost(
    server, monkeypatch
):
    monkeypatch.setattr(takeovers, "PATIENCE", 1.0)
    gate = asyncio.Event()
    async with replicas_over(server, (Piece("one "), gate, Piece("two"), End()), WHOLE) as (one, two, _):
        ear = await one.enter()
        await one.say(ear, "hi")
        await ear.hear("ai_response")
        server.kill()
        await one.say(ear, "and?")
        with pytest.raises(Unavailable) as refused:
            await two.takeovers.join(BEA, ear.session_id, "join")
        assert refused.value.code == "SERVICE_ERROR"
        session = await one.storage.get(ear.session_id)
        assert (session.assisting_admin_id, session.answer_id is not None) == (None, True)
        gate.set()
        assert (await ear.done())["metadata"]["finish_reason"] in ("stop", "interrupted")
        await ear.done(2)
        server.start()
        assert (await two.takeovers.join(BEA, ear.session_id, "join")).assisting_admin_id == "bea"
        await ear.hear("admin_join")
        assert [text for _, text in ear.copy.conversation][-1] == "Hello there"
        assert not ear.copy.broken
