"""What a campaign runs: the model, a server on SQLite with its proxy, and the history of it all."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Generic, Protocol, Self, TypeVar

from cluster import Cluster
from cluster_parts import Part, Replica
from tests.faults.bus import Bus
from tests.faults.history import History
from tests.faults.model import Model
from tests.faults.talkers import Talker, complete, note_stored
from tests.llm.standins.server import KEY
from tests.processes import Service, environment
from tests.proxy import Proxy

T = TypeVar("T")

SETTINGS = {
    "LLM_PROVIDER_1_TYPE": "openai",
    "LLM_PROVIDER_1_MODEL": "scripted",
    "LLM_PROVIDER_1_API_KEY": KEY,
    "LLM_PROVIDER_1_CONTEXT": "2000",
    "LLM_PROVIDER_1_MAX_TOKENS": "500",
    "RATE_LIMIT": "1000000",
    "MAX_CONNECTIONS_PER_USER": "50",
    "LOG_LEVEL": "warning",
    "DRAIN_TIMEOUT": "10s",
}
TOGETHER = 25
"""Users that come at once."""


class Server(Service):
    """``chatbox serve`` as a campaign sees it; ``mutant`` names a defect that is planted in it."""

    def __init__(self, folder: Path, name: str, endpoint: str, mutant: str = "", **settings: str) -> None:
        super().__init__(folder, **SETTINGS, LLM_PROVIDER_1_ENDPOINT=endpoint, **settings)
        self.name = name
        if mutant:
            self.program = ("-m", "tests.faults.mutants", mutant)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def database(self) -> Path:
        return self.folder / "chatbox.db"

    async def end(self) -> None:
        if self.process and self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)
            await self.kill()


class Place(Protocol):
    """A server as clients and readers know it."""

    name: str
    http: str
    port: int


P = TypeVar("P", bound=Place)


class Scene(Generic[P]):
    """One step of a campaign: its chance, its history, its servers, its proxy in front of them and its users."""

    def __init__(self, folder: Path, seed: str, history: History, model: Model, servers: Sequence[P]) -> None:
        self.folder = folder
        self.chance = Random(seed)
        self.history = history
        self.model = model
        self.servers = servers
        self.talkers: list[Talker] = []
        self._stack = AsyncExitStack()

    @property
    def server(self) -> P:
        return self.servers[0]

    async def __aenter__(self) -> Self:
        self.proxy = await self.enter(Proxy(*(server.port for server in self.servers)))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *reason: object) -> None:
        if kind is not None:
            with suppress(Exception):
                await self.settled(5)
        await self._stack.aclose()

    async def enter(self, part: AbstractAsyncContextManager[T]) -> T:
        """Something that lasts as long as the scene."""
        return await self._stack.enter_async_context(part)

    def fault(self, text: str, who: str = "") -> None:
        """Note what was done to the servers."""
        self.history.info("fault", text=text, who=who)

    async def invite(
        self, count: int, devices: int = 2, *, direct: int = 0, proxy: Proxy | None = None
    ) -> list[Talker]:
        """New users behind the proxy; ``direct`` more devices of each go past it."""
        through, past = (proxy or self.proxy).base(self.server.http), self.server.http
        return await self.invite_to(*[[through] * devices + [past] * direct] * count)

    async def invite_to(self, *places: Sequence[str]) -> list[Talker]:
        """A new user for each of these lists of addresses, with a device at each address."""
        begin = len(self.talkers)
        self.talkers += [Talker(f"user{begin + n}", bases, self.history) for n, bases in enumerate(places)]
        for start in range(begin, len(self.talkers), TOGETHER):
            await asyncio.gather(*map(self.enter, self.talkers[start : start + TOGETHER]))
        return self.talkers[begin:]

    async def settled(self, patience: float = 60.0) -> None:
        """Wait until every question is answered and every device has been told, as long as that takes; then note what
        is stored. Whatever is missing then is for the checker to say."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                for talker in self.talkers:
                    while not await complete(talker):
                        await asyncio.sleep(0.1)
        for server in self.servers:
            for talker in self.talkers:
                await note_stored(talker, server.http, server.name, self.history)


@asynccontextmanager
async def alone(
    folder: Path, seed: str, mutant: str = "", prefix: tuple[str, ...] = (), **settings: str
) -> AsyncIterator[Scene[Server]]:
    """One server on SQLite, its data in ``data`` and the history in ``history.jsonl``."""
    async with AsyncExitStack() as stack:
        history = stack.enter_context(History(folder / "history.jsonl"))
        model = await stack.enter_async_context(Model(history))
        (folder / "data").mkdir(exist_ok=True)
        server = Server(folder / "data", "the server", model.url, mutant, **settings)
        server.prefix = prefix
        stack.push_async_callback(server.end)
        await server.start()
        yield await stack.enter_async_context(Scene(folder, seed, history, model, [server]))


class Replicas(Cluster):
    """Three replicas that reach Redis through ``bus`` and their store through ``store``; ``mutant`` names a defect that
    is planted in them."""

    def __init__(
        self, folder: Path, env: Mapping[str, str], front: socket.socket, bus: Bus, store: Proxy, mutant: str
    ) -> None:
        self._log = (folder / "log.txt").open("w")
        super().__init__(folder, env, front, self._write)
        self.bus, self.store = bus, store
        self._mutant = mutant

    def _write(self, name: str, line: str) -> None:
        print(f"{name:<8} | {line}", file=self._log, flush=True)

    def _shared(self) -> dict[str, str]:
        self.bus.targets, self.store.targets = [self.redis.port], [self.peer.port]
        redis, store = (
            f"redis://127.0.0.1:{self.bus.port}/0",
            f"mongodb://127.0.0.1:{self.store.port}/?directConnection=true",
        )
        return super()._shared() | {"REDIS_URL": redis, "STORE_URL": store}

    async def _open(self, *parts: Part) -> None:
        for part in parts:
            if self._mutant and isinstance(part, Replica):
                part.program = ("-m", "tests.faults.mutants", self._mutant)
        await super()._open(*parts)


class Together(Scene[Replica]):
    """A scene on many replicas."""

    cluster: Replicas

    @property
    def bus(self) -> Bus:
        return self.cluster.bus

    async def invite_all(self, count: int) -> list[Talker]:
        """New users, each with a device at the balancer, who speaks, and others at two of the replicas."""
        places = [server.http for server in self.servers]
        return await self.invite_to(*[[self.cluster.http, places[n % 3], places[(n + 1) % 3]] for n in range(count)])


@asynccontextmanager
async def together(folder: Path, seed: str, mutant: str = "", **settings: str) -> AsyncIterator[Together]:
    """Three replicas with Redis, a MongoDB peer and a balancer without sticky sessions."""
    async with AsyncExitStack() as stack:
        history = stack.enter_context(History(folder / "history.jsonl"))
        model = await stack.enter_async_context(Model(history))
        front = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096))
        bus = await stack.enter_async_context(Bus(Random(f"bus {seed}")))
        store = await stack.enter_async_context(Proxy())
        env = environment(folder, **SETTINGS, LLM_PROVIDER_1_ENDPOINT=model.url, **settings)
        cluster = await stack.enter_async_context(Replicas(folder, env, front, bus, store, mutant))
        scene = Together(folder, seed, history, model, cluster.replicas)
        scene.cluster = cluster
        yield await stack.enter_async_context(scene)
