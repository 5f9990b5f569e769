"""A Redis of one's own for tests: Debian's ``redis-server`` on a free port, without persistence."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.proxy import TO_CLIENT, Link, Proxy


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RedisServer:
    """A server process, kept at one port over restarts. What it held is gone when it ends."""

    def __init__(self) -> None:
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.folder = tempfile.mkdtemp(prefix="redis-")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self, **options: object) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=self.port, retry=Retry(NoBackoff(), 0), **options)

    def start(self, patience: float = 30.0) -> None:
        """Returns when it answers; another process may have taken the port that was free."""
        deadline = time.monotonic() + patience
        fixed = bool(self.port)
        while time.monotonic() < deadline:
            self.port = self.port if fixed else free_port()
            self.process = subprocess.Popen(self._command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while self.process.poll() is None and time.monotonic() < deadline:
                if self.answers():
                    return
                time.sleep(0.01)
        raise AssertionError("redis-server did not start")

    def answers(self) -> bool:
        with suppress(redis.ConnectionError, redis.TimeoutError), self.client(socket_timeout=1.0) as client:
            return bool(client.ping())
        return False

    def kill(self) -> None:
        """As a crash would end it."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def pause(self) -> None:
        """It takes connections and bytes, and answers nothing."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def _command(self) -> list[str]:
        return [
            "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
            "--dir", self.folder,
        ]  # fmt: skip


class DeafProxy(Proxy):
    """While ``deaf``, what is published never arrives; all else does."""

    deaf = False

    def passed(self, link: Link, way: str, data: bytes) -> bytes:
        data = super().passed(link, way, data)
        return b"" if self.deaf and way == TO_CLIENT and b"\r\nmessage\r\n" in data else data
