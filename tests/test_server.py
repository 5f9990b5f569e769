"""Serving and stopping in good order."""

import asyncio
import signal
import time

import aiohttp
import pytest

from chatbox.lines import DEAD_AFTER
from chatbox.protocol import Close
from tests import mutants
from tests.live import running, token
from tests.production import MAIN, Process


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
        await ann.say("user_message", message_id="m", content="/stall 3")
        await ann.next("ai_response")
        started = time.monotonic()
        stopping = asyncio.create_task(live.app.drain(4.0))
        assert await ann.closed(patience=20) == Close.DRAINING
        await stopping
        assert time.monotonic() - started < 20
        _, body = await live.call("GET", f"/sessions/{session_id}")
        assert body["messages"][-1]["metadata"]["finish_reason"] == "interrupted"
        assert body["messages"][-1]["content"]


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


# -- as production runs it ---------------------------------------------------------------------------------------------


async def check_settings_first(folder, program=MAIN, patience=60):
    """Bad settings end the program with exit code 2 and each of their names, before it listens."""
    server = Process(folder, JWT_SECRET="changeme", ALLOWED_ORIGINS="*", RATE_LIMIT="0")
    async with server.running(program):
        await server.settled(patience)
        assert (server.process.returncode, server.bound()) == (2, False)
        assert all(name in server.text for name in ("JWT_SECRET", "ALLOWED_ORIGINS", "RATE_LIMIT"))
        assert "changeme" not in server.text


async def check_life(folder, number, program=MAIN, patience=60):
    """It binds, logs its address, serves, and ends on a signal with exit code 0."""
    server = Process(folder)
    async with server.running(program), aiohttp.ClientSession() as http:
        await server.settled(patience)
        assert f'"port":{server.port}' in server.text
        async with http.get(f"{server.http}/healthz") as answer:
            assert answer.status == 200
        assert await server.signalled(number, patience) == 0
        assert not server.bound()


@pytest.mark.readiness(issue=5)
@pytest.mark.readiness(issue=19)
async def test_the_program_checks_its_settings_before_it_listens(tmp_path):
    await check_settings_first(tmp_path)


@pytest.mark.readiness(issue=5)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_program_binds_serves_logs_its_address_and_stops_on_a_signal(tmp_path, number):
    await check_life(tmp_path, number)


def main_but(change):
    """The program with a change made to it."""
    return ("-c", f"import sys; sys.argv[1:] = ['serve']\n{change}\nfrom chatbox.cli import main; main()")


ONLY_WAITS = ("-c", "import signal; signal.sigwait({signal.SIGTERM, signal.SIGINT})")
UNCHECKED = main_but(
    "from chatbox import config, reading, settings\n"
    "from pydantic import SecretStr\n"
    "config.broken = lambda settings, providers: ()\n"
    "reading.Reading.problem = lambda self, name, text: None"
)
DEAF = main_but("from chatbox.server import Server; Server._signalled = lambda self, opening: None")


@pytest.mark.readiness(issue=5)
async def test_a_program_that_only_waits_for_signals_would_be_found(tmp_path):
    with mutants.found():
        await check_life(tmp_path, signal.SIGTERM, ONLY_WAITS, patience=1)


@pytest.mark.readiness(issue=5)
@pytest.mark.readiness(issue=19)
async def test_a_program_that_serves_without_checking_its_settings_would_be_found(tmp_path):
    with mutants.found():
        await check_settings_first(tmp_path, UNCHECKED)


@pytest.mark.readiness(issue=5)
async def test_a_program_that_does_not_stop_would_be_found(tmp_path):
    server = Process(tmp_path)
    async with server.running(DEAF):
        await server.settled()
        with mutants.found():
            assert await server.signalled(signal.SIGTERM, patience=2) == 0


# -- tokens in addresses -----------------------------------------------------------------------------------------------

CANARY = "canary-Q7x2"


async def test_in_production_a_token_in_the_address_is_refused_and_no_token_or_word_is_ever_logged(tmp_path):
    server, good = Process(tmp_path), token()
    offered = ("chatbox.v1", f"bearer.{good}")
    async with server.running(), aiohttp.ClientSession() as http:
        await server.settled()
        for address in (f"{server.http}/ws?token={good}", f"{server.http}/ws?token={CANARY}&client=tab"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await http.ws_connect(address)
            assert caught.value.status == 401
        async with http.get(f"{server.http}/sessions?token={good}&q={CANARY}") as answer:
            assert answer.status == 401
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(f"{server.http}/ws", headers={"Authorization": f"Bearer {CANARY}"})
        assert caught.value.status == 401
        async with http.ws_connect(f"{server.http}/ws?token={CANARY}", protocols=offered) as line:
            await line.receive()
            await line.send_json({"type": "user_message", "content": CANARY, "message_id": "m"})
            await line.send_str(f'{{"type":"user_message","content":"{CANARY}"')
            await line.send_json({"type": "auth", "content": f"{CANARY}.{CANARY}.{CANARY}"})
            while '"done":"true"' not in (await line.receive()).data:
                pass
        async with http.get(
            f"{server.http}/sessions?q={CANARY}", headers={"Authorization": f"Bearer {good}"}
        ) as answer:
            assert answer.status == 200
        assert await server.signalled(signal.SIGTERM) == 0
    assert '"handshake refused"' in server.text
    for private in (CANARY, good, good.rpartition(".")[2], good.split(".")[1]):
        assert private not in server.text
