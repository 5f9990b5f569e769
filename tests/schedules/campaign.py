"""The campaign: ten thousand schedules and every planted defect, on all cores.

Its exit code is 1 when a promise was broken, a planted defect was not found, a schedule did not repeat itself, or the
time was over before all had run.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import shutil
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.status import Status
from rich.table import Table

from tests.schedules.exploring import Run, found, replayed, runs
from tests.schedules.mutants import MUTANTS
from tests.schedules.scenarios import SCENARIOS, SKIES

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "reference" / "schedules.md"
FAILURES = ROOT / "test-results" / "schedules"
CHUNK = 50
SHARES = {"memory": 0.8, "Redis": 0.2}
"""The part of all schedules that each bus gets."""
LONGEST_SEARCH = 3000
"""Schedules after which a planted defect counts as not found."""
TWICE = 2
"""Schedules of each chunk that run again, to see that they repeat themselves."""
VERSIONS = ("chatbox", "detangle", "fakeredis", "redis", "uvicorn")


class Chunk(NamedTuple):
    """Some schedules of one scenario; of all its chunks, the ``first`` one has asyncio's own schedule."""

    bus: str
    scenario: str
    seed: int
    count: int
    first: bool

    @property
    def again(self) -> int:
        return min(TWICE, self.count)


class Outcome(NamedTuple):
    """What came of a chunk."""

    chunk: Chunk
    orders: set[int]
    histories: set[int]
    failures: list[Run]
    repeated: bool


class Search(NamedTuple):
    """What came of the search for a planted defect: in which schedule it was found (0: in none), and what was said."""

    defect: str
    number: int
    complaint: str


class Row(NamedTuple):
    """The sum of a scenario's chunks on a bus."""

    bus: str
    scenario: str
    schedules: int
    orders: int
    histories: int
    violations: int


class Campaign:
    """What has come in so far."""

    def __init__(self, wanted: int, defects: int) -> None:
        self.wanted = wanted
        self.defects = defects
        self.outcomes: list[Outcome] = []
        self.searches: list[Search] = []
        self.begun = time.monotonic()

    def take(self, result: Outcome | Search) -> None:
        if isinstance(result, Outcome):
            self.outcomes.append(result)
        else:
            self.searches.append(result)

    @property
    def schedules(self) -> int:
        return sum(outcome.chunk.count for outcome in self.outcomes)

    @property
    def failures(self) -> list[tuple[Chunk, Run]]:
        return [(outcome.chunk, run) for outcome in self.outcomes for run in outcome.failures]

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    @property
    def line(self) -> str:
        """How far it is."""
        defects = f" · {sum(1 for s in self.searches if s.number)} of {self.defects} defects" if self.defects else ""
        ran = f"{self.schedules:,} of {self.wanted:,} schedules"
        return f"{ran} · {len(self.failures)} violations{defects} · {self.seconds:.0f} s"

    @property
    def rows(self) -> list[Row]:
        sums: defaultdict[tuple[str, str], list[Outcome]] = defaultdict(list)
        for outcome in self.outcomes:
            sums[outcome.chunk.bus, outcome.chunk.scenario].append(outcome)
        places = [(bus, scenario.__name__) for bus, (_, scenarios) in SKIES.items() for scenario in scenarios]
        return [_row(*place, sums[place]) for place in places if place in sums]

    @property
    def problems(self) -> list[str]:
        found = [f"{chunk.scenario} on {chunk.bus}: {run.failure}" for chunk, run in self.failures]
        found += [f"not found: {search.defect}" for search in self.searches if not search.number]
        found += [f"not repeated: {o.chunk.scenario} on {o.chunk.bus}" for o in self.outcomes if not o.repeated]
        if self.schedules < self.wanted or len(self.searches) < self.defects:
            found.append(f"the time was over: {self.line}")
        return found


def _row(bus: str, scenario: str, outcomes: list[Outcome]) -> Row:
    return Row(
        bus,
        scenario,
        sum(outcome.chunk.count for outcome in outcomes),
        len(set().union(*[outcome.orders for outcome in outcomes])),
        len(set().union(*[outcome.histories for outcome in outcomes])),
        sum(len(outcome.failures) for outcome in outcomes),
    )


def main() -> int:
    chosen = options()
    if chosen.replay:
        return replay(Path(chosen.replay))
    campaign = run(chosen)
    console = Console(width=None if sys.stdout.isatty() else 120)
    for table in (drawn_rows(campaign.rows), drawn_searches(campaign.searches)):
        if table.row_count:
            console.print(table)
    keep_failures(campaign.failures)
    if chosen.keep:
        PAGE.write_text(page(campaign, chosen.seed))
    for problem in campaign.problems:
        print(problem.partition("\n")[0])
    verdict = f"{len(campaign.problems)} problems" if campaign.problems else "every promise was kept"
    print(f"{campaign.schedules:,} schedules in {campaign.seconds / 60:.1f} minutes: {verdict}.")
    return 1 if campaign.problems else 0


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.schedules", description=__doc__)
    parser.add_argument("--schedules", type=int, default=10_000, metavar="N", help="how many; 10000")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another number, other schedules; 1")
    parser.add_argument("--only", default="", metavar="WORD", help="the scenarios with this word in their name")
    parser.add_argument("--minutes", type=float, default=15.0, metavar="N", help="give up after so long; 15")
    parser.add_argument("--keep", action="store_true", help="write docs/reference/schedules.md")
    parser.add_argument("--replay", default="", metavar="FILE", help="run a failed schedule again, and tell its story")
    return parser.parse_args()


# -- the work ----------------------------------------------------------------------------------------------------------


def run(chosen: argparse.Namespace) -> Campaign:
    """Everything, spread over the cores; what has not come in when the time is over is left out."""
    os.environ["PYTHONHASHSEED"] = "0"
    parts = list(chunks(chosen))
    campaign = Campaign(sum(part.count for part in parts), 0 if chosen.only else len(MUTANTS))
    pool = ProcessPoolExecutor(mp_context=get_context("spawn"))
    work: list[Future[Outcome | Search]] = []
    if campaign.defects:
        work += [pool.submit(searched, defect, chosen.seed) for defect in MUTANTS]
    work += [pool.submit(explored, part) for part in parts]
    console = Console(stderr=True)
    try:
        with console.status("starting") as status:
            for done in as_completed(work, timeout=chosen.minutes * 60):
                campaign.take(done.result())
                tell(campaign, console, status)
    except TimeoutError:
        pass
    pool.shutdown(wait=False, cancel_futures=True)
    return campaign


def tell(campaign: Campaign, console: Console, status: Status) -> None:
    status.update(campaign.line)
    if not console.is_terminal and len(campaign.outcomes) % 20 == 0:
        console.print(campaign.line)


def chunks(chosen: argparse.Namespace) -> Iterator[Chunk]:
    """The schedules of each scenario, in parts that take some seconds; the scenarios take turns."""
    every = [
        (start, bus, name, count)
        for bus, (_, scenarios) in SKIES.items()
        for name, count in shared_out(
            bus, [s.__name__ for s in scenarios if chosen.only in s.__name__], chosen.schedules
        )
        for start in range(0, count, CHUNK)
    ]
    for start, bus, name, count in sorted(every, key=lambda part: part[0]):
        seed = zlib.crc32(f"{chosen.seed} {bus} {name} {start}".encode())
        yield Chunk(bus, name, seed, min(CHUNK, count - start), first=start == 0)


def shared_out(bus: str, names: list[str], schedules: int) -> list[tuple[str, int]]:
    """How many schedules each scenario gets."""
    of_bus = round(schedules * SHARES[bus])
    return [(name, of_bus // len(names) + (place < of_bus % len(names))) for place, name in enumerate(names)]


def explored(chunk: Chunk) -> Outcome:
    def some(count: int) -> list[Run]:
        return list(runs(chunk.bus, chunk.scenario, seed=chunk.seed, count=count, plain=chunk.first))

    ran, again = some(chunk.count), some(chunk.again)
    repeated = [one.history for one in ran[: chunk.again]] == [one.history for one in again]
    failures = [one for one in ran if one.failure]
    return Outcome(chunk, {one.order for one in ran}, {one.history for one in ran}, failures, repeated)


def searched(defect: str, seed: int) -> Search:
    hit = found(MUTANTS[defect], seed=seed, count=LONGEST_SEARCH)
    return Search(defect, hit[0], hit[1].failure) if hit else Search(defect, 0, "")


# -- failed schedules --------------------------------------------------------------------------------------------------


def keep_failures(failures: list[tuple[Chunk, Run]]) -> None:
    """Write each one down: its story, and how to have it again."""
    shutil.rmtree(FAILURES, ignore_errors=True)
    for number, (chunk, ran) in enumerate(failures, start=1):
        FAILURES.mkdir(parents=True, exist_ok=True)
        head = f"{chunk.bus} {chunk.scenario} {ran.token}"
        (FAILURES / f"{number}.txt").write_text(f"{head}\n\n{ran.story}\n\n{ran.failure}\n")


def replay(file: Path) -> int:
    """Run the schedule that a file names."""
    again = replayed(*file.read_text().split()[:3])
    print(again.story or "This schedule keeps every promise now.", again.failure, sep="\n\n")
    return 1 if again.failure else 0


# -- the tables and the page -------------------------------------------------------------------------------------------


def drawn_rows(rows: list[Row]) -> Table:
    table = Table("Bus", "Scenario")
    for heading in ("Schedules", "Interleavings", "Histories", "Violations"):
        table.add_column(heading, justify="right")
    for row in rows:
        figures = (row.schedules, row.orders, row.histories, row.violations)
        table.add_row(row.bus, spoken(row.scenario), *[f"{figure:,}" for figure in figures])
    return table


def drawn_searches(searches: list[Search]) -> Table:
    table = Table("Planted defect", "Found by")
    table.add_column("In schedule", justify="right")
    for search in sorted(searches):
        table.add_row(search.defect, spoken(MUTANTS[search.defect].scenario), str(search.number or "not found"))
    return table


def spoken(scenario: str) -> str:
    return scenario.replace("_", " ")


def page(campaign: Campaign, seed: int) -> str:
    """The published results."""
    when = f"{datetime.now(UTC):%Y-%m-%d}"
    versions = ", ".join([f"{name} {version(name)}" for name in VERSIONS])
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {versions}"
    command = f"make schedules ARGS={shlex.quote(shlex.join(sys.argv[1:]))}"
    totals = [sum(row[place] for row in campaign.rows) for place in range(2, 6)]
    repeated = sum(outcome.chunk.again for outcome in campaign.outcomes)
    return TEXT.format(
        command=command,
        seed=seed,
        when=when,
        machine=machine,
        minutes=campaign.seconds / 60,
        totals=totals,
        repeated=repeated,
        defects=len(campaign.searches),
        found=sum(1 for search in campaign.searches if search.number),
        scenarios="\n".join(scenario_lines(campaign.rows)),
        searches="\n".join(search_lines(campaign.searches)),
        problems="".join([f"\n- {problem}" for problem in campaign.problems]) or " none.",
    )


def scenario_lines(rows: list[Row]) -> Iterator[str]:
    """A line a scenario; its schedules on each bus, the other figures over both."""
    for scenario in SCENARIOS:
        cases, about = described(scenario)
        of_one = {row.bus: row for row in rows if row.scenario == scenario}
        schedules = [f"{of_one[bus].schedules:,}" if bus in of_one else "" for bus in SKIES]
        sums = [f"{sum(row[place] for row in of_one.values()):,}" for place in range(3, 6)]
        yield " | ".join([f"| {cases}", about, *schedules, *sums]) + " |"


def described(scenario: str) -> tuple[str, str]:
    """The cases of a scenario, and what it is about, from its text."""
    text = " ".join((SCENARIOS[scenario].__doc__ or "").split())
    cases = re.match(r"((?:[A-D]\d+(?:, )?)*)(?: over HTTP| in small)?\. ", text)
    return (cases[1], text[cases.end() :]) if cases and cases[1] else ("", text)


def search_lines(searches: list[Search]) -> Iterator[str]:
    for search in sorted(searches, key=lambda search: list(MUTANTS).index(search.defect)):
        mutant = MUTANTS[search.defect]
        yield f"| {search.defect} | {spoken(mutant.scenario)} | {search.number or 'not found'} |"


TEXT = """# Schedules

Two replicas of the shipped application talk to simulated sockets in one process, under a deterministic scheduler with
simulated time (detangle). Each call to the store, to the bus and to the model
takes explored time before and after it has happened; events between replicas come late, doubled, reordered or not at
all; lines are cut, tasks are cancelled, replicas die, stand still and leave. The bus is the shipped one in memory, or
the shipped backplane for Redis, whose connections run over a simulated network to the engine of
fakeredis. The store is the one in memory behind the shipped encryption: what the
other stores do is held to the same contract by their own tests.

After each step it is looked at whether a promise was broken: each socket's positions follow on each other; what was
acknowledged is stored; an answer that begins ends once, and nothing of it comes later; one model writes in a session at
a time, one turn is open, and none is taken that nobody asked for; whatever a client has is the log up to its position,
byte by byte; one member of staff has the conversation, or the AI, and nobody else says anything in it, in the log or
on any socket; a model knows what staff said to the user, and neither it nor the user ever hears a note. In the end
everyone has the whole log, nothing is owed, open or leased, no question was passed over, no background task has failed,
the takeovers that are kept are those of the log, and whoever comes now gets all of it.

```sh
make schedules                                         # all of it, on all cores
make schedules ARGS="--only replica_dies --seed 2"     # some of it, differently
make schedules ARGS="--replay test-results/schedules/1.txt"
```

The campaign writes this page. A short form of it runs in `make test`.

## The last run

`{command}`, seed {seed}, {when}, {minutes:.1f} minutes on {machine}.

**{totals[0]:,} schedules: {totals[1]:,} different interleavings of the tasks, {totals[2]:,} different histories as
seen from outside, {totals[3]:,} violations.** {repeated:,} schedules ran twice, to see that they repeat themselves. Of
{defects} planted defects, {found} were found. Problems:{problems}

| Case | Scenario | In memory | Redis | Interleavings | Histories | Violations |
| --- | --- | --: | --: | --: | --: | --: |
{scenarios}

## Planted defects

Each is a change of the shipped code that the tests keep and switch on, on its own; the number is that of the first
schedule that showed it. The last ones are defects that were found here.

| Defect | Found by | In schedule |
| --- | --- | --: |
{searches}

## What is not explored

Threads (the store's hops to one are part of its contract), the operating system's sockets, TLS, and processes that are
killed for real: see `make faults`. A replica that stands still is not simulated over Redis.
"""
