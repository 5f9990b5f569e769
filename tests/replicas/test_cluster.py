"""Three replicas as processes, behind a balancer without sticky sessions, while their surroundings and they fail."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest

from tests.faults.model import Question
from tests.faults.talkers import until
from tests.redis_server import DeafProxy
from tests.replicas.rolling import rolled
from tests.replicas.stage import RATE_LIMIT, SOCKETS_OF_ONE, answered, streaming

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

TOLD_WITHIN = 15.0
DEAF_WITHIN = 10.0
LATE = 15.0
"""Seconds more on a busy machine."""


async def test_connections_go_round_over_the_replicas(stage):
    async with AsyncExitStack() as sockets:
        for n in range(12):
            await sockets.enter_async_context(stage.socket(stage.cluster, f"round{n}"))
        counts = [await stage.figure(replica, "websocket_connections_total") for replica in stage.replicas]
    assert counts == [4, 4, 4]


async def test_metrics_are_not_for_those_who_come_through_the_balancer(stage):
    assert await stage.status(stage.cluster, "/metrics/prometheus") == 403
    assert await stage.status(stage.replicas[0], "/metrics/prometheus") == 200


async def test_socket_on_one_replica_answer_on_another_stop_from_a_third(stage):
    async with stage.scene() as scene:
        one, two, three = stage.replicas
        talker = await scene.invite(two, one, three)
        asked = await stage.figure(two, "llm_requests_total")
        await talker.ask(600, 50)
        for device in talker.devices:
            await streaming(device)
        begun = time.monotonic()
        await talker.devices[2].stop()
        for device in talker.devices:
            await answered(device, 1)
        print(f"stopped after {time.monotonic() - begun:.2f} s")
        assert await stage.figure(two, "llm_requests_total") == asked + 1
        await scene.settled()
        assert (await scene.verdict("stopped")).counts["answers stopped"] == 1


async def test_the_sockets_of_a_user_are_counted_over_all_replicas(stage):
    async with AsyncExitStack() as sockets:
        for n in range(SOCKETS_OF_ONE):
            await sockets.enter_async_context(stage.socket(stage.replicas[n % 3], "many"))
        for replica in stage.replicas:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await sockets.enter_async_context(stage.socket(replica, "many"))
            assert refused.value.status == 429


async def test_the_messages_of_a_user_are_counted_over_all_replicas(stage):
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(stage.socket(replica, "busy")) for replica in stage.replicas]
        for n in range(RATE_LIMIT):
            question = Question(f"busy {n}", 600 if n == 0 else 0, 50)
            await sockets[n % 3].say("user_message", content=str(question), message_id=f"m{n}")
            await sockets[n % 3].next("ack")
        for n, socket in enumerate(sockets):
            await socket.say("user_message", content=str(Question(f"more {n}", 0)), message_id=f"more{n}")
            refused = await socket.next("error")
            assert refused["error"]["code"] == "TOO_MANY_REQUESTS"
            assert refused["error"]["retry_after"] <= 60_000
        await sockets[0].say("stop", message_id="stop")
        await sockets[0].next("ack")


async def test_a_rolling_restart_loses_nothing_and_nobody_sees_1006(stage):
    async with stage.scene() as scene:
        print(await rolled(scene, sockets=30, answers=10))


async def test_a_later_version_shares_redis_and_the_store(stage):
    """Unknown fields hurt nothing; of what can't be read at all, the store has the truth."""
    one, _, three = stage.replicas
    async with stage.scene() as scene, restarted(three, program=("-m", "tests.replicas.newer")):
        talkers = [await scene.invite(one, three), await scene.invite(three, one)]
        await converse(talkers)
        assert UNREADABLE not in one.text
        await talkers[1].devices[0].chat.typing()
        await until(lambda: UNREADABLE in one.text, LATE, "something unheard of")
        await converse(talkers)
        await scene.settled()
        await scene.verdict()
        assert UNREADABLE not in three.text


UNREADABLE = "comes from a newer version"


async def converse(talkers):
    """Each says something from one device and wants another answer from the other one."""
    for talker in talkers:
        near, far = talker.devices
        before = far.answers
        await talker.ask(8, 100)
        await streaming(far)
        await answered(far, before + 1)
        await far.regenerate()
        await streaming(near)
        await answered(near, before + 2)


async def test_answers_of_replicas_that_die_or_stand_still_are_interrupted_and_can_be_had_again(stage):
    one, two, three = stage.replicas
    async with stage.scene() as scene:
        talkers = [await scene.invite(one, three), await scene.invite(two, three)]
        begun = time.monotonic()
        for talker in talkers:
            await talker.ask(50, 50)
            await streaming(talker.devices[1])
        await one.kill()
        two.pause()
        begun = time.monotonic()
        for talker in talkers:
            device = talker.devices[1]
            await answered(device, 1, TOLD_WITHIN + LATE)
            print(f"told after {time.monotonic() - begun:.1f} s")
            await device.regenerate()
        for talker in talkers:
            await answered(talker.devices[1], 2)
        two.resume()
        await one.start()
        await scene.settled()
        counts = (await scene.verdict("stop", "interrupted")).counts
        assert (counts["answers interrupted"], counts["answers stop"]) == (2, 2)
        assert spoken_after_the_end(scene) == []


async def test_without_redis_each_replica_goes_on_alone_and_the_rest_catches_up(stage):
    one, two, _ = stage.replicas
    async with stage.scene() as scene:
        near, far = await scene.invite(one, one), await scene.invite(one, two)
        await near.ask(60, 50)
        await streaming(near.devices[1])
        await stage.cluster.redis.kill()
        for talker in (near, far):
            await talker.ask(3)
            await answered(talker.devices[0], 1)
        assert near.devices[1].answers
        assert not far.devices[1].answers
        await asyncio.gather(*[stage.turns(replica, 503) for replica in stage.replicas])
        newcomer = await scene.invite(stage.cluster)
        await newcomer.ask(3)
        await answered(newcomer.devices[0], 1)
        await stage.cluster.redis.start()
        await scene.settled()
        await scene.verdict("stop", "interrupted")
        await back(stage)


async def test_a_replica_that_hears_nothing_from_the_others_says_so_and_misses_nothing(stage):
    one, _, three = stage.replicas
    async with DeafProxy(stage.cluster.redis.port) as proxy:
        address = {"REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0"}
        async with stage.scene() as scene, restarted(three, settings=address):
            talker = await scene.invite(one, three)
            proxy.deaf = True
            seconds = await stage.turns(three, 503)
            print(f"deafness found after {seconds:.1f} s")
            assert seconds < DEAF_WITHIN + LATE
            assert await stage.status(one, "/readyz") == 200
            await talker.ask(3)
            await scene.settled()
            proxy.deaf = False
            await stage.turns(three, 200)
            await talker.ask(3)
            await scene.settled()
            await scene.verdict()


async def test_without_the_store_nothing_is_taken_and_afterwards_all_goes_on(stage):
    if stage.cluster.peer is None:
        pytest.skip("the store is not ours to kill")
    async with stage.scene() as scene:
        one, two, _ = stage.replicas
        talker, listener = await scene.invite(one, two), await scene.invite(one, two)
        await talker.ask(3)
        await answered(talker.devices[0], 1)
        await listener.ask(40, 50)
        await streaming(listener.devices[1])
        async with stage.socket(one, "bare") as socket:
            await socket.say("ping")
            await socket.next("pong")
            await stage.cluster.peer.kill()
            await socket.say("user_message", content=str(Question("bare 1", 3)), message_id="m1")
            refused = await socket.next("error", patience=60)
            assert (refused.get("message_id"), refused["error"]["code"]) == ("m1", "DATABASE_ERROR")
            assert refused["error"]["recoverable"]
            assert refused["error"]["retry_after"] > 0
            waiting = asyncio.create_task(talker.ask(3))
            await asyncio.gather(*[stage.turns(replica, 503) for replica in stage.replicas])
            assert {await stage.status(replica, "/healthz") for replica in stage.replicas} == {200}
            assert not waiting.done()
            await stage.cluster.peer.start()
            await socket.say("user_message", content=str(Question("bare 1", 3)), message_id="m1")
            await socket.next("ack", patience=60)
            await socket.answer()
        await waiting
        await scene.settled()
        await scene.verdict()
        await back(stage)


# -- what several tests do --------------------------------------------------------------------------------------------


async def back(stage):
    """Wait until all replicas are ready and get clients."""
    for replica in stage.replicas:
        await stage.turns(replica, 200)
        await stage.cluster.taken(replica)


@asynccontextmanager
async def restarted(replica, **changes):
    """A replica that runs with something changed, until the end."""
    before = {name: getattr(replica, name) for name in changes}
    await again(replica, changes)
    try:
        yield
    finally:
        await again(replica, before)


async def again(replica, changes):
    """Kill a replica and start it with other attributes."""
    await replica.kill()
    for name, value in changes.items():
        setattr(replica, name, value)
    await replica.start()


def spoken_after_the_end(scene):
    """Answers of which a device got a piece after their end."""
    ended, late = set(), []
    for record in scene.records():
        if record.what == "answer" and record.who != "model":
            ended.add((record.who, record.id))
        elif record.what == "piece" and (record.who, record.id) in ended:
            late.append(record.id)
    return late
