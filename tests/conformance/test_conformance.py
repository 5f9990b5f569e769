"""The WebSocket cases of the Autobahn test suite against the server as it is."""

from __future__ import annotations

import asyncio
import json
import sys
import tomllib
from pathlib import Path

import pytest

from chatbox import lines
from chatbox.app import App, open_parts
from chatbox.config import Config
from chatbox.connection import Connection
from tests import mutants
from tests.live import DEVELOPMENT, ECHO, running, token

EXPECTED = tomllib.loads(Path(__file__).with_name("expected.toml").read_text("utf-8"))
GROUPS = ("failed", "non-strict", "informational")
RANKS = {"OK": 0, "NON-STRICT": 1, "INFORMATIONAL": 1, "FAILED": 2}
RUNNER = Path(sys.executable).with_name("kosoku")

pytestmark = pytest.mark.slow


class Echo(App):
    """The service's app, but that its sockets echo."""

    async def __call__(self, scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})


@pytest.fixture
async def echo(tmp_path, monkeypatch):
    """A server of sockets that echo, with room for messages of 16 MiB in 64 Ki fragments."""
    monkeypatch.setattr(lines, "MAX_FRAGMENTS", 1 << 17)
    env = DEVELOPMENT | ECHO | {"CHATBOX_DATA_DIR": str(tmp_path / "data"), "MAX_MESSAGE_SIZE": str(1 << 25)}
    config = Config.load(env)
    async with running(tmp_path, app=Echo(config, open_parts(config))) as live:
        yield f"ws://127.0.0.1:{live.port}"


@pytest.fixture
async def chat(tmp_path, monkeypatch):
    """The chat endpoint. What it says by itself is held back, since the cases expect to hear only answers."""
    monkeypatch.setattr(Connection, "send", lambda self, frame, piece=None: None)
    async with running(tmp_path, {"MAX_CONNECTIONS_PER_USER": "1000"}) as live:
        yield f"{live.http}/ws?token={token()}".replace("http", "ws")


async def results(address, folder, *selection):
    """Each case's result and what came of closing; both are worse than OK when the case failed."""
    run = await asyncio.create_subprocess_exec(
        RUNNER, address, "--parallelism", "8", "--outdir", folder / "report", *selection,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    async with asyncio.timeout(100):
        await run.wait()
    [cases] = json.loads((folder / "report" / "index.json").read_text()).values()
    return {name: max(case["behavior"], case["behaviorClose"], key=rank) for name, case in cases.items()}


def rank(result):
    return RANKS.get(result, RANKS["FAILED"])


def allowed(case):
    """The worst that the table allows."""
    return max((RANKS[group.upper()] for group in GROUPS if case in EXPECTED["echo"][group]), default=RANKS["OK"])


async def check_echo(echo, folder, *selection):
    refused = [word for pattern in EXPECTED["echo"]["not offered"] for word in ("--exclude", pattern)]
    found = await results(echo, folder, *(selection or refused))
    worse = {case: result for case, result in found.items() if rank(result) > allowed(case)}
    assert not worse
    return found


async def test_an_echo_under_the_same_server_passes_every_case_but_those_that_the_table_names(echo, tmp_path):
    found = await check_echo(echo, tmp_path)
    assert len(found) == EXPECTED["echo"]["count"]
    assert [case for case, result in found.items() if rank(result) == RANKS["FAILED"]] == EXPECTED["echo"]["failed"]


async def test_the_chat_endpoint_passes_the_cases_that_need_no_echo(chat, tmp_path):
    cases = EXPECTED["chat"]["cases"]
    found = await results(chat, tmp_path, *[word for case in cases for word in ("--include", case)])
    assert len(found) == len(cases) == 150
    assert not {case: result for case, result in found.items() if rank(result) > allowed(case)}


async def test_a_server_that_answers_no_ping_would_be_found(echo, tmp_path, monkeypatch):
    def careless(self, event):
        self.conn.data_to_send()

    monkeypatch.setattr(lines.SocketLine, "handle_ping", careless)
    with mutants.found():
        await check_echo(echo, tmp_path, "--include", "2.*")
