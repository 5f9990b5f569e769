"""Serving and stopping in good order."""

import asyncio
import time

import pytest

from chatbox.protocol import Close
from chatbox.server import DEAD_AFTER
from tests.live import running, token


async def test_a_stopping_server_tells_its_clients_finishes_its_answers_and_closes_with_1001(tmp_path):
    async with running(tmp_path) as live, live.socket() as ann, live.socket("bob") as bob:
        await ann.next()
        await bob.next()
        await ann.say("user_message", message_id="m", content="/slow 50 ms and some words to wait for")
        await ann.next("loading")
        stopping = asyncio.create_task(live.app.drain(20))
        assert (await bob.next("notification"))["metadata"]["event"] == "drain"
        answer = await ann.answer()
        assert answer[-1]["metadata"]["finish_reason"] == "stop"
        assert await ann.closed() == Close.DRAINING
        assert await bob.closed() == Close.DRAINING
        await stopping


@pytest.mark.readiness(issue=15)
async def test_an_answer_that_does_not_end_by_the_deadline_is_interrupted_and_kept(tmp_path):
    async with running(tmp_path) as live, live.socket() as ann:
        session_id = (await ann.next())["session_id"]
        await ann.say("user_message", message_id="m", content="/long 100000")
        await ann.next("ai_response")
        started = time.monotonic()
        await live.app.drain(1.0)
        assert time.monotonic() - started < 20
        _, body = await live.call("GET", f"/sessions/{session_id}")
        assert body["messages"][-1]["metadata"]["finish_reason"] == "interrupted"
        assert body["messages"][-1]["content"]
        assert await ann.closed() == Close.DRAINING


async def test_a_draining_server_refuses_sockets_and_says_it_is_not_ready(tmp_path):
    async with running(tmp_path) as live:
        await live.app.drain(1.0)
        status, body = await live.call("GET", "/readyz", user=None)
        assert (status, body["status"], body["checks"]["draining"]) == (503, "not ready", True)
        assert (await live.call("GET", "/healthz", user=None))[0] == 200


async def test_a_silent_line_is_found_by_the_ping(tmp_path):
    bearer = {"Authorization": f"Bearer {token()}"}
    async with (
        running(tmp_path, {"PING_INTERVAL": "100ms"}) as live,
        live.session.ws_connect(f"{live.http}/ws", headers=bearer, autoping=False) as line,
    ):
        await line.receive()
        [connection] = [socket for sockets in live.app.connections._by_user.values() for socket in sockets]
        assert not connection.missed_ping
        await asyncio.sleep(0.3)
        connection._line.ping_sent_at -= DEAD_AFTER
        assert connection.missed_ping
