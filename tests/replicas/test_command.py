"""``make cluster``, as a person sees it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

import cluster_parts
from cluster import main
from cluster_parts import REMEDIES, Replica, configuration
from tests.processes import environment

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(http://127\.0\.0\.1:(\d+)/chatbox)/#token=(\S+)")


@pytest.fixture(autouse=True)
def no_store(monkeypatch):
    for name in ("STORE_URL", "CHATBOX_TEST_MONGO_URI"):
        monkeypatch.delenv(name, raising=False)


@asynccontextmanager
async def command(folder, *arguments, **env):
    """The command as a process; killed at the end, if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, ROOT / "tools" / "cluster.py", "--data", folder, *arguments, limit=1 << 20,
        env=environment(folder) | {"LLM_PROVIDER_1_TYPE": "echo"} | env,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            await process.wait()


async def told(process, pattern):
    """The first line in which this is found, and all lines so far."""
    said = []
    async with asyncio.timeout(100):
        while line := (await process.stdout.readline()).decode():
            said.append(line)
            if found := re.search(pattern, line):
                return found, said
    raise AssertionError("".join(said))


def failed(capsys, folder, *arguments):
    """What a command that can't begin says."""
    assert main(["--data", str(folder), *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    return err


def lines(text):
    """What a balancer's configuration says, without what is one deployment's own."""
    own = ("bind", "server", "log", "global", "option log", "http-request set-header")
    return [line for line in map(str.strip, text.splitlines()) if line and not line.startswith(own)]


def alive(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_it_prints_a_link_starts_again_what_ends_and_ends_everything_on_ctrl_c(tmp_path):
    async with command(tmp_path, "--port", "0") as process:
        link, said = await told(process, LINK)
        head = {"Authorization": f"Bearer {link[3]}"}
        async with aiohttp.request("GET", f"{link[1]}/sessions", headers=head) as answer:
            assert (answer.status, (await answer.json())["user_id"]) == (200, "demo")
        _, more = await told(process, "Stop with")
        pids = {name: int(pid) for name, pid in re.findall(r"(\S+) +pid (\d+)", "".join(more))}
        assert list(pids) == ["redis", "mongo", "replica1", "replica2", "replica3", "haproxy"]
        os.kill(pids["replica2"], signal.SIGKILL)
        for news in (r"replica2 \| ended with -9 and is started again", r"replica2 \| .*listening"):
            more += (await told(process, news))[1]
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            rest = (await process.stdout.read()).decode()
            assert await process.wait() == 0
        assert "Stopping" in rest
        said += [*more, *rest.splitlines()]
        assert [name for name in pids if not any(line.startswith(f"{name} ") for line in said)] == []
        assert [name for name, pid in pids.items() if alive(pid)] == []


def test_a_port_that_is_taken_is_told_before_anything_starts(capsys, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = failed(capsys, tmp_path, "--port", str(port))
    assert f'Port {port} is taken by another program. Take another one: make cluster ARGS="--port {port + 1}"' in told


@pytest.mark.parametrize("missing", REMEDIES)
def test_a_program_that_is_missing_is_told_with_its_remedy(capsys, tmp_path, monkeypatch, missing):
    for name in REMEDIES.keys() - {missing}:
        (tmp_path / name).touch(mode=0o700)
    monkeypatch.setattr(cluster_parts, "PLACES", (str(tmp_path),))
    assert f"{missing} is not installed. {REMEDIES[missing]}" in failed(capsys, tmp_path, "--port", "0")


def test_a_store_that_replicas_cannot_share_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("STORE_URL", "sqlite:///chat.db")
    assert "Name a MongoDB" in failed(capsys, tmp_path, "--port", "0")


def test_the_page_on_many_replicas_shows_the_balancer_that_is_tested(tmp_path):
    shown = re.search(r"```haproxy\n(.*?)```", (ROOT / "docs/howto/many-replicas.md").read_text(), re.DOTALL)[1]
    replica = Replica("replica1", tmp_path, print, {})
    replica.path = "/chatbox"
    assert lines(shown) == lines(configuration(":443", [replica]))
