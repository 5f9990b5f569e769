"""The processes of a cluster: Redis, a MongoDB peer, replicas of Chatbox, and HAProxy in front of them."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

PLACES = (str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin")
"""Where programs are looked for: HAProxy's place is not on the path of everyone."""
KEPT = 400
"""Lines of a process's output that are kept."""
LINE = 1 << 20
READY_WITHIN = 90.0
ENDED_WITHIN = 60.0
PORTS_TRIED = 3

Tell = Callable[[str, str], None]
"""Gets a process's name and a line of its log."""


class Failed(Exception):
    """A part can't be had; the text says why and what to do."""


class Part:
    """A process at one port over all its starts. ``ready`` is what its output shows once it serves.

    ``quiet`` names an output that is kept, but not told: what it says is said elsewhere.
    """

    ready: ClassVar[re.Pattern[str]]
    quiet: ClassVar[str] = ""

    def __init__(self, name: str, folder: Path, tell: Tell) -> None:
        self.name = name
        self.folder = folder
        self.port = 0
        self.lines: deque[str] = deque(maxlen=KEPT)
        self._tell = tell
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def inherited(self) -> tuple[int, ...]:
        """File descriptors that it takes over."""
        return ()

    def took(self, told: re.Match[str]) -> None:
        """Learn from what it said when it was ready."""

    def heard(self, line: str) -> None:
        """Learn from a line of its output."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def text(self) -> str:
        """What it said since its start."""
        return "\n".join(self.lines)

    async def start(self) -> None:
        """Returns when it is ready. Raises ``Failed``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lines.clear()
        self._told: asyncio.Future[re.Match[str]] = asyncio.get_running_loop().create_future()
        self._process = await asyncio.create_subprocess_exec(
            *self.command(), env=self.environment(), pass_fds=self.inherited(), limit=LINE, start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read_all(self._process))
        either: list[asyncio.Future[Any]] = [self._told, self._reading]
        try:
            async with asyncio.timeout(READY_WITHIN):
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            self.took(self._told.result())
        except (TimeoutError, asyncio.InvalidStateError):
            await self.kill()
            raise Failed(f"{self.name} did not start. It said:\n{self.text or 'nothing'}") from None
        except asyncio.CancelledError:
            await self.kill()
            raise

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self._running.send_signal(number)

    async def ended(self, patience: float | None = None) -> int:
        """Wait for its end; the exit code. Raises ``TimeoutError``."""
        async with asyncio.timeout(patience):
            code = await self._running.wait()
            if self._reading:
                await asyncio.wait([self._reading])
            return code

    async def kill(self) -> None:
        """As a crash would end it; nothing, if it has ended."""
        if self.alive:
            self.signal(signal.SIGKILL)
            await self.ended()

    async def stop(self) -> int:
        """Ask it to end, and wait; the exit code. Raises ``TimeoutError``."""
        self.signal(signal.SIGTERM)
        return await self.ended(ENDED_WITHIN)

    def pause(self) -> None:
        """It lives, and does nothing until ``resume``."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    @property
    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise Failed(f"{self.name} was never started")
        return self._process

    async def _read_all(self, process: asyncio.subprocess.Process) -> None:
        streams = {"stdout": process.stdout, "stderr": process.stderr}
        await asyncio.gather(*[self._read(stream, tell=name != self.quiet) for name, stream in streams.items()])

    async def _read(self, stream: asyncio.StreamReader | None, *, tell: bool) -> None:
        while stream and (data := await stream.readline()):
            line = data.decode(errors="replace").rstrip()
            self.lines.append(line)
            self.heard(line)
            if tell and line:
                self._tell(self.name, line)
            if (told := self.ready.search(line)) and not self._told.done():
                self._told.set_result(told)


class Redis(Part):
    """Without persistence: what it holds is gone when it ends."""

    ready = re.compile("Ready to accept connections")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """At its first start another process may have taken the port that was free."""
        if self.port:
            return await super().start()
        for _ in range(PORTS_TRIED - 1):
            self.port = free_port()
            with suppress(Failed):
                return await super().start()
        self.port = free_port()
        return await super().start()

    def command(self) -> Sequence[str]:
        return [
            program("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder),
            "--save", "", "--appendonly", "no",
        ]  # fmt: skip


class MongoPeer(Part):
    """SecantusDB, which speaks MongoDB's wire protocol and flushes before it acknowledges."""

    ready = re.compile(r"listening on 127\.0\.0\.1:(\d+)")

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/"

    def took(self, told: re.Match[str]) -> None:
        self.port = int(told[1])

    def command(self) -> Sequence[str]:
        options = ["--port", str(self.port), "--storage-path", str(self.folder / "data"), "--sync-on-commit"]
        return [program("secantusd-py"), *options, "--enable-test-commands"]


class Replica(Part):
    """``chatbox serve`` in development, with the settings of all replicas and its own ``settings``."""

    ready = re.compile(r"http://127\.0\.0\.1:(\d+)(\S*)/#token=(\S+)")
    quiet = "stdout"
    program: Sequence[str] = ("-m", "chatbox")
    """What Python is told to run."""

    def __init__(self, name: str, folder: Path, tell: Tell, env: Mapping[str, str]) -> None:
        super().__init__(name, folder, tell)
        self.settings: dict[str, str] = {}
        self._env = env

    def command(self) -> Sequence[str]:
        return [sys.executable, *self.program, "serve", "--dev"]

    def environment(self) -> Mapping[str, str]:
        return {**self._env, **self.settings, "SERVER_PORT": str(self.port)}

    def took(self, told: re.Match[str]) -> None:
        self.port, self.path, self.token = int(told[1]), told[2], told[3]
        self.http = f"http://127.0.0.1:{self.port}{self.path}"


class Balancer(Part):
    """HAProxy. It knows nothing of sessions: each connection goes to the next replica that is ready.

    ``front`` is the socket it listens on, bound before; it stays open while HAProxy is away.
    """

    ready = re.compile(r"Health check for server ready/\S+ succeeded")
    quiet = "stderr"

    def __init__(self, name: str, folder: Path, tell: Tell, front: socket.socket, replicas: Sequence[Replica]) -> None:
        super().__init__(name, folder, tell)
        self._front = front
        self._replicas = replicas
        self._up = {replica.name: asyncio.Event() for replica in replicas}
        self.port = front.getsockname()[1]

    def command(self) -> Sequence[str]:
        file = self.folder / "haproxy.cfg"
        file.write_text(configuration(f"fd@{self._front.fileno()}", self._replicas))
        return [program("haproxy"), "-db", "-f", str(file)]

    def inherited(self) -> tuple[int, ...]:
        return (self._front.fileno(),)

    def heard(self, line: str) -> None:
        if change := CHANGE.match(line):
            up = self._up[change[1]]
            (up.clear if change[2] == "DOWN" else up.set)()

    def takes(self, replica: Replica) -> bool:
        """Whether it sends clients there."""
        return self._up[replica.name].is_set()

    async def taking(self, replica: Replica) -> None:
        """Wait until it does."""
        await self._up[replica.name].wait()


CHANGE = re.compile(r"(?:Server|Health check for server) ready/(\S+) (?:is )?(UP|DOWN|succeeded)")


def configuration(front: str, replicas: Sequence[Replica]) -> str:
    """HAProxy's configuration. The part that every deployment needs is in docs/howto/many-replicas.md."""
    servers = "\n".join(f"  server {replica.name} 127.0.0.1:{replica.port}" for replica in replicas)
    return CONFIGURATION.format(front=front, path=replicas[0].path, servers=servers)


CONFIGURATION = """\
global
  log stdout format raw local0

defaults
  log global
  mode http
  option forwardfor
  option log-health-checks
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout http-request 10s
  timeout tunnel 1h
  balance roundrobin
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response 503
  default-server check inter 2s fastinter 1s downinter 1s fall 2 rise 1

frontend front
  bind {front}
  log-format "%HM %HPO %ST by %s after %Tt ms, ended %ts"
  http-request disable-l7-retry unless METH_GET
  http-request deny if {{ path {path}/metrics/prometheus }}
  use_backend ready if {{ nbsrv(ready) gt 0 }}
  default_backend alive

backend ready
  option httpchk
  http-check send meth GET uri {path}/readyz ver HTTP/1.1 hdr Host 127.0.0.1
  http-check expect status 200
{servers}

backend alive
  option httpchk
  http-check send meth GET uri {path}/healthz ver HTTP/1.1 hdr Host 127.0.0.1
  http-check expect status 200
{servers}
"""

REMEDIES = {
    "redis-server": "On Debian and Ubuntu: sudo apt-get install redis-server",
    "haproxy": "On Debian and Ubuntu: sudo apt-get install haproxy",
    "secantusd-py": "Install what development needs (make cluster does), or name a MongoDB in STORE_URL.",
}


def program(name: str) -> str:
    """Where a program is. Raises ``Failed``."""
    found = shutil.which(name, path=os.pathsep.join(PLACES))
    if not found:
        raise Failed(f"{name} is not installed. {REMEDIES[name]}")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
