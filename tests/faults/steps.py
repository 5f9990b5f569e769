"""What the steps of a campaign share: how much of everything, people who talk meanwhile, what is measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.faults.checker import WHOLE, Verdict, check_file
from tests.faults.cluster import Place, Scene
from tests.faults.history import INVOKE, OK, read
from tests.faults.talkers import Talker

INTERRUPTED = WHOLE | {"interrupted"}


@dataclass(frozen=True)
class Amounts:
    """How much of everything. ``bytes``: at most so many places in one answer; ``half_open``: wait until half-open
    connections are found; ``largest``: bytes of an answer; ``spread``: users with devices at several replicas; ``bus``:
    messages acknowledged meanwhile; ``visits``: takeovers by each member of staff. In seconds: ``outage``, ``patience``
    (for any progress), ``stopped``, ``everything``."""

    talkers: int
    acknowledged: int
    kills: int
    cuts: int
    bytes: int
    outage: float
    half_open: bool
    largest: int
    patience: float
    spread: int
    replica_kills: int
    stopped: float
    bus: int
    store_cuts: int
    everything: float
    sockets: int
    answers: int
    visits: int


FULL = Amounts(
    talkers=20, acknowledged=10_000, kills=50, cuts=1_000, bytes=2_000, outage=30, half_open=True, largest=1 << 20,
    patience=120, spread=12, replica_kills=12, stopped=60, bus=1_000, store_cuts=60, everything=100, sockets=300,
    answers=50, visits=15,
)  # fmt: skip
SHORT = Amounts(
    talkers=4, acknowledged=60, kills=2, cuts=20, bytes=20, outage=0.6, half_open=False, largest=1 << 14, patience=30,
    spread=3, replica_kills=2, stopped=12, bus=60, store_cuts=6, everything=3, sockets=24, answers=6,
    visits=3,
)  # fmt: skip


@dataclass
class Run:
    """One step under way, and what came of it. ``problems`` are expectations that did not come true."""

    folder: Path
    seed: str
    amounts: Amounts
    tell: Callable[[str], None] = lambda _: None
    mutant: str = ""
    figures: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    verdict: Verdict | None = None

    @property
    def history(self) -> Path:
        return self.folder / "history.jsonl"

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.problems.append(what)

    @property
    def data(self) -> Path:
        """The server's folder."""
        return self.folder / "data"

    def judge(self, history: Path | None = None, *, ends: frozenset[str] = WHOLE) -> Verdict:
        """Check the history."""
        self.verdict = check_file(history or self.history, ends)
        self.problems += [str(violation) for violation in self.verdict.violations]
        return self.verdict


# -- people talk, meanwhile things happen ----------------------------------------------------------------------------


@asynccontextmanager
async def talking(
    run: Run, scene: Scene[Any], talkers: list[Talker], pieces: int = 12, pause: int = 3
) -> AsyncIterator[None]:
    """Everyone says one thing after another, sometimes several at once, until the end; then for what is under way."""
    enough = asyncio.Event()

    async def talk(talker: Talker) -> None:
        while not enough.is_set():
            if scene.chance.random() < 0.1:
                await talker.burst(scene.chance.randint(2, 4), scene.chance.randint(0, pieces))
            else:
                await talker.ask(scene.chance.randint(0, pieces), scene.chance.randint(0, pause))
            await asyncio.sleep(scene.chance.expovariate(20))

    async with asyncio.timeout(None) as patience, asyncio.TaskGroup() as group:
        for talker in talkers:
            group.create_task(talk(talker))
        try:
            yield
        finally:
            enough.set()
            patience.reschedule(asyncio.get_running_loop().time() + run.amounts.patience)


async def said_more(run: Run, talkers: list[Talker], count: int) -> None:
    """Wait until so many more messages are acknowledged, by all together. Raises ``TimeoutError``."""
    goal = acknowledged(talkers) + count
    async with asyncio.timeout(run.amounts.patience):
        while acknowledged(talkers) < goal:
            await asyncio.sleep(0.01)


def acknowledged(talkers: list[Talker]) -> int:
    return sum(talker.acked for talker in talkers)


async def status(server: Place, path: str) -> int:
    """The status of an answer; 0 when there is none within 10 s."""
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with (
            asyncio.timeout(10),
            aiohttp.ClientSession() as http,
            http.get(server.http + path) as response,
        ):
            return response.status
    return 0


async def turns(run: Run, server: Place, wanted: int, patience: float = 20.0) -> float:
    """Seconds until readiness has this status; it is expected to come to it."""
    begun = time.monotonic()
    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            while await status(server, "/readyz") != wanted:
                await asyncio.sleep(0.1)
            return time.monotonic() - begun
    run.expect(False, f"readiness: not {wanted} within {patience:g} s")
    return patience


def acknowledged_between(history: Path, begin: float, end: float) -> int:
    """Messages that were sent and acknowledged within this time."""
    sent: set[str] = set()
    count = 0
    for record in read(history):
        if record.what == "say" and begin <= record.at <= end:
            if record.kind == INVOKE:
                sent.add(record.id)
            count += record.kind == OK and record.id in sent
    return count


def count(run: Run, *kinds: str) -> str:
    """How often these promises were broken."""
    return str(sum(violation.kind in kinds for violation in run.verdict.violations)) if run.verdict else "not checked"
