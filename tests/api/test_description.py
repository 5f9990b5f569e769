"""The routes keep to the description that they publish, whatever they are asked."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests import mutants
from tests.live import running, token

RUNNER = Path(sys.executable).with_name("schemathesis")
CONFIG = Path(__file__).with_name("schemathesis.toml")

pytestmark = pytest.mark.slow


@pytest.fixture
async def live(tmp_path):
    async with running(tmp_path / "data", {"ADMIN_RATE_LIMIT": "1000000"}) as server:
        yield server


async def check(live, folder, *options):
    """Ask every route what the description allows and what it does not, and look at the answers."""
    async with live.socket() as ann:
        session_id = (await ann.next())["session_id"]
        await ann.say("user_message", message_id="m", content="hi")
        await ann.answer()
    share = (await live.call("POST", f"/sessions/{session_id}/share"))[1]["share_token"]
    live.app.access.check = lambda _: None  # sooner or later its own token is revoked
    env = os.environ | {"BEARER": token(roles=["admin"]), "SESSION": session_id, "SHARE": share}
    run = await asyncio.create_subprocess_exec(
        RUNNER, "--config-file", CONFIG, "run", f"{live.http}/openapi.json", *options,
        cwd=folder, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(110):
        said, _ = await run.communicate()
    assert run.returncode == 0, said.decode()


async def test_every_route_answers_as_its_description_says(live, tmp_path):
    await check(live, tmp_path)


async def test_a_route_that_answers_otherwise_would_be_found(live, tmp_path, monkeypatch):
    monkeypatch.setattr(live.app.conversations, "page", None)
    with mutants.found():
        await check(live, tmp_path, "--include-method", "GET", "--max-failures", "1")
