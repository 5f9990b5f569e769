"""Many clients at once: connecting them, and rounds of answers with what they cost the server."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

from bench.client import Client
from bench.server import SECRET, Model, Server, chatbox, model
from bench.tally import Tally

AT_ONCE = 64
"""Handshakes at the same time."""

SATURATED = 0.9
"""Share of their core from which on the limits of load and model are measured."""

SAMPLE = 0.5


class Round(NamedTuple):
    """One answer for every client.

    ``cpu`` is seconds of the server, ``busy`` the share of the load's core that load and model used, ``late`` tokens
    that the model sent too late, ``rss`` the server's highest, in KiB.
    """

    tally: Tally
    seconds: float
    cpu: float
    busy: float
    late: int
    rss: int
    problems: list[str]

    @property
    def saturated(self) -> bool:
        """Whether the load, not the server, may be what was measured."""
        return self.busy > SATURATED

    @property
    def disturbed(self) -> bool:
        """Whether the model was late though it had time: the machine does something else."""
        return not self.saturated and self.late > self.tally.tokens / 100


class Crowd:
    """Clients of one server or of several by turns, a user each."""

    def __init__(self, servers: Sequence[Server], speaker: Model, size: int) -> None:
        self.servers = servers
        self.server = servers[0]
        self._model = speaker
        self._left = 0
        self._done = asyncio.Event()
        urls = [server.socket for server in servers]
        self.clients = [
            Client(urls[number % len(urls) :] + urls[: number % len(urls)], SECRET, f"user-{number}", self._over)
            for number in range(size)
        ]

    async def connect(self) -> float:
        """Connect all; returns the seconds it took."""
        gate = asyncio.Semaphore(AT_ONCE)
        begun = time.monotonic()
        await asyncio.gather(*[_through(gate, client) for client in self.clients])
        return time.monotonic() - begun

    async def round(self, tokens: int, *, ramp: float, limit: float) -> Round:
        """Each client asks once, spread over ``ramp`` seconds; after ``limit`` seconds what is missing is missing."""
        late = await self._model.late()
        with uninterrupted():
            cpu, busy, begun = self.server.process.cpu(), self._load(), time.monotonic()
            tally = self.ask(tokens, ramp)
            rss = await self._wait(begun + limit)
            seconds = time.monotonic() - begun
            cpu, busy = self.server.process.cpu() - cpu, (self._load() - busy) / seconds
        problems = tally.problems(len(self.clients))
        return Round(tally, seconds, cpu, busy, await self._model.late() - late, rss, problems)

    def _load(self) -> float:
        """Seconds of CPU that load and model have used."""
        return time.process_time() + self._model.process.cpu()

    def ask(self, tokens: int, ramp: float) -> Tally:
        """Let each client ask at its time; their answers go to the tally that is returned."""
        tally = Tally(tokens)
        self._left = len(self.clients)
        self._done.clear()
        loop = asyncio.get_running_loop()
        for number, client in enumerate(self.clients):
            loop.call_later(ramp * number / len(self.clients), client.ask, tally)
        return tally

    async def finished(self, deadline: float) -> bool:
        """Wait until all answers are over, at most until ``deadline`` (monotonic s)."""
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._done.wait()
        except TimeoutError:
            return False
        return True

    def leave(self) -> None:
        for client in self.clients:
            client.leave()

    async def _wait(self, deadline: float) -> int:
        rss = 0
        while not await self.finished(min(deadline, time.monotonic() + SAMPLE)) and time.monotonic() < deadline:
            rss = max(rss, self.server.process.rss())
        return max(rss, self.server.process.rss())

    def _over(self, _: Client) -> None:
        self._left -= 1
        if self._left == 0:
            self._done.set()


@asynccontextmanager
async def crowd(size: int, *, tokens: int, rate: float, **settings: str) -> AsyncIterator[Crowd]:
    """Connected clients of a fresh server, whose model has answers of ``tokens`` at ``rate`` a second."""
    async with model(tokens=tokens, rate=rate) as speaker, chatbox(speaker.port, **settings) as server:
        clients = Crowd([server], speaker, size)
        await clients.connect()
        try:
            yield clients
        finally:
            clients.leave()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """No garbage collection in the load generator."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _through(gate: asyncio.Semaphore, client: Client) -> None:
    async with gate:
        await client.connect()
