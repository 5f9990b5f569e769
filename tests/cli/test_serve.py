"""``chatbox serve`` as a process: start, signals, and what goes wrong told in one sentence."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
import time

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbox.backplane.base import Pool
from chatbox.backplane.memory import MemoryQuotas
from chatbox.connections import SOCKETS, Connections, Socket
from chatbox.metrics import Metrics
from tests.live import token
from tests.processes import command, environment, serving

pytestmark = pytest.mark.slow


@pytest.mark.readiness(issue=5)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_server_says_where_it_listens_and_stops_on_a_signal_with_exit_code_0(tmp_path, number):
    async with serving(tmp_path) as service:
        assert await service.answers() == 200
        assert await service.answers("/readyz") == 200
        [line] = [json.loads(line) for line in service.text.splitlines() if '"listening"' in line]
        assert (line["host"], line["port"]) == ("127.0.0.1", service.port)
        assert await service.signal(number) == 0
        assert await service.answers() is None
        assert "Traceback" not in service.text


@pytest.mark.readiness(issue=5)
async def test_a_signal_while_a_long_answer_runs_waits_for_it_and_a_second_one_does_not(tmp_path):
    async with serving(tmp_path) as service, aiohttp.ClientSession() as http:
        head = {"Authorization": f"Bearer {token()}"}
        async with http.ws_connect(f"{service.http}/ws", headers=head) as line:
            await line.receive()
            await line.send_json({"type": "user_message", "content": "/stall 3"})
            await line.receive()
            service.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.5)
            assert service.process.returncode is None
            assert await service.signal(signal.SIGTERM, patience=15) == 0
        assert "forced to stop" in service.text


@pytest.mark.readiness(issue=5)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("delay", [0.25, 0.5, 0.8, 1.2])
async def test_a_signal_during_the_start_ends_it_quietly(tmp_path, number, delay):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chatbox", "serve", "--dev", env=environment(tmp_path),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    await asyncio.sleep(delay)
    process.send_signal(number)
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    # Before the interpreter has come to our code nobody can heed a signal.
    assert process.returncode == 0 or b"chatbox/cli/serve.py" not in output
    assert process.returncode in (0, -number)


@pytest.mark.readiness(issue=15)
async def test_a_stopping_process_tells_all_sockets_and_closes_them_together(tmp_path):
    async with serving(tmp_path, DRAIN_TIMEOUT="10s") as service, aiohttp.ClientSession() as http:
        lines = []
        for number in range(20):
            head = {"Authorization": f"Bearer {token(f'user{number}')}"}
            lines.append(await http.ws_connect(f"{service.http}/ws", headers=head))
            await lines[-1].receive()
        service.process.send_signal(signal.SIGTERM)
        started = time.monotonic()

        async def last_words(line):
            hint = (await line.receive()).json()
            await line.receive()
            return hint["metadata"]["event"], int(hint["metadata"]["retry_after"]) >= 0, line.close_code

        assert set(await asyncio.gather(*map(last_words, lines))) == {("drain", True, 1001)}
        assert await service.ended() == 0
        assert time.monotonic() - started < 9


@pytest.mark.readiness(issue=15)
async def test_the_process_ends_at_its_deadline_whoever_is_still_there(tmp_path):
    async with serving(tmp_path, DRAIN_TIMEOUT="1s") as service, aiohttp.ClientSession() as http:
        head = {"Authorization": f"Bearer {token()}"}
        async with http.ws_connect(f"{service.http}/ws", headers=head) as line:
            await line.receive()
            await line.send_json({"type": "user_message", "content": "/stall 3"})
            await line.receive()
            assert await service.signal(signal.SIGTERM, patience=20) == 0


class Held(Socket):
    """A socket of a client that hangs up after ``leaves`` seconds; None: never."""

    def __init__(self, number, leaves):
        self.id, self.user_id = f"socket{number}", f"user{number}"
        self.leaves = leaves
        self.hints, self.code, self.closed_at, self.aborted = [], None, None, False
        self.gone = asyncio.Event()

    missed_ping = False

    def hint(self, event, **metadata):
        self.hints.append(event)

    def close(self, code, reason):
        self.code, self.closed_at = code, time.monotonic()
        if self.leaves is not None:
            asyncio.get_running_loop().call_later(self.leaves, self.gone.set)

    def abort(self):
        self.aborted = True
        self.gone.set()

    def tick(self, now):
        return 0


async def drained(leaves, deadline):
    """Sockets after a drain, and how long that took."""
    connections = Connections(1000, MemoryQuotas({}, {SOCKETS: Pool()}), Metrics())
    sockets = [Held(number, after) for number, after in enumerate(leaves)]

    async def stay(held):
        async with connections.place(held.user_id, held.id):
            with connections.enter(held):
                there.release()
                await held.gone.wait()

    there = asyncio.Semaphore(0)
    staying = [asyncio.create_task(stay(held)) for held in sockets]
    for _ in staying:
        await there.acquire()
    started = time.monotonic()
    connections.warn()
    await connections.close_all(started + deadline)
    took = time.monotonic() - started
    await asyncio.gather(*staying)
    return sockets, took, len(connections)


@pytest.mark.readiness(issue=15)
@settings(max_examples=100)
@given(st.integers(0, 300))
def test_sockets_that_leave_by_themselves_are_closed_together_and_not_forced(count):
    sockets, took, left = asyncio.run(drained([0.0] * count, 30.0))
    assert all(held.hints == ["drain"] and held.code == 1001 and not held.aborted for held in sockets)
    assert left == 0
    assert took < 10


@pytest.mark.readiness(issue=15)
@settings(max_examples=100)
@given(st.lists(st.sampled_from([None, 0.0]), max_size=40), st.sampled_from([0.0, 0.01, 0.03]))
def test_at_the_deadline_exactly_those_who_stay_are_forced(leaves, deadline):
    sockets, took, left = asyncio.run(drained(leaves, deadline))
    assert all(held.aborted for held in sockets if held.leaves is None)
    assert left == 0
    assert took < deadline + 10
    closed = [held.closed_at for held in sockets]
    assert not closed or max(closed) - min(closed) < 5


async def test_a_port_that_is_taken_is_told_in_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = await command("serve", "--dev", "--port", str(port), env=environment(tmp_path))
    assert code == 1
    assert out == ""
    assert err.startswith(f"Port {port} on 127.0.0.1 is taken")
    assert "--port" in err
    assert err.count("\n") == 1


async def test_an_address_that_is_not_ours_is_told_in_one_sentence(tmp_path):
    env = environment(tmp_path, SERVER_HOST="192.0.2.1", SERVER_PORT="9", CHATBOX_MODE="production",
                      ALLOWED_ORIGINS="https://a.example.com", ENCRYPTION_KEY="0" * 16 + "a1" * 24)  # fmt: skip
    code, _, err = await command("serve", env=env)
    assert (code, err.count("\n")) == (1, 1)
    assert "--host" in err


async def test_a_store_that_another_process_has_is_told_in_one_sentence(tmp_path):
    async with serving(tmp_path):
        code, _, err = await command("serve", "--dev", env=environment(tmp_path))
    assert code == 1
    assert "in use by another process" in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_data_folder_that_can_not_be_written_is_told(tmp_path):
    tmp_path.chmod(0o500)
    code, _, err = await command("serve", "--dev", env=environment(tmp_path / "data"))
    assert code in (1, 2)
    assert "can't be" in err


async def test_a_data_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "data").write_text("in the way")
    code, _, err = await command("serve", "--dev", env=environment(tmp_path / "data"))
    assert code in (1, 2)
    assert str(tmp_path / "data") in err
    assert "Traceback" not in err


async def test_every_wrong_setting_is_listed_and_no_secret_shown(tmp_path):
    env = environment(tmp_path, JWT_SECRET="changeme-7yZ", SERVER_PORT="none", PING_INTERVAL="soon")
    code, out, err = await command("serve", env=env)
    assert code == 2
    assert re.match(r"\d settings are wrong:\n", err)
    assert {"SERVER_PORT", "PING_INTERVAL", "JWT_SECRET", "ENCRYPTION_KEY"} <= set(
        re.findall(r"^  (\w+):", err, re.MULTILINE)
    )
    assert "changeme" not in out + err


async def test_options_count_more_than_the_environment_and_the_file_less(tmp_path):
    file = tmp_path / "chatbox.toml"
    file.write_text('path_prefix = "/from-file"\nping_interval = "7s"\nsession_ttl = "8m"\n')
    env = environment(tmp_path, PING_INTERVAL="9s", SESSION_TTL="9m")
    code, out, _ = await command("check", "--dev", "--config", str(file), "--ping-interval", "11s", env=env)
    assert code == 0
    lines = out.splitlines()
    assert "PING_INTERVAL=11s  # command line" in lines
    assert "SESSION_TTL=9m  # environment" in lines
    assert f"CHATBOX_PATH_PREFIX=/from-file  # file {file}" in lines


async def test_the_welcome_says_where_what_and_how(tmp_path):
    async with serving(tmp_path) as service:
        text = service.text
        assert str(tmp_path) in text
        assert "echo" in text
        assert "LLM_PROVIDER_1_TYPE=" in text
        assert "Ctrl-C" in text
        bearer = {"Authorization": f"Bearer {service.link.partition('token=')[2]}"}
        async with aiohttp.ClientSession() as http, http.get(f"{service.http}/sessions", headers=bearer) as answer:
            assert answer.status == 200


async def test_the_welcome_links_to_the_support_desk_with_a_token_for_staff(tmp_path):
    async with serving(tmp_path) as service:
        found = re.search(rf"{service.http}/staff#token=(\S+)", service.text)
        assert found, service.text
        bearer = {"Authorization": f"Bearer {found[1]}"}
        async with aiohttp.ClientSession() as http, http.get(f"{service.http}/admin/blocks", headers=bearer) as answer:
            assert answer.status == 200
