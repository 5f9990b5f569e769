"""``chatbox serve`` as a process of its own: started, signalled, killed, started again on the same data."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from contextlib import asynccontextmanager, suppress

import aiohttp

from tests.live import SECRET

OURS = re.compile(r"CHATBOX_|LLM_|JWT_|JWKS_|ENCRYPTION_|STORE_|SERVER_|ALLOWED_|CORS_|CHAT_|LOG_|REDIS_|MONGO_")


def environment(folder, **settings):
    """This process's environment without settings of ours, but for those given."""
    rest = {name: value for name, value in os.environ.items() if not OURS.match(name)}
    ours = {"CHATBOX_DATA_DIR": str(folder), "JWT_SECRET": SECRET, "LLM_PROVIDER_1_TYPE": "echo", "SERVER_PORT": "0"}
    return rest | ours | settings


async def command(*arguments, env, text=b"", patience=60):
    """Run ``chatbox`` to its end: exit code, output, errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chatbox", *arguments, env=env,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(patience):
        out, err = await process.communicate(text)
    return process.returncode, out.decode(), err.decode()


class Service:
    """A server process. ``port`` is known once it listens, and kept over restarts.

    ``prefix`` is a command that runs it, ``program`` what Python is told to run.
    """

    prefix: tuple[str, ...] = ()
    program: tuple[str, ...] = ("-m", "chatbox")

    def __init__(self, folder, *arguments, **settings):
        self.folder = folder
        self.arguments = arguments
        self.settings = settings
        self.port = 0
        self.output = folder / "output.txt"
        self.process = None

    async def start(self, patience=60):
        self.output.write_bytes(b"")
        env = environment(self.folder, **{"SERVER_PORT": str(self.port), **self.settings})
        command = [*self.prefix, sys.executable, *self.program, "serve", "--dev", *self.arguments]
        with self.output.open("wb") as sink:
            self.process = await asyncio.create_subprocess_exec(*command, env=env, stdout=sink, stderr=sink)
        async with asyncio.timeout(patience):
            while not (link := re.search(r"http://127.0.0.1:(\d+)(\S*/)#token=\S+", self.text)):
                assert self.process.returncode is None, self.text
                await asyncio.sleep(0.02)
        self.port, self.link = int(link[1]), link[0]
        self.http = f"http://127.0.0.1:{self.port}{link[2].rstrip('/')}"

    @property
    def text(self):
        return self.output.read_text("utf-8", "replace")

    async def signal(self, number, patience=60):
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return await self.ended(patience)

    async def ended(self, patience=60):
        return await asyncio.wait_for(self.process.wait(), patience)

    async def kill(self):
        """As a crash would end it."""
        return await self.signal(signal.SIGKILL)

    async def end(self):
        """Kill it, if it runs."""
        if self.process and self.process.returncode is None:
            await self.kill()

    async def answers(self, path="/healthz"):
        with suppress(aiohttp.ClientError, OSError):
            async with aiohttp.ClientSession() as http, http.get(self.http + path) as answer:
                return answer.status
        return None


@asynccontextmanager
async def serving(folder, *arguments, **settings):
    """A server process that runs, and is ended afterwards."""
    service = Service(folder, *arguments, **settings)
    try:
        await service.start()
        yield service
    finally:
        await service.end()
