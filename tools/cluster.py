"""Chatbox as it runs on many replicas, on this machine: make cluster [MODEL=local] [ARGS="--port 9000"]

Three replicas share Redis and a store; HAProxy in front of them sends every connection to the next one, without sticky
sessions. Whatever ends is started again. Settings of the environment go to all replicas.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Self

from cluster_parts import Balancer, Failed, MongoPeer, Part, Redis, Replica, Tell, program

ROOT = Path(__file__).resolve().parent.parent
REPLICAS = 3
UP_WITHIN = 30.0
AGAIN_AFTER = 1.0


class Cluster:
    """Everything that runs. Opened and closed by ``async with``; closing ends at once, after ``stop`` in good order.

    ``store_url`` names a MongoDB; without one there is a peer of its own, with its data in ``folder``.
    """

    balancer: Balancer

    def __init__(
        self, folder: Path, env: Mapping[str, str], front: socket.socket, tell: Tell, *, store_url: str = ""
    ) -> None:
        self._env = env
        self._front = front
        self._tell = tell
        self._stack = AsyncExitStack()
        self.folder = folder
        self.redis = Redis("redis", folder / "redis", tell)
        self.peer = None if store_url else MongoPeer("mongo", folder / "mongo", tell)
        self.store_url = store_url
        self.replicas: list[Replica] = []

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def http(self) -> str:
        """The address that clients use."""
        return f"http://127.0.0.1:{self.balancer.port}{self.replicas[0].path}"

    @property
    def link(self) -> str:
        """The chat page with a token of the development secret."""
        return f"{self.http}/#token={self.replicas[0].token}"

    @property
    def parts(self) -> list[Part]:
        return [self.redis, *([self.peer] if self.peer else []), *self.replicas, self.balancer]

    async def rolling_restart(self) -> None:
        """Restart every replica, each when the one before is back. Raises ``Failed``."""
        for replica in self.replicas:
            if code := await replica.stop():
                raise Failed(f"{replica.name} ended with {code}. It said:\n{replica.text}")
            await replica.start()
            await self.taken(replica)

    async def taken(self, replica: Replica) -> None:
        """Wait until the balancer sends clients to this replica. Raises ``TimeoutError``."""
        async with asyncio.timeout(UP_WITHIN):
            await self.balancer.taking(replica)

    async def stop(self) -> None:
        """End the replicas in good order: answers finish, sockets are closed with a word."""
        await asyncio.gather(*[replica.stop() for replica in self.replicas if replica.alive])

    async def keep(self) -> None:
        """Start again what ends, until cancelled. Raises ``Failed``."""
        async with first_error(), asyncio.TaskGroup() as group:
            for part in self.parts:
                group.create_task(self._keep(part))

    async def _keep(self, part: Part) -> None:
        while True:
            code = await part.ended()
            self._tell(part.name, f"ended with {code} and is started again")
            await asyncio.sleep(AGAIN_AFTER)
            await part.start()

    async def _start(self) -> None:
        for name in ("redis-server", "haproxy", *(["secantusd-py"] if self.peer else [])):
            program(name)
        await self._open(self.redis, *([self.peer] if self.peer else []))
        if self.peer:
            self.store_url = self.peer.url
        env = {**self._env, **self._shared()}
        self.replicas = [Replica(f"replica{n + 1}", self.folder, self._tell, env) for n in range(REPLICAS)]
        await self._open(*self.replicas)
        self.balancer = Balancer("haproxy", self.folder, self._tell, self._front, self.replicas)
        await self._open(self.balancer)

    async def _open(self, *parts: Part) -> None:
        """Start these together."""
        async with first_error(), asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(self._stack.enter_async_context(part))

    def _shared(self) -> dict[str, str]:
        """What makes servers replicas: one Redis, one store, one set of secrets, which is kept in the folder."""
        return {
            "CHATBOX_DATA_DIR": str(self.folder),
            "REDIS_URL": self.redis.url,
            "STORE_URL": self.store_url,
            "TRUSTED_PROXIES": "127.0.0.1/32",
            "PYTHONUNBUFFERED": "1",
        }


@asynccontextmanager
async def first_error() -> AsyncIterator[None]:
    """Of a group of tasks, the first error by itself."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


# -- the command -----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Three replicas of Chatbox behind HAProxy, on this machine.")
    parser.add_argument("--port", type=int, default=8080, help="where to listen; 0: a free port")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "cluster", help="folder of what is kept")
    parser.add_argument("--model", choices=["echo", "local"], help="who answers; else LLM_PROVIDER_1_*, else echo")
    chosen = parser.parse_args(arguments)
    try:
        with bound(chosen.port) as front:
            cluster = Cluster(chosen.data, environment(chosen.model), front, tell, store_url=store_url())
            return asyncio.run(run(cluster))
    except Failed as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        return 1


async def run(cluster: Cluster) -> int:
    """Until a signal: the first one ends in good order, a second one, or one before all is up, at once."""
    whole = asyncio.current_task()
    stopping: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    started = False

    def signalled() -> None:
        if started and not stopping.done():
            stopping.set_result(None)
        elif whole:
            whole.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, signalled)
    async with cluster:
        started = True
        print(welcome(cluster), flush=True)
        keeping = asyncio.create_task(cluster.keep())
        await asyncio.wait([stopping, keeping], return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            await keeping
        keeping.cancel()
        print("\nStopping: running answers finish. Ctrl-C again ends all at once.", flush=True)
        await cluster.stop()
    return 0


def bound(port: int) -> socket.socket:
    """A socket that HAProxy will listen on. Raises ``Failed``."""
    try:
        return socket.create_server(("127.0.0.1", port), backlog=4096)
    except OSError as error:
        reason = "is taken by another program" if error.errno == errno.EADDRINUSE else f"can't be used: {error}"
        raise Failed(f'Port {port} {reason}. Take another one: make cluster ARGS="--port {port + 1}"') from None


def environment(model: str | None) -> dict[str, str]:
    """Settings of all replicas: those of the environment, with somebody who answers."""
    env = {"LOG_FORMAT": "console", **os.environ}
    if model or not any(name.startswith("LLM_PROVIDER_") for name in env):
        env["LLM_PROVIDER_1_TYPE"] = model or "echo"
    return env


def store_url() -> str:
    """The MongoDB to use, if one is named. Raises ``Failed``."""
    url = os.environ.get("STORE_URL") or os.environ.get("CHATBOX_TEST_MONGO_URI") or ""
    if url and not url.startswith("mongodb"):
        raise Failed("STORE_URL: replicas need a store that all of them reach. Name a MongoDB, or leave it out.")
    return url


def tell(name: str, line: str) -> None:
    print(f"{name:<8} | {line}", flush=True)


def welcome(cluster: Cluster) -> str:
    lines = [
        "",
        "  Three replicas of Chatbox are running. Open the chat:",
        "",
        f"    {cluster.link}",
        "",
        *[f"  {part.name:<18} pid {part.pid:<9} port {part.port}" for part in cluster.parts],
        "",
        f"  Data are in        {cluster.folder}",
        "  Development mode   tokens, secrets and the link above are for this machine only",
        "  Try                kill -9 PID, kill -STOP PID, kill -TERM PID: what ends is started again",
        "  Stop with          Ctrl-C",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
