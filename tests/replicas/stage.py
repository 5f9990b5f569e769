"""A cluster of processes as tests use it: Redis, a MongoDB peer, three replicas, HAProxy, and a model whose answers can
all be computed again. What people say and are told goes into a history, which is checked."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Self

import aiohttp

from cluster import Cluster
from cluster_parts import Replica, Tell
from tests.faults.checker import Verdict, check
from tests.faults.history import History, Record, read
from tests.faults.model import Model
from tests.faults.talkers import Device, Talker, complete, note_stored, until
from tests.live import Client, token
from tests.llm.standins.server import KEY
from tests.processes import environment

RATE_LIMIT = 60
SOCKETS_OF_ONE = 8

SETTINGS = {
    "LLM_PROVIDER_1_TYPE": "openai",
    "LLM_PROVIDER_1_MODEL": "scripted",
    "LLM_PROVIDER_1_API_KEY": KEY,
    "LLM_PROVIDER_1_CONTEXT": "2000",
    "LLM_PROVIDER_1_MAX_TOKENS": "500",
    "RATE_LIMIT": str(RATE_LIMIT),
    "MAX_CONNECTIONS_PER_USER": str(SOCKETS_OF_ONE),
    "DRAIN_TIMEOUT": "6s",
    "LOG_LEVEL": "info",
    "LOG_FORMAT": "console",
}


class Stage:
    """What runs during all tests of a module."""

    def __init__(self, folder: Path, cluster: Cluster, model: Model) -> None:
        self.folder = folder
        self.cluster = cluster
        self.model = model
        self._scenes = 0

    @property
    def replicas(self) -> list[Replica]:
        return self.cluster.replicas

    @asynccontextmanager
    async def scene(self) -> AsyncIterator[Scene]:
        """One test's people and their history."""
        self._scenes += 1
        with History(self.folder / f"history{self._scenes}.jsonl") as history:
            before, self.model._history = self.model._history, history
            try:
                async with Scene(self, f"person{self._scenes}-", history) as scene:
                    yield scene
            finally:
                self.model._history = before

    @asynccontextmanager
    async def socket(self, place: Replica | Cluster, user: str) -> AsyncIterator[Client]:
        """A bare chat socket."""
        head = {"Authorization": f"Bearer {token(user)}"}
        async with aiohttp.ClientSession() as http, http.ws_connect(f"{place.http}/ws", headers=head) as line:
            yield Client(line)

    async def figure(self, replica: Replica, name: str) -> float:
        """A metric of a replica, summed over its labels."""
        async with aiohttp.ClientSession() as http, http.get(f"{replica.http}/metrics/prometheus") as answer:
            found = re.findall(rf"^chatbox_{name}(?:\{{.*\}})? (\S+)$", await answer.text(), re.MULTILINE)
        return sum(map(float, found))

    async def status(self, place: Replica | Cluster, path: str) -> int:
        async with aiohttp.ClientSession() as http, http.get(place.http + path) as answer:
            return answer.status

    async def turns(self, replica: Replica, wanted: int, patience: float = 30.0) -> float:
        """Seconds until a replica's readiness has this status."""
        begun = time.monotonic()
        while await self.status(replica, "/readyz") != wanted:
            assert time.monotonic() - begun < patience, f"{replica.name} is not {wanted} within {patience:g} s"
        return time.monotonic() - begun


class Scene:
    """People who talk, and what is true of it in the end."""

    def __init__(self, stage: Stage, prefix: str, history: History) -> None:
        self.stage = stage
        self.history = history
        self.talkers: list[Talker] = []
        self._prefix = prefix
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def invite(self, *places: Replica | Cluster) -> Talker:
        """A new user with a device at each of these."""
        user = f"{self._prefix}{len(self.talkers)}"
        talker = Talker(user, [place.http for place in places], self.history)
        self.talkers.append(talker)
        return await self._stack.enter_async_context(talker)

    async def settled(self, patience: float = 60.0) -> None:
        """Wait until all that was said is answered and everyone knows it."""
        for talker in self.talkers:
            await agreed(talker, patience)

    async def verdict(self, *ends: str) -> Verdict:
        """What the history says with what each replica has stored, when answers may end in these ways. Raises
        ``AssertionError`` for what is wrong."""
        for replica in self.stage.replicas:
            for talker in self.talkers:
                await note_stored(talker, replica.http, replica.name, self.history)
        verdict = check(self.records(), frozenset(ends or ("stop",)))
        assert not verdict.violations, "\n".join(map(str, verdict.violations))
        return verdict

    def records(self) -> Iterator[Record]:
        """The history so far."""
        self.history._file.flush()
        return read(self.history.path)


async def agreed(talker: Talker, patience: float) -> None:
    deadline = time.monotonic() + patience
    while not await complete(talker):
        told = {device.name: device.at for device in talker.devices}
        assert time.monotonic() < deadline, f"not complete within {patience:g} s: {told}"


async def streaming(device: Device, pieces: int = 3, patience: float = 30.0) -> None:
    """Wait until so many pieces of a running answer have come."""
    start = device.pieces
    await until(lambda: device.pieces >= start + pieces, patience, f"{pieces} pieces for {device.name}")


async def answered(device: Device, count: int, patience: float = 30.0) -> None:
    """Wait until a device was told of so many answers."""
    await until(lambda: device.answers >= count, patience, f"{count} answers for {device.name}")


@asynccontextmanager
async def staged(folder: Path, tell: Tell, **settings: str) -> AsyncIterator[Stage]:
    """The cluster, with its data in ``folder``; on a MongoDB of one's own if ``CHATBOX_TEST_MONGO_URI`` names one."""
    with History(folder / "history.jsonl") as history, socket.create_server(("127.0.0.1", 0), backlog=4096) as front:
        async with Model(history) as model:
            own = {"LLM_PROVIDER_1_ENDPOINT": model.url, "MONGO_DATABASE": f"replicas{time.time_ns()}"}
            env = environment(folder, **{**SETTINGS, **own, **settings})
            url = os.environ.get("CHATBOX_TEST_MONGO_URI", "")
            async with Cluster(folder, env, front, tell, store_url=url) as cluster:
                yield Stage(folder, cluster, model)
