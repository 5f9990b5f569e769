"""``chatbox serve`` as production runs it: a process of its own, told apart by its log."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from tests.live import Client, token
from tests.processes import environment

MAIN = ("-m", "chatbox", "serve")


class Process:
    """A server of its own, configured for production, that logs everything it does to a file. It can be run again."""

    def __init__(self, folder, **changes):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.http = f"http://127.0.0.1:{self.port}/chatbox"
        self.folder = folder
        self._log = folder / "chatbox.log"
        self._output = folder / "output.txt"
        ours = {
            "CHATBOX_MODE": "production",
            "SERVER_HOST": "127.0.0.1",
            "SERVER_PORT": str(self.port),
            "ALLOWED_ORIGINS": "https://www.example.com",
            "ENCRYPTION_KEY": "Zk3vQm8Rw1Xb6Nc9Tf2Yh5Lj7Pd4Gs0A",
            "DRAIN_TIMEOUT": "2s",
            "LOG_LEVEL": "debug",
            "LOG_FILE": str(self._log),
        }
        self._env = environment(folder, **ours | changes)

    @asynccontextmanager
    async def running(self, program=MAIN):
        self._log.unlink(missing_ok=True)
        with self._output.open("wb") as sink:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *program, env=self._env, stdout=sink, stderr=sink
            )
        self.process = process
        try:
            yield self
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def settled(self, patience=60):
        """Wait until it listens or has ended."""
        async with asyncio.timeout(patience):
            while self.process.returncode is None and '"listening"' not in self.text:
                await asyncio.sleep(0.05)

    async def signalled(self, number, patience=60):
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return await self.ended(patience)

    async def ended(self, patience=60):
        async with asyncio.timeout(patience):
            return await self.process.wait()

    @property
    def text(self):
        """All that it said anywhere."""
        files = (file for file in (self._log, self._output) if file.exists())
        return "".join(file.read_text("utf-8", "replace") for file in files)

    def bound(self):
        with socket.socket() as other:
            return other.connect_ex(("127.0.0.1", self.port)) == 0

    @asynccontextmanager
    async def visitors(self, count, port=None):
        """Open chat sockets of so many users, each past its first frame."""
        address = self.http.replace(str(self.port), str(port or self.port))
        async with aiohttp.ClientSession() as http, AsyncExitStack() as stack:
            clients = []
            for number in range(count):
                head = {"Authorization": f"Bearer {token(f'user{number}')}"}
                line = await stack.enter_async_context(http.ws_connect(f"{address}/ws", headers=head, max_msg_size=0))
                clients.append(Client(line))
                clients[-1].session_id = (await clients[-1].next())["session_id"]
            yield clients

    async def ask(self, path, user=None, method="GET"):
        """An HTTP answer: status, head, body."""
        head = {"Authorization": f"Bearer {token(user)}"} if user else {}
        async with aiohttp.request(method, self.http + path, headers=head) as answer:
            return answer.status, answer.headers, await answer.read()
