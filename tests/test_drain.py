"""A stopping replica: what its clients, the load balancer and the store see, with real processes and sockets."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from contextlib import suppress

import aiohttp
import pytest

from chatbox.protocol import Close
from tests.live import token
from tests.production import Process
from tests.proxy import Proxy
from tests.rawsocket import TEXT, Raw, frame, head

pytestmark = pytest.mark.slow

SLACK = 8
"""Seconds beyond its deadline in which a process on a busy machine has ended."""


class Watch:
    """What a load balancer and newcomers see of a stopping server, asked again and again until the port is closed."""

    def __init__(self, server):
        self._server = server
        self.red_at = None
        self.closed_at = None
        self.upgrades = set()
        self.answers = set()

    async def run(self):
        while self.closed_at is None:
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                await self._look()
            with socket.socket() as line:
                line.settimeout(5)
                if line.connect_ex(("127.0.0.1", self._server.port)):
                    self.closed_at = time.monotonic()
            await asyncio.sleep(0.05)

    async def _look(self):
        status, _, body = await self._server.ask("/readyz")
        if status == 503 and json.loads(body)["checks"]["draining"]:
            self.red_at = self.red_at or time.monotonic()
            self.answers.add((await self._server.ask("/sessions", "user0"))[0])
            self.upgrades.add(await self._newcomer())

    async def _newcomer(self):
        bearer = {"Authorization": f"Bearer {token('newcomer')}"}
        async with aiohttp.ClientSession() as http:
            try:
                async with http.ws_connect(f"{self._server.http}/ws", headers=bearer):
                    return 101, False
            except aiohttp.WSServerHandshakeError as refused:
                return refused.status, int(refused.headers["Retry-After"]) > 0


async def farewell(client):
    """What a client that reads hears: how the answer ended, what the server hinted, and the close code."""
    finish, hints, start = None, [], time.monotonic()
    async with asyncio.timeout(60):
        while (message := await client.line.receive()).type is aiohttp.WSMsgType.TEXT:
            metadata = json.loads(message.data).get("metadata") or {}
            finish = metadata.get("finish_reason", finish)
            if metadata.get("event") == "drain":
                hints.append(int(metadata["retry_after"]))
    return finish, hints, client.line.close_code, time.monotonic() - start


async def stored(server, client, user):
    _, _, body = await server.ask(f"/sessions/{client.session_id}", user)
    return json.loads(body)["messages"]


@pytest.mark.readiness(issue=15)
async def test_a_replica_of_fifty_sockets_goes_without_anyone_losing_a_word(tmp_path):
    server = Process(tmp_path, DRAIN_TIMEOUT="10s")
    async with server.running():
        await server.settled()
        async with server.visitors(50) as clients:
            for client in clients[:10]:
                await client.say("user_message", message_id="m", content="/slow 100 " + "word " * 20)
            for client in clients[:10]:
                await client.next("ai_response")
            watch = Watch(server)
            watching = asyncio.create_task(watch.run())
            signalled = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            ends = await asyncio.gather(*map(farewell, clients))
            assert await server.ended() == 0
            assert time.monotonic() - signalled < 10 + SLACK
            await watching
    assert {code for _, _, code, _ in ends} == {Close.DRAINING}
    assert [finish for finish, *_ in ends] == ["stop"] * 10 + [None] * 40
    hints = [hint for _, [hint], _, _ in ends]
    assert all(0 <= hint < 4000 for hint in hints)
    assert max(hints) - min(hints) > 1000
    assert min(seconds for *_, seconds in ends) > 4.5
    assert watch.red_at - signalled < 3
    assert watch.closed_at - watch.red_at > 3.5
    assert (watch.upgrades, watch.answers) == ({(503, True)}, {200})
    async with server.running():
        await server.settled()
        for number, client in enumerate(clients[:10]):
            question, answer = await stored(server, client, f"user{number}")
            assert answer["content"].split() == question["content"].split()[2:]


@pytest.mark.readiness(issue=15)
async def test_answers_without_end_are_interrupted_and_kept_and_their_clients_told(tmp_path):
    server = Process(tmp_path, DRAIN_TIMEOUT="4s")
    async with server.running():
        await server.settled()
        async with server.visitors(20) as clients:
            for client in clients:
                await client.say("user_message", message_id="m", content="/stall 5")
                await client.next("ai_response")
            signalled = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            ends = await asyncio.gather(*map(farewell, clients))
            assert await server.ended() == 0
            assert time.monotonic() - signalled < 4 + SLACK
    assert {(finish, code) for finish, _, code, _ in ends} == {("interrupted", Close.DRAINING)}
    async with server.running():
        await server.settled()
        for number, client in enumerate(clients):
            _, answer = await stored(server, client, f"user{number}")
            assert (answer["content"], answer["metadata"]["finish_reason"]) == ("1 2 3 4 5 ", "interrupted")


@pytest.mark.readiness(issue=15)
async def test_clients_that_are_in_the_middle_of_sending_hear_that_they_have_to_go(tmp_path):
    server = Process(tmp_path, DRAIN_TIMEOUT="2s")
    async with server.running():
        await server.settled()
        lines = [await raw_socket(server, number) for number in range(10)]
        leaving = [asyncio.create_task(sends_until_told(raw)) for raw in lines]
        await asyncio.sleep(0.3)
        assert await server.signalled(signal.SIGTERM) == 0
        assert await asyncio.gather(*leaving) == [Close.DRAINING] * len(lines)


async def raw_socket(server, number):
    raw = Raw(*await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 20))
    raw.write(head("/chatbox/ws", user=f"user{number}"))
    assert (await raw.response())[0] == 101
    return raw


async def sends_until_told(raw):
    """Send without a pause until the server says goodbye; its code."""
    told = asyncio.create_task(raw.close_code())
    while not told.done():
        raw.write(frame(TEXT, b'{"type":"typing_indicator"}') * 50)
        await asyncio.sleep(0.01)
    return await told


@pytest.mark.readiness(issue=15)
async def test_clients_that_neither_read_nor_answer_do_not_hold_it_and_the_others_leave_in_good_order(tmp_path):
    server = Process(tmp_path, DRAIN_TIMEOUT="4s", MAX_ANSWER_SIZE="1048576")
    async with server.running():
        await server.settled()
        async with Proxy(server.port) as proxy, server.visitors(10) as readers, server.visitors(5, proxy.port) as gone:
            deaf = [await never_reads(server, number) for number in range(5)]
            proxy.hole = True
            for client in readers[:5]:
                await client.say("user_message", message_id="m", content="/long 100000")
            for client in readers[:5]:
                await client.next("ai_response")
            signalled = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            ends = await asyncio.gather(*map(farewell, readers))
            assert await server.ended() == 0
            assert time.monotonic() - signalled < 4 + SLACK
            assert {code for _, _, code, _ in ends} == {Close.DRAINING}
            assert len(gone) == 5
            proxy.cut()
            for line in deaf:
                line.close()


async def never_reads(server, number):
    """A socket in the session of a reader that takes nothing of what it is sent."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.connect(("127.0.0.1", server.port))
    line.sendall(head("/chatbox/ws", user=f"user{number}"))
    return line


# -- requests ----------------------------------------------------------------------------------------------------------

BIG_SIZE = 10_000_000
"""More than the system keeps for a client that does not read."""
BIG = f"""
from chatbox import transcript
transcript.as_json = lambda *_: "x" * {BIG_SIZE}
from chatbox.cli import main; import sys; sys.argv[1:] = ["serve"]; main()
"""


async def download(server, client):
    """A download that has begun and of which little has been read."""
    line = socket.socket()
    line.setblocking(False)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    await asyncio.get_running_loop().sock_connect(line, ("127.0.0.1", server.port))
    raw = Raw(*await asyncio.open_connection(sock=line, limit=1 << 16))
    raw.write(head(f"/chatbox/sessions/{client.session_id}/export", "Connection: close", user="user0", fields={}))
    assert (await raw.response())[0] == 200
    return raw


async def test_a_download_that_has_begun_is_given_whole(tmp_path):
    server = Process(tmp_path, DRAIN_TIMEOUT="16s")
    async with server.running(("-c", BIG)):
        await server.settled()
        async with server.visitors(1) as [client]:
            raw = await download(server, client)
            server.process.send_signal(signal.SIGTERM)
            await client.closed()
        while server.bound():
            await asyncio.sleep(0.05)
        got = 0
        for _ in range(5):
            await asyncio.sleep(0.4)
            got += len(await raw.reader.readexactly(500_000))
        assert got + len(await raw.ended()) == BIG_SIZE
        assert await server.ended() == 0


async def test_a_download_that_nobody_takes_ends_with_the_deadline(tmp_path):
    server = Process(tmp_path, DRAIN_TIMEOUT="2s")
    async with server.running(("-c", BIG)):
        await server.settled()
        async with server.visitors(1) as [client]:
            raw = await download(server, client)
            closed = asyncio.create_task(client.closed())
            signalled = time.monotonic()
            assert await server.signalled(signal.SIGTERM) == 0
            assert time.monotonic() - signalled < 2 + SLACK
            assert await closed == Close.DRAINING
            raw.writer.close()


async def test_connections_on_which_nothing_happens_do_not_hold_it(tmp_path):
    server = Process(tmp_path, DRAIN_TIMEOUT="2s")
    async with server.running():
        await server.settled()
        lines = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        for line in lines[:10]:
            line.sendall(b"GET /chatbox/ws HTTP/1.1\r\nHost: loc")
        signalled = time.monotonic()
        assert await server.signalled(signal.SIGTERM) == 0
        assert time.monotonic() - signalled < 2 + SLACK
        for line in lines:
            line.close()


# -- signals -----------------------------------------------------------------------------------------------------------


@pytest.mark.readiness(issue=15)
@pytest.mark.parametrize(("first", "second"), [(signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)])
async def test_a_second_signal_ends_it_at_once_and_what_was_said_is_kept(tmp_path, first, second):
    server = Process(tmp_path, DRAIN_TIMEOUT="60s")
    async with server.running():
        await server.settled()
        async with server.visitors(5) as clients:
            for client in clients:
                await client.say("user_message", message_id="m", content="/stall 5")
                await client.next("ai_response")
            server.process.send_signal(first)
            await clients[0].next("notification")
            signalled = time.monotonic()
            assert await server.signalled(second) == 0
            assert time.monotonic() - signalled < 5 + SLACK
    async with server.running():
        await server.settled()
        for number, client in enumerate(clients):
            _, answer = await stored(server, client, f"user{number}")
            assert (answer["content"], answer["metadata"]["finish_reason"]) == ("1 2 3 4 5 ", "interrupted")


async def test_a_shower_of_signals_is_two_signals(tmp_path):
    server = Process(tmp_path, DRAIN_TIMEOUT="60s")
    async with server.running():
        await server.settled()
        for _ in range(20):
            server.process.send_signal(signal.SIGTERM)
            server.process.send_signal(signal.SIGINT)
        assert await server.ended() == 0
    assert "Traceback" not in server.text
