"""Several replicas in one process whose bus and counts are a real Redis."""

from contextlib import AsyncExitStack

import pytest

from chatbox.allowance import FRAMES
from chatbox.backplane.base import Pool, Window
from chatbox.backplane.redis import RedisBackplane, RedisQuotas
from chatbox.errors import ProviderRefused
from chatbox.llm.base import End, Piece
from chatbox.protocol import Typing
from chatbox.reply import ANSWERS
from chatbox.sessions import LISTENERS
from chatbox.storage.memory import MemoryStorage
from tests.redis_server import RedisServer
from tests.storage.values import ring
from tests.world import Scripted, World


@pytest.fixture
async def replicas():
    """Three of them, whose model breaks off in its first answer."""
    storage, keys = MemoryStorage(), ring("new")
    model = Scripted((Piece("one "), ProviderRefused("refused")), (Piece("two"), End()))
    windows, pools = {FRAMES: Window(1000, 60.0)}, {LISTENERS: Pool(linger=900.0), ANSWERS: Pool()}
    with RedisServer() as server:
        async with AsyncExitStack() as stack:
            worlds = []
            for _ in range(3):
                backplane = await stack.enter_async_context(RedisBackplane(server.url, keys))
                quotas = await stack.enter_async_context(RedisQuotas(server.url, keys, windows, pools))
                worlds.append(World(storage, model, backplane=backplane, quotas=quotas))
                await stack.enter_async_context(worlds[-1].tasks)
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
