"""Chatbox and the scripted model as the benchmark starts them: as users do, each in its own process."""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp

from bench.process import LOAD_CORE, SERVER_CORE, Process, first_line, started

SECRET = "Zk3vW8qLr5TnX1cYb7Hd9Fg2Jm4Ps6Ua"
POLL = 0.002
READY_WITHIN = 60.0


class Model(NamedTuple):
    """The scripted model's process."""

    process: Process
    port: int

    async def late(self) -> int:
        """Tokens that it sent over 10 ms too late."""
        async with aiohttp.request("GET", f"http://127.0.0.1:{self.port}/counts") as response:
            return int((await response.json())["late"])


class Server(NamedTuple):
    """A server under test."""

    process: Process
    port: int

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}/chatbox"

    @property
    def socket(self) -> str:
        return f"ws://127.0.0.1:{self.port}/chatbox/ws"


@asynccontextmanager
async def model(*, tokens: int, rate: float) -> AsyncIterator[Model]:
    """The scripted model; ``rate`` tokens a second and answer, 0: as fast as they are read."""
    command = ["-m", "bench.model", "--tokens", str(tokens), "--rate", str(rate)]
    async with started(LOAD_CORE, *command) as process:
        yield Model(Process(process.pid), int(await first_line(process)))


@asynccontextmanager
async def chatbox(model_port: int = 9, **settings: str) -> AsyncIterator[Server]:
    """``chatbox serve`` with an empty data folder, ready; ``settings`` are further variables of its environment."""
    with tempfile.TemporaryDirectory(prefix="chatbox-bench-") as folder:
        port = free_port()
        env = environment(Path(folder), port, model_port) | settings
        async with started(SERVER_CORE, "-m", "chatbox", "serve", "--dev", env=env) as process:
            await healthy(port)
            yield Server(Process(process.pid), port)


def environment(folder: Path, port: int, model_port: int) -> dict[str, str]:
    """Durable and encrypted as by default, with the limits out of the way, and byte code as an installation has it."""
    return {
        "CHATBOX_DATA_DIR": str(folder),
        "JWT_SECRET": SECRET,
        "SERVER_PORT": str(port),
        "LOG_LEVEL": "error",
        "RATE_LIMIT": "1000000",
        "MAX_CONNECTIONS": "20000",
        "MAX_CONNECTIONS_PER_USER": "2000",
        "LLM_PROVIDER_1_TYPE": "openai",
        "LLM_PROVIDER_1_MODEL": "scripted",
        "LLM_PROVIDER_1_API_KEY": "k",
        "LLM_PROVIDER_1_ENDPOINT": f"http://127.0.0.1:{model_port}/v1",
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(
            Path(tempfile.gettempdir()) / f"chatbox-bench-bytecode-{sys.implementation.cache_tag}"
        ),
    }


async def healthy(port: int) -> float:
    """Wait until the server says so; returns the monotonic time when it did. Raises ``RuntimeError``."""
    url = f"http://127.0.0.1:{port}/chatbox/healthz"
    deadline = time.monotonic() + READY_WITHIN
    async with aiohttp.ClientSession() as http:
        while not await _answers(http, url):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{url} did not answer within {READY_WITHIN:g} s")
            await asyncio.sleep(POLL)
    return time.monotonic()


async def _answers(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(url) as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
